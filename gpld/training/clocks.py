"""How the clocks of a run go with one another."""

from ..config import Config
from ..replay import TrainRatio


def train_ratio(config: Config) -> TrainRatio:
    """How updates follow env steps, those of all processes together."""
    replay = config.replay
    return TrainRatio(
        num_streams=config.env.num_envs,
        window=replay.batch_length + 1,
        min_windows=replay.batch_size * replay.batch_length,
        ratio=replay.updates_per_env_step,
    )
