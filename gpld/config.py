"""Settings: the only place with default values.

The defaults are the preset `paper`: GPLD-DreamerV3 as the paper describes it
(arXiv 2605.23089, section 5 and table 2). `gpld.presets` holds the others.

Three clocks are used everywhere and never mixed: an *env step* is one decision of the
agent in one environment (the reset of an episode counts as one), a *frame* is one control
step of the simulator (env steps x action repeat), an *update* is one gradient step.
"""

import dataclasses
from typing import Literal, NamedTuple, get_args, get_origin


def _check(condition: bool, name: str, allowed: str, value: object) -> None:
    if not condition:
        raise ValueError(f"`{name}` must be {allowed}, got {value!r}.")


def _check_choices(config: object, group: str = "") -> None:
    """Checks the settings that have named values, for callers that parse no flags."""
    for field in dataclasses.fields(config):  # pyright: ignore[reportArgumentType]
        if get_origin(field.type) is Literal:
            choices, value = get_args(field.type), getattr(config, field.name)
            _check(value in choices, group + field.name, f"one of {', '.join(choices)}", value)


@dataclasses.dataclass(frozen=True)
class EnvConfig:
    """Environments and how many of them collect experience."""

    num_envs: int = 16
    """Environments that collect experience in parallel (paper, table 2)."""

    action_repeat: int = 2
    """Frames per env step: how often each action is repeated (paper, table 2)."""

    workers: int | None = None
    """Processes that step the environments while the agent updates; 0 steps them in the
    training process, None takes the smaller of `num_envs` and the number of cores."""

    timeout: float = 300.0
    """Seconds after which a worker process that does not answer is replaced."""

    max_restarts: int = 10
    """Worker processes that may die or hang over a run; each is replaced and its episodes
    are truncated. One more stops the run. None is replaced with `deterministic`."""

    def __post_init__(self):
        _check(self.num_envs >= 1, "env.num_envs", "at least 1", self.num_envs)
        _check(self.timeout > 0, "env.timeout", "positive", self.timeout)
        _check(self.max_restarts >= 0, "env.max_restarts", "at least 0", self.max_restarts)
        _check(
            self.action_repeat >= 1,
            "env.action_repeat",
            "at least 1",
            self.action_repeat,
        )
        _check(
            self.workers is None or self.workers >= 0,
            "env.workers",
            "at least 0",
            self.workers,
        )


@dataclasses.dataclass(frozen=True)
class ReplayConfig:
    """Experience replay and how often it is trained on."""

    capacity: int = 5_000_000
    """Sequences kept; the oldest are dropped first (paper, table 2). Memory is taken for
    what the run can fill, not for the capacity."""

    batch_size: int = 16
    """Sequences per update (paper, table 2)."""

    batch_length: int = 64
    """Env steps per sequence; one more is read as context (paper, table 2)."""

    train_ratio: float = 512.0
    """Replayed env steps per collected env step: 512 with batches of 16 x 64 is one update
    every second env step (paper, table 2)."""

    online: bool = True
    """Whether every sequence is used once, soon after it was collected, before uniform
    sampling goes on (DreamerV3's online queue)."""

    storage: Literal["ram", "disk"] = "ram"
    """Where the steps are: in memory, or in files of the run folder that are mapped into
    memory, of which the system keeps as much there as fits."""

    def __post_init__(self):
        _check_choices(self, "replay.")
        _check(self.capacity >= 1, "replay.capacity", "at least 1", self.capacity)
        _check(self.batch_size >= 1, "replay.batch_size", "at least 1", self.batch_size)
        _check(
            self.batch_length >= 2,
            "replay.batch_length",
            "at least 2",
            self.batch_length,
        )
        _check(self.train_ratio > 0, "replay.train_ratio", "positive", self.train_ratio)

    @property
    def updates_per_env_step(self) -> float:
        """Gradient steps per collected env step, once training has begun."""
        return self.train_ratio / (self.batch_size * self.batch_length)


class Dimensions(NamedTuple):
    """The widths that a model size stands for."""

    deter: int
    hidden: int
    classes: int
    units: int


