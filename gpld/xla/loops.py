"""Loops over time that do no more than what their next step waits for.

A step of a loop is a chain of small operations, and a GPU takes longer to start one of them than to
compute it. What depends on no earlier step is computed before the loop, and what no later step
depends on after it, each for all steps in one operation: random numbers, what a step sees of an
action, predictions of imagined rewards, what a derivative needs of every step. Values that a step
hands over are written side by side, in one operation instead of one for each.
"""

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import Jaxpr, JaxprEqn, Var, jaxprs_in_params, primitives

from .rewrite import bind, evaluate_into, rewritten, value_of

# Larger than what they are made of: evaluated where they are read, not handed over.
_EXPANDING = (primitives.broadcast_in_dim_p, primitives.iota_p)

# By name, since JAX does not export all. They need not be callable for all steps together, or draw
# other bits then; the generator of JAX's own draws the same.
_ONE_AT_A_TIME = ("pure_callback", "rng_bit_generator", "rng_uniform")
_GENERATOR = "key<fry>"  # Threefry

_SMALL = 2**17
"""Elements of a value that is written beside others: to copy it takes no longer than a start."""


def split_loops(fn: Callable[..., Any], *, pack: bool = True) -> Callable[..., Any]:
    """Take out of the scans of a function what need not be done step by step.

    To be applied outside of differentiation. Results are the same up to rounding; what a loop
    gets from before it, and hands over to after it, is kept for all of its steps. So a scan that
    is there to save memory, as in `jax.lax.map`, saves none any more. Scans with effects, such as
    callbacks that print, stay as they are. What no result depends on is left out.

    Args:
        fn: Any function of trees, of which some leaves may be no arrays.
        pack: Whether small values that a step hands over are written side by side.

    Returns:
        A function of the same signature and result types.
    """
    return rewritten(fn, functools.partial(_split_scan, pack))


def _split_scan(pack: bool, equation: JaxprEqn, inputs: list[Any]) -> list[Any] | None:
    """Evaluate a scan as what comes before its loop, the loop, and what comes after."""
    if equation.primitive is not primitives.scan_p or equation.params["jaxpr"].effects:
        return None
    params = equation.params
    length, jaxpr, consts = params["length"], params["jaxpr"].jaxpr, params["jaxpr"].consts
    first_carry, first_x = params["num_consts"], params["num_consts"] + params["num_carry"]
    given = dict(zip(jaxpr.invars, inputs, strict=True))
    carry, xs = jaxpr.invars[first_carry:first_x], jaxpr.invars[first_x:]
    parts = _split(jaxpr, carry, xs)
    outs, ys = jaxpr.outvars[: len(carry)], jaxpr.outvars[len(carry) :]

    fixed = dict(zip(jaxpr.constvars, consts, strict=True))
    fixed |= {var: given[var] for var in jaxpr.invars[:first_carry]}
    evaluate_into(fixed, parts.fixed, bind)
    timed = {var: given[var] for var in xs}
    _evaluate_over_time(parts.before, fixed, timed, length)

    def step(state, x):
        known = dict(fixed)
        known.update(zip([*carry, *parts.read], [*state, *x], strict=True))
        evaluate_into(known, parts.loop, bind)
        kept = [known[var] for var in parts.kept]
        return [value_of(out, known) for out in outs], _pack(kept) if pack else kept

    # As many steps are compiled as one as before.
    options = {name: params[name] for name in ("length", "reverse", "unroll")}
    first, read = [given[var] for var in carry], [timed[var] for var in parts.read]
    last, kept = jax.lax.scan(step, first, read, **options)
    kept = _unpack(kept, [x.aval for x in parts.kept]) if pack else kept
    timed.update(zip(parts.kept, kept, strict=True))
    _evaluate_over_time(parts.after, fixed, timed, length)

    def at_all_steps(out):
        if isinstance(out, Var) and out in timed:
            return timed[out]
        value = jnp.asarray(value_of(out, fixed))
        return jnp.broadcast_to(value, (length, *value.shape))

    return [*last, *map(at_all_steps, ys)]


class _Parts(NamedTuple):
    """Equations of a scan's body by the time when they can be evaluated."""

    fixed: list[JaxprEqn]
    """Before the loop, once: the same in every step."""

    before: list[JaxprEqn]
    """Before the loop, for all steps together."""

    loop: list[JaxprEqn]
    after: list[JaxprEqn]

    read: list[Var]
    """Values of each step that the loop reads: inputs of the scan, and what comes before."""

    kept: list[Var]
    """Values of each step that the loop hands over."""


