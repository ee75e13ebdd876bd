"""Rewriting of programs: a function is traced, then evaluated equation by equation by rules.

A rule decides what becomes of an equation of the traced program (a jaxpr), wherever it is:
calls are inlined, and the bodies of loops and branches are rewritten in the same way. Applied
outside of differentiation, a rule reaches the derivatives as well, and layers and losses need
not know of it. What comes out stands where its equation stood: under the same names, at the same
lines of source, and in the same context of JAX.
"""

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
from jax.extend import source_info_util
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Var
from jax.extend.core.primitives import (
    call_p,
    closed_call_p,
    cond_p,
    custom_jvp_call_p,
    custom_vjp_call_p,
    jit_p,
    linear_solve_p,
    remat_p,
    scan_p,
    while_p,
)

Rule = Callable[[JaxprEqn, list[Any]], list[Any] | None]
"""`(equation, inputs) -> outputs`, or None where it has nothing to say."""

# Those of custom derivatives are calls like any other, since differentiation is over.
_CALLS = (jit_p, call_p, closed_call_p, custom_jvp_call_p, custom_vjp_call_p)
_BODIES = (scan_p, while_p, cond_p, remat_p, linear_solve_p)
_SHARD_MAP = "shard_map"  # which JAX does not export


def rewritten(fn: Callable[..., Any], rule: Rule) -> Callable[..., Any]:
    """Evaluate some equations of a function by a rule.

    Args:
        fn: Any function of trees, of which some leaves may be no arrays.
        rule: Is asked about every equation but calls, whose own equations it is asked about;
            loops and branches in an equation are rewritten already. It does not reach other
            programs, such as the kernels of Pallas.

    Returns:
        A function of the same signature and result types.
    """

    @functools.wraps(fn)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        trace = eqx.filter_make_jaxpr(lambda *args, **kwargs: fn(*args, **kwargs))
        jaxpr, outputs, static = trace(*args, **kwargs)
        leaves = jax.tree.leaves(eqx.filter((args, kwargs), eqx.is_array))
        results = evaluate(jaxpr.jaxpr, jaxpr.consts, *leaves, rule=rule)
        return eqx.combine(jax.tree.unflatten(jax.tree.structure(outputs), results), static)

    return wrapped


def evaluate(
    jaxpr: Jaxpr, consts: Sequence[Any], *args: Any, rule: Rule, also: Sequence[Var] = ()
) -> list[Any]:
    """Evaluate a program under a rule; return its results and the values of further variables."""
    values = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *args], strict=True))
    evaluate_into(values, jaxpr.eqns, lambda equation, inputs: _apply(equation, inputs, rule))
    return [value_of(atom, values) for atom in (*jaxpr.outvars, *also)]


def evaluate_into(
    values: dict[Var, Any],
    equations: Iterable[JaxprEqn],
    apply: Callable[[JaxprEqn, list[Any]], list[Any]],
) -> None:
    """Evaluate equations in turn, each by a function; their results join the values."""
    for equation in equations:
        with origin(equation):
            results = apply(equation, [value_of(atom, values) for atom in equation.invars])
        values.update(zip(equation.outvars, results, strict=True))


def value_of(atom: Literal | Var, values: Mapping[Var, Any]) -> Any:
    """Return the value of what an equation reads, which may be a constant."""
    return atom.val if isinstance(atom, Literal) else values[atom]


@contextlib.contextmanager
def origin(equation: JaxprEqn) -> Iterator[None]:
    """Give new equations, within this context, the names, source lines and context of another.

    So profiles and errors lead to where it was written, not to what rewrites it.
    """
    source, names = equation.source_info, source_info_util.current_name_stack()
    with (
        source_info_util.user_context(source.traceback, name_stack=names + source.name_stack),
        equation.ctx.manager,
    ):
        yield


def bind(equation: JaxprEqn, inputs: Sequence[Any]) -> list[Any]:
    """Evaluate an equation as it is, within its `origin`."""
    primitive = equation.primitive
    results = primitive.bind(*inputs, **primitive.get_bind_params(equation.params))
    return results if primitive.multiple_results else [results]


def _apply(equation: JaxprEqn, inputs: list[Any], rule: Rule) -> list[Any]:
    primitive, params = equation.primitive, equation.params
    if primitive in _CALLS:
        called = _closed(params["jaxpr" if primitive is jit_p else "call_jaxpr"])
        name = f"jit({params['name']})" if primitive is jit_p else primitive.name
        with source_info_util.extend_name_stack(name):  # as JAX would
            return evaluate(called.jaxpr, called.consts, *inputs, rule=rule)
    if primitive.name == _SHARD_MAP:
        return _shard_map(params, inputs, rule)
    if primitive in _BODIES:
        changed = {name: _rewritten_param(value, rule) for name, value in params.items()}
        equation = equation.replace(params=changed)
    results = rule(equation, inputs)
    return bind(equation, inputs) if results is None else results


def _shard_map(params: dict[str, Any], inputs: Sequence[Any], rule: Rule) -> list[Any]:
    """Rewrite the program that each device runs on its part."""

    def part(*args):
        return tuple(evaluate(params["jaxpr"], (), *args, rule=rule))

    whole = jax.shard_map(
        part,
        mesh=params["mesh"],
        in_specs=params["in_specs"],
        out_specs=tuple(params["out_specs"]),
        axis_names=params["newly_manual_axes"],
        check_vma=params["check_vma"],
    )
    return list(whole(*inputs))


def _rewritten_param(param: Any, rule: Rule) -> Any:
    """Rewrite a parameter of a primitive if it is a program (a loop's body), or several."""
    if isinstance(param, ClosedJaxpr):
        program = functools.partial(evaluate, param.jaxpr, param.consts, rule=rule)
        return jax.make_jaxpr(program)(*param.in_avals)
    if isinstance(param, Jaxpr):
        return _rewritten_param(_closed(param), rule).jaxpr
    if isinstance(param, tuple) and any(isinstance(value, ClosedJaxpr) for value in param):
        return jax.tree.map(lambda value: _rewritten_param(value, rule), param)
    return param


def _closed(jaxpr: ClosedJaxpr | Jaxpr) -> ClosedJaxpr:
    return ClosedJaxpr(jaxpr, []) if isinstance(jaxpr, Jaxpr) else jaxpr
