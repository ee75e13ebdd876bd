"""Types that the program on the device takes, works on and returns."""

from typing import NamedTuple

from jaxtyping import Array, Bool, Float, Int, Int8, PRNGKeyArray, PyTree, UInt32

from ...agent import AgentState, PolicyState
from ...losses import Batch
from ...models import StoredLatent
from ...replay.functional import Counters, Steps, Windows
from ...runs.metrics import Sums


class Learned(NamedTuple):
    """The last update of an agent, and what it has left to do.

    On the host, `UnfinishedUpdate` is the part that is left.
    """

    batch: Batch
    windows: Windows
    latents: StoredLatent
    skipped: Bool[Array, ""]
    left: Bool[Array, ""]
    """Whether the latent states are still to be written to replay."""

    skips_in_a_row: Int[Array, ""]
    num_skipped: Int[Array, ""]
    """Updates skipped so far, but for the one that has left something to be done."""


class Training(NamedTuple):
    """State of a run on the device, besides the steps in replay."""

    agent: AgentState
    policy_state: PolicyState
    envs: PyTree
    learned: Learned


class ProgramClock(NamedTuple):
    """Clock of all agents, inside the program."""

    env_step: UInt32[Array, ""]
    update: Int[Array, ""]
    replay: Counters


class Keys(NamedTuple):
    """Random keys of an agent, always the same: they are mixed with what the clock says."""

    act: PRNGKeyArray
    update: PRNGKeyArray
    replay: PRNGKeyArray


class Request(NamedTuple):
    """Request for one call of the program."""

    num_steps: Int[Array, ""]
    """Env steps of every environment, at most as many as there are records."""

    updates_due: Int[Array, " steps"]
    """Updates that must have been made before the first of them, and after each."""

    work: Int[Array, ""]
    """After so many env steps and updates together it ends in any case."""


class Records(NamedTuple):
    """Records of env steps, one per row; rows of steps not taken mean nothing."""

    reward: Float[Array, "steps env"]
    is_first: Bool[Array, "steps env"]
    is_last: Bool[Array, "steps env"]
    interrupted: Bool[Array, "steps env"]
    """Which episodes ended for no reason of the task's, like the next as in `Cut`."""

    spoilt: Int8[Array, "steps env"]


class Progress(NamedTuple):
    """Progress of the program, which it returns in the end."""

    steps: Steps
    training: Training
    sums: Sums
    records: Records
    finite: Bool[Array, " env"]
    """Whether the policy's last actions are finite: training ends where they are not."""

    clock: ProgramClock
    collected: Int[Array, ""]
    """Env steps of every environment."""

    done: Int[Array, ""]
    """Env steps and updates together."""
