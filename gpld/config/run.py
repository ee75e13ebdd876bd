"""Settings of evaluation, logs, checkpoints and processes."""

import dataclasses
from typing import Annotated

from .checks import POSITIVE, at_least, check, check_fields


@dataclasses.dataclass(frozen=True)
class EvaluationConfig:
    """Evaluation during training, with actions sampled as in training."""

    every: Annotated[int, at_least(1)] = 5_000
    """Env steps between evaluations (paper, table 2)."""

    episodes: Annotated[int, at_least(1)] = 3
    """Episodes per evaluation, every one of which is recorded (paper, table 2)."""

    num_envs: Annotated[int, at_least(1)] = 4
    """Environments that evaluate in parallel, at most one for each episode."""

    video_every: Annotated[int, at_least(0)] = 50_000
    """Env steps between evaluations whose first episode is drawn into a video, the last one
    included; 0 draws none. Where no OpenGL library works there are none."""

    predictions: Annotated[int, at_least(0)] = 4
    """Stored sequences of which the world model sees the first half at an evaluation and
    predicts the second; pictures of truth and prediction go to `predictions/`. 0 draws none."""

    def __post_init__(self):
        check_fields(self, "evaluation.")


@dataclasses.dataclass(frozen=True)
class LogConfig:
    """Metrics and reports that are written while the run goes on."""

    every: Annotated[int, at_least(1)] = 1_000
    """Env steps between two lines of metrics, each a mean over the updates between."""

    report_every: Annotated[int, at_least(0)] = 10_000
    """Env steps between reports on the smoothness of the latent distributions; 0 makes
    none."""

    tensorboard: bool = True
    """Whether metrics also go to TensorBoard, in the run folder."""

    wandb: str | None = None
    """Project of Weights & Biases that metrics also go to; needs `gpld[wandb]`."""

    def __post_init__(self):
        check_fields(self, "log.")


@dataclasses.dataclass(frozen=True)
class CheckpointConfig:
    """Checkpoints, from which a run can be resumed and its agents used.

    A run can be resumed from each of the last `keep` checkpoints. Of older ones the agent is
    kept, if it was saved at a multiple of `every * keep_every` env steps.
    """

    every: Annotated[int, at_least(1)] = 50_000
    """Env steps between checkpoints; one more is written at the end of the run."""

    minutes: Annotated[float, POSITIVE] = 15.0
    """Minutes after which there is a checkpoint in any case; what a kill can cost."""

    keep: Annotated[int, at_least(1)] = 2
    """Last checkpoints from which the run can be resumed; the replay of each is on disk,
    what they share only once."""

    keep_every: Annotated[int, at_least(0)] = 1
    """Agents of every so many checkpoints are kept for good; 0 keeps none."""

    def __post_init__(self):
        check_fields(self, "checkpoint.")


@dataclasses.dataclass(frozen=True)
class DistributedConfig:
    """One run on several machines, each of which has a part of environments and batches."""

    processes: Annotated[int, at_least(1)] = 1
    """Processes that share the updates, each with `env.num_envs / processes` environments,
    their replay and `devices` devices."""

    process_id: int | None = None
    """Number of this process, from 0; None where SLURM, MPI or the like says it."""

    coordinator: str | None = None
    """host:port at which process 0 can be reached; None where SLURM, MPI or the like says
    it."""

    def __post_init__(self):
        check_fields(self, "distributed.")
        last, number = self.processes - 1, self.process_id
        right = number is None or 0 <= number <= last
        check(right, "distributed.process_id", f"in 0 to {last}", number)
