"""Tasks of the DeepMind Control suite, defined for all engines: observation and reward."""

from .registry import COVERED as COVERED, make_task as make_task
from .task import Physics as Physics, Task as Task
