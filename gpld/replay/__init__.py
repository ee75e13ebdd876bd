"""Sequence replay on the host: contents, sampling, and saving beside the training."""

from .chunk_file import DamagedReplayError as DamagedReplayError
from .replay import Replay as Replay, Sample as Sample, stream_length as stream_length
from .snapshot import Snapshot as Snapshot
from .storage import StepSpec as StepSpec
from .store import ReplayStore as ReplayStore
from .train_ratio import TrainRatio as TrainRatio
