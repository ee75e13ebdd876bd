"""Alternative forms of a computation; which one is fast depends on the machine."""

from typing import Literal, NamedTuple

BlockForm = Literal["batched", "separate"]


class Forms(NamedTuple):
    """Forms with equal results up to rounding; `agent.init` takes those that are fast."""

    blocks: BlockForm = "batched"
    """Products of blocks. batched: one operation for all. separate: one for each, several times
    faster on CPUs, where batched products of matrices are slow."""

    unroll: int = 1
    """Steps of loops over time that are compiled as one, at most."""

    in_chunks: bool = False
    """True if pictures are taken a few at a time, see `map_states`."""

    row_by_row: bool = False
    """True if penalties take one row after the other, see `gpld.losses.gram_penalty`."""

    parallel_returns: bool = False
    """True if lambda-returns are computed for all steps together."""

    def unroll_of(self, length: int) -> int:
        """Return the most steps of a loop, up to `unroll`, that divide its length.

        The steps beyond a multiple would be compiled a second time, outside of the loop, and what
        both have computed would be joined.
        """
        return next(steps for steps in range(self.unroll, 0, -1) if length % steps == 0)
