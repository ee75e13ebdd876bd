"""Sequence replay on the host or the device: contents, sampling, saving beside the training."""

from .abstract_replay import AbstractReplay as AbstractReplay, stream_length as stream_length
from .device_replay import DeviceReplay as DeviceReplay
from .manifest import faults as faults, has_other_format as has_other_format
from .replay import Replay as Replay, Sample as Sample
from .snapshot import Snapshot as Snapshot
from .storage import StepSpec as StepSpec
from .store import ReplayStore as ReplayStore
