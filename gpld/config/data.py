"""Settings of environments and replay."""

import dataclasses
import json
from typing import Annotated, Literal

from .checks import FINITE, POSITIVE, at_least, check, check_fields


@dataclasses.dataclass(frozen=True)
class EnvConfig:
    """Environments and how many of them collect experience."""

    num_envs: Annotated[int, at_least(1)] = 16
    """Environments that collect experience in parallel (paper, table 2)."""

    action_repeat: Annotated[int | None, at_least(1)] = None
    """Frames per env step: how often each action is repeated. None is 2 for tasks of the DeepMind
    Control suite (paper, table 2), and 1 for all others."""

    observations: Literal["vectors", "pixels", "both"] = "vectors"
    """vectors: what the task itself calls the observation. pixels: a picture instead. both."""

    image_size: Annotated[int | None, at_least(1)] = None
    """Pixels along both sides of a picture, a multiple of 16 in the default model. None is 64 for
    tasks of the DeepMind Control suite; pictures of other environments keep their size."""

    episode_steps: Annotated[int | None, at_least(1)] = None
    """Env steps after which an episode is truncated, for environments of one's own that have no
    time limit; None sets none."""

    kwargs: str = "{}"
    """Arguments of the constructor of an environment of one's own, as a JSON object."""

    backend: Literal["auto", "dmc", "batch", "mjx"] = "auto"
    """What steps the environments. dmc: dm_control, every task. batch: MuJoCo's batched engine,
    several times as fast, with the same results bit for bit. auto: batch for the tasks that it
    covers, from vectors, and otherwise dmc. mjx: many at once on an accelerator, also those of
    environments of one's own that are functions in JAX."""

    mjx_impl: Literal["jax", "warp"] = "jax"
    """Which implementation of MJX takes the steps of the simulator, with the backend mjx: its own
    in JAX, or Warp's, which needs an NVIDIA GPU and the extra `warp`."""

    stagger: bool = False
    """Whether the first episode of each environment ends early, after a random number of steps:
    many environments would otherwise be in the same part of their episodes for long. Such an
    episode has no score. Only with the backend mjx."""

    workers: Annotated[int | None, at_least(0)] = None
    """Processes (batch: threads) that step the environments while the agent updates; 0 steps
    them in the training process, None takes the smaller of `num_envs` and the number of cores."""

    timeout: Annotated[float, POSITIVE] = 300.0
    """Seconds after which a worker process that does not answer is replaced; its replacement has
    as many to start and take its first step."""

    max_restarts: Annotated[int, at_least(0)] = 10
    """Failures of environments that a run may have: worker processes that die or hang, which are
    replaced, and observations or rewards that are not finite. Their episodes are truncated. One
    more stops the run. With `deterministic` no process is replaced."""

    def __post_init__(self):
        check_fields(self, "env.")
        object.__setattr__(self, "kwargs", _json_object(self.kwargs))
        possible = not self.stagger or self.backend == "mjx"
        check(possible, "env.stagger", "False unless `env.backend` is mjx", self.stagger)


def _json_object(text: str) -> str:
    """Return a JSON object as text that is the same for equal ones."""
    try:
        values = json.loads(text)
        stored = json.dumps(values, sort_keys=True, allow_nan=False)
    except ValueError:
        values, stored = None, ""
    check(isinstance(values, dict), "env.kwargs", "a JSON object such as '{\"size\": 3}'", text)
    return stored


@dataclasses.dataclass(frozen=True)
class ReplayConfig:
    """Experience replay and how often it is trained on."""

    capacity: Annotated[int, at_least(1)] = 5_000_000
    """Sequences kept; the oldest are dropped first (paper, table 2). Memory is taken for
    what the run can fill, not for the capacity."""

    batch_size: Annotated[int, at_least(1)] = 16
    """Sequences per update (paper, table 2)."""

    batch_length: Annotated[int, at_least(2)] = 64
    """Env steps per sequence; one more is read as context (paper, table 2)."""

    train_ratio: Annotated[float, POSITIVE, FINITE] = 512.0
    """Replayed env steps per collected env step: 512 with batches of 16 x 64 is one update
    every second env step (paper, table 2)."""

    online: bool = True
    """Whether every sequence is used once, soon after it was collected, before uniform
    sampling goes on (DreamerV3's online queue)."""

    storage: Literal["ram", "disk"] = "ram"
    """Where the steps are: in memory, or in files of the run folder that are mapped into
    memory, of which the system keeps as much there as fits."""

    def __post_init__(self):
        check_fields(self, "replay.")

    @property
    def updates_per_env_step(self) -> float:
        """Gradient steps per collected env step, once training has begun."""
        return self.train_ratio / (self.batch_size * self.batch_length)
