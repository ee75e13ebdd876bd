"""Settings of what is minimised, and by which optimizer."""

import dataclasses
from typing import Literal

from .checks import check, check_choices, check_finite

EstimatorName = Literal["rowwise", "joint", "forward", "exact"]


@dataclasses.dataclass(frozen=True)
class LossConfig:
    """Scales of the world model's and the actor-critic's losses (DreamerV3)."""

    rec: float = 1.0
    """Reconstruction, for each observation separately."""

    rew: float = 1.0
    """Reward prediction."""

    con: float = 1.0
    """Continue prediction."""

    dyn: float = 1.0
    """Dynamics: KL from the posterior, held fixed, to the prior."""

    rep: float = 0.1
    """Representation: KL from the posterior to the prior, held fixed."""

    policy: float = 1.0
    """Policy."""

    value: float = 1.0
    """Value on imagined states."""

    repval: float = 0.3
    """Value on replayed states."""

    free_nats: float = 1.0
    """The KLs, in nats and summed over rows, are not pushed below this."""

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            check(value >= 0, f"loss.{field.name}", "non-negative", value)
            check_finite(self, "loss.", field.name)


@dataclasses.dataclass(frozen=True)
class ActorCriticConfig:
    """Learning behaviour in imagination (DreamerV3)."""

    imag_length: int = 25
    """Imagined env steps from every replayed state (paper, table 2; DreamerV3 has 15)."""

    horizon: float = 333.0
    """Discount horizon in env steps; the discount is 1 - 1/horizon."""

    trace: float = 0.95
    """Lambda of the lambda-returns, in [0, 1]."""

    entropy: float = 3e-4
    """Scale of the policy's entropy bonus, per nat."""

    slow_regularizer: float = 1.0
    """Scale of the pull of the value towards its slow copy."""

    slow_rate: float = 0.02
    """Share of the value head that enters its slow copy at every update, in (0, 1]."""

    return_rate: float = 0.01
    """Share of a batch in the moving return percentiles, in (0, 1]."""

    return_percentiles: tuple[float, float] = (5.0, 95.0)
    """Percentiles of the returns whose distance scales the advantages."""

    return_limit: float = 1.0
    """Smallest scale that advantages are divided by, in units of return."""

    def __post_init__(self):
        check(self.imag_length >= 1, "ac.imag_length", "at least 1", self.imag_length)
        check(self.horizon > 1, "ac.horizon", "greater than 1", self.horizon)
        check_finite(self, "ac.", "entropy", "slow_regularizer")
        check(0 <= self.trace <= 1, "ac.trace", "in [0, 1]", self.trace)
        check(self.entropy >= 0, "ac.entropy", "non-negative", self.entropy)
        check(
            self.slow_regularizer >= 0,
            "ac.slow_regularizer",
            "non-negative",
            self.slow_regularizer,
        )
        check(0 < self.slow_rate <= 1, "ac.slow_rate", "in (0, 1]", self.slow_rate)
        check(0 < self.return_rate <= 1, "ac.return_rate", "in (0, 1]", self.return_rate)
        low, high = self.return_percentiles
        check(
            0 <= low < high <= 100,
            "ac.return_percentiles",
            "two rising numbers in [0, 100]",
            self.return_percentiles,
        )
        check(self.return_limit > 0, "ac.return_limit", "positive", self.return_limit)

    @property
    def discount(self) -> float:
        """Discount per env step."""
        return 1 - 1 / self.horizon


@dataclasses.dataclass(frozen=True)
class ScheduleConfig:
    """How the penalty's coefficient falls with the update count n (paper, algorithm 2)."""

    kind: Literal["sqrt", "none", "linear", "exponential", "cosine", "step", "piecewise"] = "sqrt"
    """sqrt: lambda0 / sqrt(1 + n / scale). none: lambda0. linear, exponential, cosine: from
    lambda0 to `minimum` over `decay` updates. step: times `factor` every `interval` updates.
    piecewise: `values` from the updates in `boundaries` on."""

    scale: float = 1000.0
    """c of the square-root decay, in updates (paper, table 2)."""

    minimum: float = 0.001
    """Coefficient below which the decay stops (paper, table 2)."""

    start: int = 0
    """Env steps before which the coefficient is 0: it is lambda0 in the first update that is made
    with so many. The decay counts updates from that one on."""

    decay: int = 100_000
    """Length of the linear, exponential and cosine decays, in updates."""

    interval: int = 5_000
    """Updates between two steps of the step decay."""

    factor: float = 0.9
    """Factor of the step decay, in (0, 1]."""

    boundaries: tuple[int, ...] = ()
    """Updates at which the piecewise schedule changes, rising."""

    values: tuple[float, ...] = ()
    """Coefficient from each of `boundaries` on; before the first it is lambda0."""

    def __post_init__(self):
        check_choices(self, "gpld.schedule.")
        check(self.scale > 0, "gpld.schedule.scale", "positive", self.scale)
        check(self.minimum >= 0, "gpld.schedule.minimum", "non-negative", self.minimum)
        check(self.start >= 0, "gpld.schedule.start", "non-negative", self.start)
        check(self.decay >= 1, "gpld.schedule.decay", "at least 1", self.decay)
        check(self.interval >= 1, "gpld.schedule.interval", "at least 1", self.interval)
        check(0 < self.factor <= 1, "gpld.schedule.factor", "in (0, 1]", self.factor)
        check(
            len(self.boundaries) == len(self.values),
            "gpld.schedule.values",
            f"as many numbers as `gpld.schedule.boundaries` ({len(self.boundaries)})",
            self.values,
        )
        check(
            self.kind != "piecewise" or len(self.boundaries) > 0,
            "gpld.schedule.boundaries",
            "given for the piecewise schedule",
            self.boundaries,
        )
        check(
            list(self.boundaries) == sorted(set(self.boundaries)),
            "gpld.schedule.boundaries",
            "rising",
            self.boundaries,
        )


