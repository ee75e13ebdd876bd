"""Functions rewritten as programs: traced, then evaluated equation by equation by other rules.

A rule decides what becomes of an equation of the traced program (a jaxpr), wherever it is:
calls are inlined, and the bodies of loops and branches are rewritten in the same way. Applied
outside of differentiation, a rule reaches the derivatives as well, and layers and losses need
not know of it.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Var
from jax.extend.core.primitives import jit_p

Rule = Callable[[JaxprEqn, list[Any]], list[Any] | None]
"""`(equation, inputs) -> outputs`, or None where it has nothing to say."""


def rewritten(fn: Callable[..., Any], rule: Rule) -> Callable[..., Any]:
    """`fn`, with some of its equations evaluated by a rule.

    Args:
        fn: Any function of trees, of which some leaves may be no arrays.
        rule: Is asked about every equation but calls, whose own equations it is asked about;
            the programs in the parameters of an equation are rewritten already.

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
    """Results of a program under a rule, and the values of further variables of it."""
    values = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *args], strict=True))

    def read(atom):
        return atom.val if isinstance(atom, Literal) else values[atom]

    for equation in jaxpr.eqns:
        results = _apply(equation, [read(atom) for atom in equation.invars], rule)
        values.update(zip(equation.outvars, results, strict=True))
    return [read(atom) for atom in (*jaxpr.outvars, *also)]


def bind(equation: JaxprEqn, inputs: Sequence[Any]) -> list[Any]:
    """Results of an equation as it is."""
    results = equation.primitive.bind(*inputs, **equation.params)
    return results if equation.primitive.multiple_results else [results]


def _apply(equation: JaxprEqn, inputs: list[Any], rule: Rule) -> list[Any]:
    params = equation.params
    called = params["jaxpr"] if equation.primitive is jit_p else params.get("call_jaxpr")
    if called is not None:  # of custom derivatives too, since differentiation is over
        return evaluate(called.jaxpr, called.consts, *inputs, rule=rule)
    changed = {name: _rewritten_param(value, rule) for name, value in params.items()}
    equation = equation.replace(params=changed)
    results = rule(equation, inputs)
    return bind(equation, inputs) if results is None else results


def _rewritten_param(param: Any, rule: Rule) -> Any:
    """A parameter of a primitive, rewritten if it is a program (a loop's body)."""
    if isinstance(param, ClosedJaxpr):
        inputs = [
            jax.ShapeDtypeStruct(aval.shape, aval.dtype, weak_type=aval.weak_type)
            for aval in param.in_avals
        ]
        program = functools.partial(evaluate, param.jaxpr, param.consts, rule=rule)
        return jax.make_jaxpr(program)(*inputs)
    if isinstance(param, Jaxpr):
        return _rewritten_param(ClosedJaxpr(param, []), rule).jaxpr
    if isinstance(param, tuple) and any(isinstance(value, ClosedJaxpr) for value in param):
        return tuple(_rewritten_param(value, rule) for value in param)
    return param