SIZES: dict[str, Dimensions] = {
    "1m": Dimensions(deter=512, hidden=64, classes=4, units=64),
    "12m": Dimensions(deter=2048, hidden=256, classes=16, units=256),
    "25m": Dimensions(deter=3072, hidden=384, classes=24, units=384),
    "50m": Dimensions(deter=4096, hidden=512, classes=32, units=512),
    "100m": Dimensions(deter=6144, hidden=768, classes=48, units=768),
    "200m": Dimensions(deter=8192, hidden=1024, classes=64, units=1024),
    "400m": Dimensions(deter=12288, hidden=1536, classes=96, units=1536),
}


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Networks (DreamerV3; paper, table 2)."""

    size: Literal["1m", "12m", "25m", "50m", "100m", "200m", "400m"] = "12m"
    """Nominal parameter count; sets the widths that are not given by themselves."""

    deter: int | None = None
    """Width of the deterministic state, a multiple of `blocks`; None follows `size`."""

    hidden: int | None = None
    """Width of the RSSM's hidden layers; None follows `size`."""

    classes: int | None = None
    """Classes per categorical row, 2 to 256; None follows `size`."""

    units: int | None = None
    """Width of encoder, decoder and heads; None follows `size`."""

    stoch: int = 32
    """Categorical rows of the stochastic state."""

    blocks: int = 8
    """Diagonal blocks of the sequence model."""

    prior_layers: int = 2
    """Hidden layers of the prior."""

    posterior_layers: int = 1
    """Hidden layers of the posterior."""

    encoder_layers: int = 3
    """Hidden layers of the encoder."""

    decoder_layers: int = 3
    """Hidden layers of the decoder."""

    reward_layers: int = 1
    """Hidden layers of the reward head."""

    continue_layers: int = 1
    """Hidden layers of the continue head."""

    policy_layers: int = 3
    """Hidden layers of the policy."""

    value_layers: int = 3
    """Hidden layers of the value head."""

    unimix: float = 0.01
    """Share of the uniform distribution mixed into every categorical, in (0, 1)."""

    def __post_init__(self):
        _check_choices(self, "model.")
        _check(self.blocks >= 1, "model.blocks", "at least 1", self.blocks)
        dims = self.dims
        _check(
            dims.deter >= 1 and dims.deter % self.blocks == 0,
            "model.deter",
            f"a positive multiple of `model.blocks` ({self.blocks})",
            dims.deter,
        )
        # Replay stores the class of a row in one byte.
        _check(2 <= dims.classes <= 256, "model.classes", "in 2 to 256", dims.classes)
        for name in ("hidden", "units"):
            width = getattr(dims, name)
            _check(width >= 1, f"model.{name}", "at least 1", width)
        _check(self.stoch >= 1, "model.stoch", "at least 1", self.stoch)
        for field in dataclasses.fields(self):
            if field.name.endswith("_layers"):
                value = getattr(self, field.name)
                _check(value >= 1, f"model.{field.name}", "at least 1", value)
        # Without a uniform share, a probability of 0 makes KL and entropy infinite.
        _check(0 < self.unimix < 1, "model.unimix", "in (0, 1)", self.unimix)

    @property
    def dims(self) -> Dimensions:
        """Widths: those of `size`, except where one is given by itself."""
        sized = SIZES[self.size]
        own = {name: getattr(self, name) for name in Dimensions._fields}
        return sized._replace(**{k: v for k, v in own.items() if v is not None})


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
            _check(value >= 0, f"loss.{field.name}", "non-negative", value)


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
        _check(self.imag_length >= 1, "ac.imag_length", "at least 1", self.imag_length)
        _check(self.horizon > 1, "ac.horizon", "greater than 1", self.horizon)
        _check(0 <= self.trace <= 1, "ac.trace", "in [0, 1]", self.trace)
        _check(self.entropy >= 0, "ac.entropy", "non-negative", self.entropy)
        _check(
            self.slow_regularizer >= 0,
            "ac.slow_regularizer",
            "non-negative",
            self.slow_regularizer,
        )
        _check(0 < self.slow_rate <= 1, "ac.slow_rate", "in (0, 1]", self.slow_rate)
        _check(0 < self.return_rate <= 1, "ac.return_rate", "in (0, 1]", self.return_rate)
        low, high = self.return_percentiles
        _check(
            0 <= low < high <= 100,
            "ac.return_percentiles",
            "two rising numbers in [0, 100]",
            self.return_percentiles,
        )
        _check(self.return_limit > 0, "ac.return_limit", "positive", self.return_limit)

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
    """Env steps before which the coefficient is 0; the decay counts from there."""

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
        _check_choices(self, "gpld.schedule.")
        _check(self.scale > 0, "gpld.schedule.scale", "positive", self.scale)
        _check(self.minimum >= 0, "gpld.schedule.minimum", "non-negative", self.minimum)
        _check(self.start >= 0, "gpld.schedule.start", "non-negative", self.start)
        _check(self.decay >= 1, "gpld.schedule.decay", "at least 1", self.decay)
        _check(self.interval >= 1, "gpld.schedule.interval", "at least 1", self.interval)
        _check(0 < self.factor <= 1, "gpld.schedule.factor", "in (0, 1]", self.factor)
        _check(
            len(self.boundaries) == len(self.values),
            "gpld.schedule.values",
            f"as many numbers as `gpld.schedule.boundaries` ({len(self.boundaries)})",
            self.values,
        )
        _check(
            self.kind != "piecewise" or len(self.boundaries) > 0,
            "gpld.schedule.boundaries",
            "given for the piecewise schedule",
            self.boundaries,
        )
        _check(
            list(self.boundaries) == sorted(set(self.boundaries)),
            "gpld.schedule.boundaries",
            "rising",
            self.boundaries,
        )