@dataclasses.dataclass(frozen=True)
class GPLDConfig:
    """The gradient penalty on the latent dynamics (paper, equation 5 and algorithm 1)."""

    lambda0: float = 0.5
    """Initial coefficient; 0 is the DreamerV3 baseline and costs nothing (table 2)."""

    target: Literal["posterior", "prior", "both"] = "posterior"
    """Which distribution is penalised; both is the paper's joint regularisation."""

    lambda0_prior: float | None = None
    """Initial coefficient of the prior's penalty, where it is a target; None takes
    lambda0."""

    estimator: EstimatorName = "rowwise"
    """How squared Jacobian norms are estimated. rowwise: a reverse pass for every row
    (algorithm 1). joint: one for all rows. forward: one forward-mode pass. exact: no
    randomness, at the cost of a reverse pass for every class of every row."""

    num_probes: int = 1
    """Estimates that are averaged at every penalised state (algorithm 1: one)."""

    path: Literal["gram", "literal"] = "gram"
    """gram: the first layer's part of every norm comes from its Gram matrix. literal:
    algorithm 1 as it is written. The numbers are the same, the cost is not."""

    rho: float = 0.5
    """Share of a batch's states that are penalised, drawn without replacement, in (0, 1]
    (table 2)."""

    rows: int | None = None
    """Categorical rows that are penalised at each state; None takes all (the paper)."""

    row_choice: Literal["first", "random"] = "first"
    """Which rows, where not all: the first ones, or new ones drawn at every update."""

    reduction: Literal["sampled", "batch"] = "sampled"
    """sampled: mean over the penalised states (algorithm 1). batch: their sum over all
    states of the batch (the published code), which is rho times smaller."""

    schedule: ScheduleConfig = ScheduleConfig()
    """How the coefficient falls with the update count."""

    def __post_init__(self):
        check_choices(self, "gpld.")
        check(self.lambda0 >= 0, "gpld.lambda0", "non-negative", self.lambda0)
        check(
            self.lambda0_prior is None or self.lambda0_prior >= 0,
            "gpld.lambda0_prior",
            "non-negative",
            self.lambda0_prior,
        )
        check_finite(self, "gpld.", "lambda0", "lambda0_prior")
        check(self.num_probes >= 1, "gpld.num_probes", "at least 1", self.num_probes)
        check(0 < self.rho <= 1, "gpld.rho", "in (0, 1]", self.rho)
        check(self.rows is None or self.rows >= 1, "gpld.rows", "at least 1", self.rows)

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

    learning_rate: float = 4e-5
    """Learning rate after the warm-up (paper, table 2)."""

    warmup: int = 1000
    """Updates over which the learning rate rises linearly from 0."""

    clip: float = 0.3
    """Largest norm of a tensor's gradient, relative to the tensor's own (table 2)."""

    beta1: float = 0.9
    """Decay of the momentum, in [0, 1) (table 2)."""

    beta2: float = 0.999
    """Decay of the mean squared gradient, in [0, 1) (table 2)."""

    eps: float = 1e-20
    """Added to the root mean squared gradient (table 2)."""

    weight_decay: float = 0.0
    """Decoupled decay of the kernels, times the learning rate (table 2)."""

    max_skips: int = 3
    """Updates in a row that may be skipped because their loss or gradient is not finite;
    then the run stops."""

    def __post_init__(self):
        check(
            self.learning_rate > 0,
            "optimizer.learning_rate",
            "positive",
            self.learning_rate,
        )
        check_finite(self, "optimizer.", "learning_rate", "weight_decay")
        check(self.warmup >= 0, "optimizer.warmup", "non-negative", self.warmup)
        check(self.clip > 0, "optimizer.clip", "positive", self.clip)
        check(0 <= self.beta1 < 1, "optimizer.beta1", "in [0, 1)", self.beta1)
        check(0 <= self.beta2 < 1, "optimizer.beta2", "in [0, 1)", self.beta2)
        check(self.eps > 0, "optimizer.eps", "positive", self.eps)
        check(
            self.weight_decay >= 0,
            "optimizer.weight_decay",
            "non-negative",
            self.weight_decay,
        )
        # The first is only noticed when the next one is on its way.
        check(self.max_skips >= 2, "optimizer.max_skips", "at least 2", self.max_skips)
