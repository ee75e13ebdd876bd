"""The two trainers, with which the loop does the same."""

from .device.trainer import DeviceTrainer
from .host.trainer import HostTrainer

Trainer = HostTrainer | DeviceTrainer
"""Collects experience and makes the updates that are due, for all seeds in lockstep.

Both have the same members, which the loop and its stages use:

- `clock`: env steps and updates so far.
- `advance(until, check)`: finishes the updates that are still due, then collects and makes those
  that follow. Ends with no update due, at an env step of its choice that is not after `until`.
  `check` is called where the runs may be stopped; it raises something then.
- `state`: the agents, stacked; `agent(index)`: one of them.
- `batch`: the last batches, stacked; `last_batch(index)`: one agent's as host arrays. Both are
  None before the first update.
- `snapshot(index)`: the replay of one run as it is now.
- `get_state(index)`: what one run needs to go on, besides agent, replay and recorder;
  `set_states(clock, states)` sets the clock and restores that of every run.
"""