EstimatorName = Literal["rowwise", "joint", "forward", "exact"]
Precision = Literal["auto", "float32", "mixed", "bfloat16"]


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
        _check_choices(self, "gpld.")
        _check(self.lambda0 >= 0, "gpld.lambda0", "non-negative", self.lambda0)
        _check(
            self.lambda0_prior is None or self.lambda0_prior >= 0,
            "gpld.lambda0_prior",
            "non-negative",
            self.lambda0_prior,
        )
        _check(self.num_probes >= 1, "gpld.num_probes", "at least 1", self.num_probes)
        _check(0 < self.rho <= 1, "gpld.rho", "in (0, 1]", self.rho)
        _check(self.rows is None or self.rows >= 1, "gpld.rows", "at least 1", self.rows)

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
        _check(
            self.learning_rate > 0,
            "optimizer.learning_rate",
            "positive",
            self.learning_rate,
        )
        _check(self.warmup >= 0, "optimizer.warmup", "non-negative", self.warmup)
        _check(self.clip > 0, "optimizer.clip", "positive", self.clip)
        _check(0 <= self.beta1 < 1, "optimizer.beta1", "in [0, 1)", self.beta1)
        _check(0 <= self.beta2 < 1, "optimizer.beta2", "in [0, 1)", self.beta2)
        _check(self.eps > 0, "optimizer.eps", "positive", self.eps)
        _check(
            self.weight_decay >= 0,
            "optimizer.weight_decay",
            "non-negative",
            self.weight_decay,
        )
        # The first is only noticed when the next one is on its way.
        _check(self.max_skips >= 2, "optimizer.max_skips", "at least 2", self.max_skips)


@dataclasses.dataclass(frozen=True)
class ComputeConfig:
    """How it is computed: numbers change by rounding, and with `sampling` random draws do."""

    blocks: Literal["auto", "batched", "separate"] = "auto"
    """Products of the sequence model's blocks. batched: one for all blocks. separate: one
    for each, several times faster on a CPU. auto: separate on a CPU, batched elsewhere."""

    sampling: Literal["auto", "inverse", "gumbel"] = "auto"
    """How classes are drawn; the law is the same. inverse: one uniform number for each row
    inverts the cumulative distribution. gumbel: the largest of all logits plus noise, one
    number for each class. auto: inverse."""

    unroll: int | None = None
    """Steps of the loops over time that are compiled as one; more take longer to compile.
    None takes 1 on a CPU, where steps are long, and 4 elsewhere."""

    def __post_init__(self):
        _check_choices(self, "compute.")
        least = self.unroll is None or self.unroll >= 1
        _check(least, "compute.unroll", "at least 1", self.unroll)


@dataclasses.dataclass(frozen=True)
class EvaluationConfig:
    """Evaluation during training, with actions sampled as in training."""

    every: int = 5_000
    """Env steps between evaluations (paper, table 2)."""

    episodes: int = 3
    """Episodes per evaluation, every one of which is recorded (paper, table 2)."""

    num_envs: int = 4
    """Environments that evaluate in parallel, at most one for each episode."""

    video_every: int = 50_000
    """Env steps between evaluations whose first episode is drawn into a video, the last one
    included; 0 draws none. Where no OpenGL library works there are none."""

    def __post_init__(self):
        _check(self.every >= 1, "evaluation.every", "at least 1", self.every)
        _check(self.episodes >= 1, "evaluation.episodes", "at least 1", self.episodes)
        _check(self.num_envs >= 1, "evaluation.num_envs", "at least 1", self.num_envs)
        _check(self.video_every >= 0, "evaluation.video_every", "at least 0", self.video_every)


