"""All settings of a run, and their form in files."""

import dataclasses
import json
from operator import attrgetter
from typing import Annotated, Any, Literal

from ..suite import TASKS, canonical_name
from .checks import NON_NEGATIVE, at_least, check, check_fields, check_type
from .data import EnvConfig, ReplayConfig
from .model import ComputeConfig, InitConfig, ModelConfig, Precision
from .objective import ActorCriticConfig, GPLDConfig, LossConfig, OptimizerConfig
from .run import CheckpointConfig, DistributedConfig, EvaluationConfig, LogConfig


@dataclasses.dataclass(frozen=True)
class Config:
    """All settings of a training run."""

    task: str = "walker_walk"
    """DeepMind Control task as domain_task; `list` prints all of them. Short forms of names
    become the names. Environments of one's own: gymnasium:ID, package.module:FUNCTION or
    ./file.py:FUNCTION."""

    preset: Literal[
        "paper",
        "paper_pixels",
        "authors",
        "authors_pixels",
        "dreamerv3",
        "small",
        "mjx",
        "mjx_paper",
        "debug",
    ] = "paper"
    """Starting point that all other flags override. paper: the paper as written. authors:
    the published reproduction command. Both with _pixels: from pictures. dreamerv3:
    DreamerV3's official defaults. small: learns on two CPU cores in minutes. mjx: the same on
    the device, with many environments. mjx_paper: the paper's setting on the device. debug:
    finishes in seconds."""

    run: str | None = None
    """Folder of the run; one that was begun with the same settings is resumed. None makes a
    new one under `runs/`."""

    resume: str | None = None
    """Folder of a run to resume with its own settings. Flags can change what does not touch
    the training: length, logging, evaluation, checkpoints, workers, storage."""

    offline: str | None = None
    """Folder of a run whose stored replay is trained on, instead of an environment, or of data
    that `import_data.py` has written."""

    learn: Literal["agent", "world_model"] = "agent"
    """What is trained: all of the agent, or its world model alone."""

    seed: int = 0
    """Seeds parameters, actions, environments and replay; below 2**32."""

    seeds: Annotated[int, at_least(1)] = 1
    """Agents that are trained at once in one program, with the seeds from `seed` to
    `seed + seeds - 1`. Each has environments, replay and run folder of its own. A GPU has as many
    launches as with one; on a CPU nothing is gained."""

    devices: int = 1
    """Devices that share the updates. With several seeds each takes some of the agents, which
    is the better use; with one each takes a part of every batch."""

    loop: Literal["host", "device"] = "host"
    """host: environments, replay and updates take turns. device: all of them are one compiled
    program, for environments that are functions in JAX (`env.backend` mjx)."""

    env_steps: Annotated[int, at_least(1)] = 500_000
    """Length of the run in env steps; at action repeat 2 this is the paper's budget of 1M
    frames."""

    precision: Precision = "auto"
    """What the networks compute in; parameters, losses and distributions are float32.
    float32: so are products, in which a GPU would round factors to TF32.
    bfloat16: activations too. mixed: updates take products of matrices in bfloat16 and sum
    them in float32, and all else is float32; on a CPU without tiles for them (AMX) so are
    convolutions. auto: bfloat16 on a GPU or TPU; on a CPU mixed where it multiplies matrices
    of bfloat16 (AMX, AVX-512 BF16), else float32."""

    deterministic: bool = False
    """Whether the same settings must give the same numbers, on the same machine and bit for
    bit: GPU programs without races, no replacement of failed workers."""

    platform: Literal["auto", "cpu", "gpu"] = "auto"
    """Device to run on; auto takes the best there is."""

    profile: Annotated[int, NON_NEGATIVE] = 0
    """Updates to trace once the first ones are over, into `profile/` of the run folder, for
    Perfetto or TensorBoard; 0 traces none."""

    env: EnvConfig = EnvConfig()
    replay: ReplayConfig = ReplayConfig()
    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    ac: ActorCriticConfig = ActorCriticConfig()
    gpld: GPLDConfig = GPLDConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    init: InitConfig = InitConfig()
    compute: ComputeConfig = ComputeConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    log: LogConfig = LogConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    distributed: DistributedConfig = DistributedConfig()

    def __post_init__(self):
        object.__setattr__(self, "task", canonical_name(self.task))
        # A number that is the task's default is None: equal settings are equal, and settings that
        # are taken over for another task take its defaults.
        implied = {
            name: None
            for name, value in task_defaults(self.task).items()
            if getattr(self.env, name) == value
        }
        object.__setattr__(self, "env", dataclasses.replace(self.env, **implied))
        check_fields(self)
        # JAX takes a seed modulo 2**32.
        right = 0 <= self.seed <= 2**32 - self.seeds
        self._check("seed", right, "in [0, 2**32 - `seeds`]")
        self._check_clocks()
        shared = "replay.batch_size" if self.seeds == 1 else "seeds"
        number = attrgetter(shared)(self)
        divides = self.devices >= 1 and number % self.devices == 0
        self._check("devices", divides, f"a divisor of `{shared}` ({number})")
        rewritten = self.compute.rewrite or self.precision != "mixed"
        allowed = "float32, bfloat16 or auto without `compute.rewrite`, which makes it"
        self._check("precision", rewritten, allowed)
        if self.distributed.processes > 1:
            self._check_distributed()
        if self.loop == "device":
            self._check_device_loop()
        rows, stoch = self.gpld.rows, self.model.stoch
        self._check("gpld.rows", rows is None or rows <= stoch, f"at most `model.stoch` ({stoch})")

    @property
    def action_repeat(self) -> int:
        """Frames per env step."""
        return self.env.action_repeat or task_defaults(self.task)["action_repeat"] or 1

    @property
    def image_size(self) -> int | None:
        """Pixels along both sides of a picture; None leaves pictures as they are."""
        return self.env.image_size or task_defaults(self.task)["image_size"]

    @property
    def env_options(self) -> dict[str, Any]:
        """Arguments of `make_env` besides the task and a seed."""
        return {
            "action_repeat": self.action_repeat,
            "observations": self.env.observations,
            "image_size": self.image_size,
            "episode_steps": self.env.episode_steps,
            "kwargs": json.loads(self.env.kwargs),
        }

    @property
    def share(self) -> "Config":
        """This process's share: env steps, environments, batch and capacity over `processes`."""
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

    def _check(self, name: str, condition: bool, allowed: str) -> None:
        """Raise a ValueError about a setting, by its dotted name, unless the condition holds."""
        check(condition, name, allowed, attrgetter(name)(self))

    def _check_clocks(self) -> None:
        # The device counts env steps in 32 bits, and updates in 31.
        num_envs = self.env.num_envs
        last = -(-self.env_steps // num_envs) * num_envs
        self._check("env_steps", last < 2**32, "below 2**32")
        few = last * self.replay.updates_per_env_step < 2**31 - 1
        self._check("replay.train_ratio", few, "such that there are less than 2**31 updates")
        # A run without environments has the streams of another one.
        fits = self.replay.capacity >= num_envs or self.offline is not None
        allowed = f"at least `env.num_envs` ({num_envs}), a sequence for each"
        self._check("replay.capacity", fits, allowed)

    def _check_device_loop(self) -> None:
        only = {
            "env.backend": "mjx",
            "env.observations": "vectors",
            "replay.storage": "ram",
            "offline": None,
            "devices": 1,
            "distributed.processes": 1,
        }
        for name, value in only.items():
            self._check(name, attrgetter(name)(self) == value, f"{value} with `loop` device")
        self._check("env.workers", not self.env.workers, "0 or None with `loop` device")

    def _check_distributed(self) -> None:
        several, n = "with several `distributed.processes`", self.distributed.processes
        given = self.run is not None or self.resume is not None
        self._check("run", given, f"given {several}")
        self._check("seeds", self.seeds == 1, f"1 {several}")
        self._check("offline", self.offline is None, f"None {several}")
        divides = self.env.num_envs % n == 0
        self._check("env.num_envs", divides, f"a multiple of `distributed.processes` ({n})")
        divides = self.replay.batch_size % (n * self.devices) == 0
        allowed = f"a multiple of `distributed.processes` x `devices` ({n * self.devices})"
        self._check("replay.batch_size", divides, allowed)
        # One that all have must outlast the next one, until all have that as well.
        self._check("checkpoint.keep", self.checkpoint.keep >= 2, f"at least 2 {several}")


def task_defaults(task: str) -> dict[str, int | None]:
    """Return the settings of `env` that depend on the task where they are None."""
    if task in TASKS:
        return {"action_repeat": 2, "image_size": 64}
    return {"action_repeat": 1, "image_size": 64 if task.startswith("probe_") else None}


def to_dict(config: Config) -> dict:
    """Return the settings as nested dictionaries that JSON can hold, defaults of the task too."""
    values = dataclasses.asdict(config)
    values["env"] |= {"action_repeat": config.action_repeat, "image_size": config.image_size}
    return values


# What runs had that are older than a setting; a new setting belongs here.
_BEFORE = {"compute.rewrite": True, "env.episode_steps": None, "env.kwargs": "{}"}

# Settings that there are no more, and the only value that their runs can go on with.
_RETIRED = {"compute.blocks": "auto", "compute.sampling": "auto", "compute.unroll": None}


def from_dict(values: dict) -> Config:
    """Return the settings that `to_dict` gave, also after a round trip through JSON.

    None is taken for granted: what a file leaves out would become a default value, which need
    not be what its run had. Files of earlier versions may leave out what there was not yet.

    Raises:
        ValueError: If a setting is missing, unknown, of another type or out of range.
    """
    return _from_dict(Config, values, "")


def _from_dict(cls: type, values: object, group: str) -> Any:
    check(isinstance(values, dict), group[:-1] or "config", "an object with settings", values)
    assert isinstance(values, dict)
    fields, own = {field.name: field for field in dataclasses.fields(cls)}, {}
    for name in [name for name in values if group + name in _RETIRED]:
        only, value = _RETIRED[group + name], values[name]
        check(value == only, group + name, f"{only}, since it is no setting any more", value)
    values = {name: value for name, value in values.items() if group + name not in _RETIRED}
    if unknown := [name for name in values if name not in fields]:
        raise ValueError(f"There is no setting `{group}{unknown[0]}`.")
    before = {name: _BEFORE[group + name] for name in fields if group + name in _BEFORE}
    values = before | values
    if missing := [name for name in fields if name not in values]:
        raise ValueError(f"`{group}{missing[0]}` is missing.")
    for name, value in values.items():
        kind = fields[name].type
        if dataclasses.is_dataclass(kind):
            assert isinstance(kind, type)
            own[name] = _from_dict(kind, value, f"{group}{name}.")
        else:
            check_type(group + name, value, kind)
            own[name] = tuple(value) if isinstance(value, list) else value
    return cls(**own)
