"""Settings of losses, penalty and optimizer."""

import dataclasses
from typing import Annotated, Literal

from .checks import FINITE, NON_NEGATIVE, POSITIVE, Bound, at_least, check, check_fields, within

Scale = Annotated[float, NON_NEGATIVE, FINITE]
_PERCENTILES = Bound(
    "two rising numbers in [0, 100]",
    lambda both: len(both) == 2 and 0 <= both[0] < both[1] <= 100,
)
_RISING = Bound("rising", lambda values: list(values) == sorted(set(values)))

EstimatorName = Literal["rowwise", "joint", "forward", "exact"]


@dataclasses.dataclass(frozen=True)
class LossConfig:
    """Scales of the world model's and the actor-critic's losses (DreamerV3)."""

    rec: Scale = 1.0
    """Reconstruction, for each observation separately."""

    rew: Scale = 1.0
    """Reward prediction."""

    con: Scale = 1.0
    """Continue prediction."""

    dyn: Scale = 1.0
    """Dynamics: KL from the posterior, held fixed, to the prior."""

    rep: Scale = 0.1
    """Representation: KL from the posterior to the prior, held fixed."""

    policy: Scale = 1.0
    """Policy."""

    value: Scale = 1.0
    """Value on imagined states."""

    repval: Scale = 0.3
    """Value on replayed states."""

    free_nats: Scale = 1.0
    """The KLs, in nats and summed over rows, are not pushed below this."""

    def __post_init__(self):
        check_fields(self, "loss.")


@dataclasses.dataclass(frozen=True)
class ActorCriticConfig:
    """Learning behaviour in imagination (DreamerV3)."""

    imag_length: Annotated[int, at_least(1)] = 25
    """Imagined env steps from every replayed state (paper, table 2; DreamerV3 has 15)."""

    horizon: Annotated[float, Bound("greater than 1", lambda value: value > 1)] = 333.0
    """Discount horizon in env steps; the discount is 1 - 1/horizon."""

    trace: Annotated[float, within("[0, 1]")] = 0.95
    """Lambda of the lambda-returns, in [0, 1]."""

    entropy: Scale = 3e-4
    """Scale of the policy's entropy bonus, per nat."""

    slow_regularizer: Scale = 1.0
    """Scale of the pull of the value towards its slow copy."""

    slow_rate: Annotated[float, within("(0, 1]")] = 0.02
    """Share of the value head that enters its slow copy at every update, in (0, 1]."""

    return_rate: Annotated[float, within("(0, 1]")] = 0.01
    """Share of a batch in the moving return percentiles, in (0, 1]."""

    return_percentiles: Annotated[tuple[float, float], _PERCENTILES] = (5.0, 95.0)
    """Percentiles of the returns whose distance scales the advantages."""

    return_limit: Annotated[float, POSITIVE] = 1.0
    """Smallest scale that advantages are divided by, in units of return."""

    def __post_init__(self):
        check_fields(self, "ac.")

    @property
    def discount(self) -> float:
        """Discount per env step."""
        return 1 - 1 / self.horizon


@dataclasses.dataclass(frozen=True)
class ScheduleConfig:
    """Decay of the penalty's coefficient with the update count n (paper, algorithm 2)."""

    kind: Literal["sqrt", "none", "linear", "exponential", "cosine", "step", "piecewise"] = "sqrt"
    """sqrt: lambda0 / sqrt(1 + n / scale). none: lambda0. linear, exponential, cosine: from
    lambda0 to `minimum` over `decay` updates. step: times `factor` every `interval` updates.
    piecewise: `values` from the updates in `boundaries` on."""

    scale: Annotated[float, POSITIVE] = 1000.0
    """c of the square-root decay, in updates (paper, table 2)."""

    minimum: Annotated[float, NON_NEGATIVE] = 0.001
    """Coefficient below which the decay stops (paper, table 2)."""

    start: Annotated[int, NON_NEGATIVE] = 0
    """Env steps before which the coefficient is 0: it is lambda0 in the first update that is made
    with so many. The decay counts updates from that one on."""

    decay: Annotated[int, at_least(1)] = 100_000
    """Length of the linear, exponential and cosine decays, in updates."""

    interval: Annotated[int, at_least(1)] = 5_000
    """Updates between two steps of the step decay."""

    factor: Annotated[float, within("(0, 1]")] = 0.9
    """Factor of the step decay, in (0, 1]."""

    boundaries: Annotated[tuple[int, ...], _RISING] = ()
    """Updates at which the piecewise schedule changes, rising."""

    values: tuple[float, ...] = ()
    """Coefficient from each of `boundaries` on; before the first it is lambda0."""

    def __post_init__(self):
        check_fields(self, "gpld.schedule.")
        boundaries, values = self.boundaries, self.values
        allowed = f"as many numbers as `gpld.schedule.boundaries` ({len(boundaries)})"
        check(len(boundaries) == len(values), "gpld.schedule.values", allowed, values)
        given, allowed = len(boundaries) > 0, "given for the piecewise schedule"
        check(given or self.kind != "piecewise", "gpld.schedule.boundaries", allowed, boundaries)