@dataclasses.dataclass(frozen=True)
class LogConfig:
    """What is written while the run goes on."""

    every: int = 1_000
    """Env steps between two lines of metrics, each a mean over the updates between."""

    report_every: int = 10_000
    """Env steps between reports on the smoothness of the latent distributions; 0 makes
    none."""

    tensorboard: bool = True
    """Whether metrics also go to TensorBoard, in the run folder."""

    wandb: str | None = None
    """Project of Weights & Biases that metrics also go to; needs `gpld[wandb]`."""

    def __post_init__(self):
        _check(self.every >= 1, "log.every", "at least 1", self.every)
        _check(self.report_every >= 0, "log.report_every", "at least 0", self.report_every)


@dataclasses.dataclass(frozen=True)
class CheckpointConfig:
    """What is saved so that the run can be resumed, and its agents used.

    A run can be resumed from each of the last `keep` checkpoints. Of older ones the agent is
    kept, if it was saved at a multiple of `every * keep_every` env steps.
    """

    every: int = 50_000
    """Env steps between checkpoints; one more is written at the end of the run."""

    minutes: float = 15.0
    """Minutes after which there is a checkpoint in any case; what a kill can cost."""

    keep: int = 2
    """Last checkpoints from which the run can be resumed; the replay of each is on disk,
    what they share only once."""

    keep_every: int = 1
    """Agents of every so many checkpoints are kept for good; 0 keeps none."""

    def __post_init__(self):
        _check(self.every >= 1, "checkpoint.every", "at least 1", self.every)
        _check(self.minutes > 0, "checkpoint.minutes", "positive", self.minutes)
        _check(self.keep >= 1, "checkpoint.keep", "at least 1", self.keep)
        _check(self.keep_every >= 0, "checkpoint.keep_every", "at least 0", self.keep_every)


@dataclasses.dataclass(frozen=True)
class DistributedConfig:
    """One run on several machines, each of which has a part of environments and batches."""

    processes: int = 1
    """Processes that share the updates, each with `env.num_envs / processes` environments,
    their replay and `devices` devices."""

    process_id: int | None = None
    """Number of this process, from 0; None where SLURM, MPI or the like says it."""

    coordinator: str | None = None
    """host:port at which process 0 can be reached; None where SLURM, MPI or the like says
    it."""

    def __post_init__(self):
        count, number = self.processes, self.process_id
        _check(count >= 1, "distributed.processes", "at least 1", count)
        _check(
            number is None or 0 <= number < count,
            "distributed.process_id",
            f"in 0 to {count - 1}",
            number,
        )


