"""Batches of replayed sequences, from which losses are computed."""

from typing import NamedTuple

from jaxtyping import Array, Bool, Float, Int, Shaped

from ..models import StoredLatent


class Batch(NamedTuple):
    """Sequences of replayed steps, and the latent state before each of them.

    An observation and a reward belong to the same moment: the reward was received on
    arriving at the observation. It is 0 where an episode begins.
    """

    observation: dict[str, Shaped[Array, "batch time ..."]]
    prev_action: Float[Array, "batch time action"] | Int[Array, "batch time"]
    """At t, the action taken after the observation at t - 1: unclipped, or its number."""

    reward: Float[Array, "batch time"]
    is_first: Bool[Array, "batch time"]
    is_last: Bool[Array, "batch time"]
    """End of an episode, for whatever reason."""

    is_terminal: Bool[Array, "batch time"]
    """True termination: no reward can follow. A time limit sets only `is_last`."""

    context: StoredLatent
    """State before the first step, of shape `[batch, ...]`."""
