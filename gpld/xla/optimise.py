"""The rewritings of a gradient, in the order in which they are applied.

`agent.py` needs this module alone of how programs are compiled. `docs/understand/compiling.md`
says what each rewriting gains, and when it can go.
"""

import functools
from collections.abc import Callable
from typing import Any

from .choices import Choices as Choices, choose as choose
from .convolutions import channels_last
from .cpu_sums import vectorised_sums
from .loops import split_loops
from .precision import full_products as full_products, mixed
from .weight_gradients import sum_after_loops


def optimise(fn: Callable[..., Any], choices: Choices) -> Callable[..., Any]:
    """Rewrite a function for a machine: the same results up to rounding, in less time.

    To be applied outside of differentiation, so that derivatives are rewritten as well.

    Args:
        fn: Any function of trees, of which some leaves may be no arrays.
        choices: What the machine is fast at.

    Returns:
        A function of the same signature and result types.
    """
    on_cpu = choices.backend == "cpu"
    if choices.rewrite:
        fn = sum_after_loops(fn, biases=choices.loops != "whole")
        if choices.loops != "whole":
            fn = split_loops(fn, pack=choices.loops == "packed")
        if on_cpu:
            fn = channels_last(vectorised_sums(fn))
        if choices.precision == "mixed":
            fn = mixed(fn, on_cpu=on_cpu, tiles=choices.tiles)

    @functools.wraps(fn)
    def optimised(*args: Any, **kwargs: Any) -> Any:
        with full_products(choices.factors):
            return fn(*args, **kwargs)

    return optimised