def _split(jaxpr: Jaxpr, carry: Sequence[Var], xs: Sequence[Var]) -> _Parts:
    # Forwards: what depends on no earlier step comes before the loop.
    in_turn, per_step = set(carry), set(xs)  # what depends on earlier steps, and on the step alone
    fixed, before, later = [], [], []
    for equation in jaxpr.eqns:
        read = set(_variables(equation.invars))
        if read & in_turn or _is_in_turn(equation):
            in_turn.update(equation.outvars)
            later.append(equation)
        elif read & per_step:
            per_step.update(equation.outvars)
            before.append(equation)
        else:
            fixed.append(equation)
    # Backwards: what no next step waits for comes after it, if any result depends on it.
    outs = _variables(jaxpr.outvars[: len(carry)])
    ys = _variables(jaxpr.outvars[len(carry) :])
    next_reads, results_read = set(outs), set(ys)
    loop, after = [], []
    for equation in reversed(later):
        read = _variables(equation.invars)
        of_result = not results_read.isdisjoint(equation.outvars)
        stays = of_result and _is_in_turn(equation)
        if stays or not next_reads.isdisjoint(equation.outvars):
            loop.append(equation)
            next_reads.update(read)
        elif of_result:
            after.append(equation)
            results_read.update(read)
    loop = _with_expanding(loop[::-1], outs, [*fixed, *before])
    after = _with_expanding(after[::-1], ys, [*fixed, *before])
    in_loop, at_end = _made(loop), _made(after)
    read = [x for x in (*_read(loop), *outs) if x in per_step and x not in in_loop]
    kept = [x for x in (*_read(after), *ys) if x in in_turn and x not in at_end]
    return _Parts(fixed, before, loop, after, list(dict.fromkeys(read)), list(dict.fromkeys(kept)))


def _is_in_turn(equation: JaxprEqn) -> bool:
    """Return whether an equation must be evaluated in one step after the other.

    For all steps together both branches of a condition are evaluated, so that a loop in one of
    them might never end, and a check might fail.
    """
    inside = [equation, *_within(equation)]
    if any(each.primitive.name in _ONE_AT_A_TIME or _draws_others(each) for each in inside):
        return True
    return any(
        each.primitive is primitives.cond_p
        and any(own.primitive is primitives.while_p for own in _within(each))
        for each in inside
    )


def _within(equation: JaxprEqn) -> Iterator[JaxprEqn]:
    """Yield the equations of the programs in an equation, and in those."""
    for jaxpr in jaxprs_in_params(equation.params):
        for own in jaxpr.eqns:
            yield own
            yield from _within(own)


def _draws_others(equation: JaxprEqn) -> bool:
    """Return whether a random generator would draw other bits for all steps together."""
    avals: list[Any] = [atom.aval for atom in (*equation.invars, *equation.outvars)]
    keys = {str(x.dtype) for x in avals if jnp.issubdtype(x.dtype, jax.dtypes.prng_key)}
    return equation.primitive.name.startswith("random_") and keys != {_GENERATOR}


def _with_expanding(
    equations: Sequence[JaxprEqn], wanted: Iterable[Var], earlier: Sequence[JaxprEqn]
) -> list[JaxprEqn]:
    """Evaluate once more, with other equations, what only expands values they read."""
    reads, again = {*_read(equations), *wanted}, []
    for equation in reversed(earlier):
        if equation.primitive in _EXPANDING and not reads.isdisjoint(equation.outvars):
            again.append(equation)
            reads.update(_variables(equation.invars))
    return [*again[::-1], *equations]


def _variables(atoms: Iterable[Any]) -> list[Var]:
    return [atom for atom in atoms if isinstance(atom, Var)]


def _read(equations: Iterable[JaxprEqn]) -> list[Var]:
    return [x for equation in equations for x in _variables(equation.invars)]


def _made(equations: Iterable[JaxprEqn]) -> list[Var]:
    return list(dict.fromkeys(x for equation in equations for x in equation.outvars))


def _evaluate_over_time(
    equations: Sequence[JaxprEqn], fixed: dict[Var, Any], timed: dict[Var, Any], length: int
) -> None:
    """Evaluate equations for all steps together; `timed` has values with a leading axis of time."""
    made = _made(equations)
    read = [x for x in dict.fromkeys(_read(equations)) if x in timed and x not in made]

    def one_step(values):
        known = fixed | dict(zip(read, values, strict=True))
        evaluate_into(known, equations, bind)
        return [known[x] for x in made]

    results = jax.vmap(one_step, axis_size=length)([timed[x] for x in read])
    timed.update(zip(made, results, strict=True))


def _pack(values: Sequence[Any]) -> list[Any]:
    """Write small values of one dtype side by side."""
    return [
        values[group[0]]
        if len(group) == 1
        else jnp.concatenate([jnp.ravel(values[i]) for i in group])
        for group in _groups([jax.typeof(x) for x in values])
    ]


def _unpack(packed: Sequence[Any], avals: Sequence[Any]) -> list[Any]:
    """Take apart what `_pack` wrote in every step, by the shapes of the values."""
    values: list[Any] = [None] * len(avals)
    for group, stack in zip(_groups(avals), packed, strict=True):
        start = 0
        for i in group:
            size = avals[i].size
            part = stack if len(group) == 1 else stack[:, start : start + size]
            values[i] = part.reshape(stack.shape[0], *avals[i].shape)
            start += size
    return values


def _groups(avals: Sequence[Any]) -> list[list[int]]:
    """Group values, by their numbers, that are written side by side."""
    groups: dict[Any, list[int]] = {}
    for i, x in enumerate(avals):
        small = x.size <= _SMALL and not jnp.issubdtype(x.dtype, jax.dtypes.extended)
        # Within `jax.shard_map` some differ between devices, and others do not.
        axes = getattr(x, "manual_axis_type", None)
        groups.setdefault((x.dtype, axes) if small else i, []).append(i)
    return list(groups.values())