@dataclasses.dataclass(frozen=True)
class Config:
    """All settings of a training run."""

    task: str = "walker_walk"
    """DeepMind Control task as domain_task; `list` prints all of them."""

    preset: Literal["paper", "authors", "dreamerv3", "small", "debug"] = "paper"
    """Starting point that all other flags override. paper: the paper as written. authors:
    the published reproduction command. dreamerv3: DreamerV3's official defaults. small:
    learns on two CPU cores in minutes. debug: finishes in seconds."""

    run: str | None = None
    """Folder of the run; one that was begun with the same settings is resumed. None makes a
    new one under `runs/`."""

    resume: str | None = None
    """Folder of a run to resume with its own settings. Flags can change what does not touch
    the training: length, logging, evaluation, checkpoints, workers, storage."""

    offline: str | None = None
    """Folder of a run whose stored replay is trained on, instead of an environment."""

    learn: Literal["agent", "world_model"] = "agent"
    """What is trained: all of the agent, or its world model alone."""

    seed: int = 0
    """Seeds parameters, actions, environments and replay."""

    seeds: int = 1
    """Agents that are trained at once in one program, with the seeds from `seed` to
    `seed + seeds - 1`. Each has environments, replay and run folder of its own."""

    devices: int = 1
    """Devices that share the updates. With several seeds each takes some of the agents, which
    is the better use; with one each takes a part of every batch."""

    env_steps: int = 500_000
    """Length of the run in env steps; at action repeat 2 this is the paper's budget of 1M
    frames."""

    precision: Precision = "auto"
    """What the networks compute in; parameters, losses and distributions are float32.
    bfloat16: activations too. mixed: updates take products of matrices in bfloat16 and sum
    them in float32, and all else is float32. auto: bfloat16 on a GPU or TPU; on a CPU mixed
    where it has tiles for products of bfloat16 (AMX), else float32."""

    deterministic: bool = False
    """Whether the same settings must give the same numbers, on the same machine and bit for
    bit: GPU programs without races, no replacement of failed workers."""

    platform: Literal["auto", "cpu", "gpu"] = "auto"
    """Device to run on; auto takes the best there is."""

    profile: int = 0
    """Updates to trace once the first ones are over, into `profile/` of the run folder, for
    Perfetto or TensorBoard; 0 traces none."""

    env: EnvConfig = EnvConfig()
    replay: ReplayConfig = ReplayConfig()
    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    ac: ActorCriticConfig = ActorCriticConfig()
    gpld: GPLDConfig = GPLDConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    compute: ComputeConfig = ComputeConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    log: LogConfig = LogConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    distributed: DistributedConfig = DistributedConfig()

    def __post_init__(self):
        _check_choices(self)
        _check(self.seed >= 0, "seed", "non-negative", self.seed)
        _check(self.env_steps >= 1, "env_steps", "at least 1", self.env_steps)
        _check(self.profile >= 0, "profile", "non-negative", self.profile)
        _check(self.seeds >= 1, "seeds", "at least 1", self.seeds)
        shared = "replay.batch_size" if self.seeds == 1 else "seeds"
        number = self.replay.batch_size if self.seeds == 1 else self.seeds
        _check(
            self.devices >= 1 and number % self.devices == 0,
            "devices",
            f"a divisor of `{shared}` ({number})",
            self.devices,
        )
        if self.distributed.processes > 1:
            self._check_distributed()
        rows = self.gpld.rows
        _check(
            rows is None or rows <= self.model.stoch,
            "gpld.rows",
            f"at most `model.stoch` ({self.model.stoch})",
            rows,
        )

    @property
    def share(self) -> "Config":
        """Of several processes: the settings of one that had what each has of the run."""
        n = self.distributed.processes
        return dataclasses.replace(
            self,
            env_steps=-(-self.env_steps // n),
            env=dataclasses.replace(self.env, num_envs=self.env.num_envs // n),
            replay=dataclasses.replace(
                self.replay,
                batch_size=self.replay.batch_size // n,
                capacity=-(-self.replay.capacity // n),
            ),
            distributed=DistributedConfig(),
        )

    def _check_distributed(self) -> None:
        n = self.distributed.processes
        folder = self.run if self.resume is None else self.resume
        _check(folder is not None, "run", "given with several `distributed.processes`", folder)
        _check(self.seeds == 1, "seeds", "1 with several `distributed.processes`", self.seeds)
        _check(
            self.offline is None,
            "offline",
            "None with several `distributed.processes`",
            self.offline,
        )
        _check(
            self.env.num_envs % n == 0,
            "env.num_envs",
            f"a multiple of `distributed.processes` ({n})",
            self.env.num_envs,
        )
        _check(
            self.replay.batch_size % (n * self.devices) == 0,
            "replay.batch_size",
            f"a multiple of `distributed.processes` x `devices` ({n * self.devices})",
            self.replay.batch_size,
        )
        # One that all have must outlast the next one, until all have that as well.
        _check(
            self.checkpoint.keep >= 2,
            "checkpoint.keep",
            "at least 2 with several `distributed.processes`",
            self.checkpoint.keep,
        )


def to_dict(config: Config) -> dict:
    """The settings as nested dictionaries that JSON can hold."""
    return dataclasses.asdict(config)


def from_dict(values: dict) -> Config:
    """The settings that `to_dict` gave, also after a round trip through JSON.

    Raises:
        ValueError: If a value is out of range.
        TypeError: If a name is unknown.
    """
    return _from_dict(Config, values)


def _from_dict(cls: type, values: dict):
    defaults = {f.name: f.default for f in dataclasses.fields(cls)}

    def convert(name, value):
        if dataclasses.is_dataclass(defaults.get(name)):
            return _from_dict(type(defaults[name]), value)
        return tuple(value) if isinstance(value, list) else value

    return cls(**{name: convert(name, value) for name, value in values.items()})
