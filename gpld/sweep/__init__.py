"""Grids of runs: tasks x arms x seeds, on this machine or on a cluster."""

from .job import Job as Job, plan as plan
from .spec import Sweep as Sweep, read_sweep as read_sweep
