"""Clocks of a run, by which every line that it writes says when it was written."""

from typing import NamedTuple


class Clock(NamedTuple):
    """Progress of a run, or of all seeds that are trained together."""

    env_step: int = 0
    """Env steps collected, over all environments."""

    update: int = 0
    """Updates made, the skipped ones included."""