@dataclasses.dataclass(frozen=True)
class GPLDConfig:
    """The gradient penalty on the latent dynamics (paper, equation 5 and algorithm 1)."""

    lambda0: Scale = 0.5
    """Initial coefficient; 0 is the DreamerV3 baseline and costs nothing (table 2)."""

    target: Literal["posterior", "prior", "both"] = "posterior"
    """Which distribution is penalised; both is the paper's joint regularisation."""

    lambda0_prior: Annotated[float | None, NON_NEGATIVE, FINITE] = None
    """Initial coefficient of the prior's penalty, where it is a target; None takes
    lambda0."""

    estimator: EstimatorName = "rowwise"
    """How squared Jacobian norms are estimated. rowwise: a reverse pass for every row
    (algorithm 1). joint: one for all rows. forward: one forward-mode pass. exact: no
    randomness, at the cost of a reverse pass for every class of every row."""

    num_probes: Annotated[int, at_least(1)] = 1
    """Estimates that are averaged at every penalised state (algorithm 1: one)."""

    path: Literal["gram", "literal"] = "gram"
    """gram: the first layer's part of every norm comes from its Gram matrix. literal:
    algorithm 1 as it is written. The numbers are the same, the cost is not."""

    rho: Annotated[float, within("(0, 1]")] = 0.5
    """Share of a batch's states that are penalised, drawn without replacement, in (0, 1]
    (table 2)."""

    rows: Annotated[int | None, at_least(1)] = None
    """Categorical rows that are penalised at each state; None takes all (the paper)."""

    row_choice: Literal["first", "random"] = "first"
    """Which rows, where not all: the first ones, or new ones drawn at every update."""

    reduction: Literal["sampled", "batch"] = "sampled"
    """sampled: mean over the penalised states (algorithm 1). batch: their sum over all
    states of the batch (the published code), smaller by the factor rho."""

    schedule: ScheduleConfig = ScheduleConfig()
    """How the coefficient falls with the update count."""

    def __post_init__(self):
        check_fields(self, "gpld.")

    @property
    def coefficients(self) -> dict[str, float]:
        """Initial coefficient of each penalty that is on, by the name of its loss."""
        posterior = self.lambda0 if self.target != "prior" else 0.0
        prior = self.lambda0 if self.lambda0_prior is None else self.lambda0_prior
        prior = prior if self.target != "posterior" else 0.0
        both = {"gp_post": posterior, "gp_prior": prior}
        return {name: lambda0 for name, lambda0 in both.items() if lambda0 > 0}


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """LaProp with adaptive gradient clipping, one for all modules (DreamerV3)."""

    learning_rate: Annotated[float, POSITIVE, FINITE] = 4e-5
    """Learning rate after the warm-up (paper, table 2)."""

    warmup: Annotated[int, NON_NEGATIVE] = 1000
    """Updates over which the learning rate rises linearly from 0."""

    clip: Annotated[float, POSITIVE] = 0.3
    """Largest norm of a tensor's gradient, relative to the tensor's own (table 2)."""

    beta1: Annotated[float, within("[0, 1)")] = 0.9
    """Decay of the momentum, in [0, 1) (table 2)."""

    beta2: Annotated[float, within("[0, 1)")] = 0.999
    """Decay of the mean squared gradient, in [0, 1) (table 2)."""

    eps: Annotated[float, POSITIVE] = 1e-20
    """Added to the root mean squared gradient (table 2)."""

    weight_decay: Scale = 0.0
    """Decoupled decay of the kernels, times the learning rate (table 2)."""

    max_skips: Annotated[int, at_least(2)] = 3
    """Updates in a row that may be skipped because their loss or gradient is not finite;
    then the run stops."""
    # At least 2: a skip is detected one update late.

    def __post_init__(self):
        check_fields(self, "optimizer.")
