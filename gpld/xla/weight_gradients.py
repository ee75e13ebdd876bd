"""Products that a loop sums up, taken as one product after it.

The reverse pass of a loop over time adds one product of small matrices to the gradient of
every weight in each of its steps. One product over all steps does the same work several times
faster, and the loop need not carry the sums. The gradients of biases and scales are sums over the
batch in each step, which can wait in the same way.
"""

import functools
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, JaxprEqn, Literal, Primitive, Var, primitives

from .rewrite import bind, evaluate, origin, rewritten

_DOT = primitives.dot_general_p

# Primitives linear in their operands, which commute with the sum over time. `_ADD` adds up the
# derivatives of a value that is used several times; see `_is_linear` for the rest.
_ADD = primitives.add_jaxvals_p
_LINEAR = (
    _ADD,
    primitives.concatenate_p,
    primitives.convert_element_type_p,
    primitives.pad_p,
    primitives.reshape_p,
    primitives.squeeze_p,
    primitives.transpose_p,
)
_STACK = "stack"  # linear as well; JAX does not export it


def sum_after_loops(fn: Callable[..., Any], *, biases: bool = False) -> Callable[..., Any]:
    """Take products that the scans of a function sum up after these scans.

    To be applied outside of differentiation. Results are the same up to the order of sums;
    the factors of the products are kept for all steps of a loop. Scans with effects, such as
    callbacks, stay as they are.

    Args:
        fn: Any function of trees, of which some leaves may be no arrays.
        biases: Whether sums over arrays, of which no product is taken, are left for later too.

    Returns:
        A function of the same signature and result types.
    """
    return rewritten(fn, functools.partial(_scan, biases))


def _scan(biases: bool, equation: JaxprEqn, inputs: list[Any]) -> list[Any] | None:
    """Evaluate a scan without the carries that only sum up products."""
    if equation.primitive is not primitives.scan_p or equation.params["jaxpr"].effects:
        return None
    params = equation.params
    num_consts, num_carry = params["num_consts"], params["num_carry"]
    first_x = num_consts + num_carry
    consts, carry, xs = inputs[:num_consts], inputs[num_consts:first_x], inputs[first_x:]
    later = (_DOT, primitives.reduce_sum_p) if biases else (_DOT,)
    sums = _Sums(params["jaxpr"], num_consts, num_carry, later)
    if not sums.terms:
        return None
    jaxpr = sums.jaxpr
    kept = [i for i in range(num_carry) if i not in sums.terms]
    given = dict(zip(jaxpr.invars[first_x:], xs, strict=True))
    factors = [var for var in sums.factors if var not in given]

    def step(state, x):
        full = list(carry)  # a sum is left as it was; nothing else in the step reads it
        for i, value in zip(kept, state, strict=True):
            full[i] = value
        arguments = (*consts, *full, *x)
        outputs = evaluate(jaxpr, sums.consts, *arguments, rule=lambda *_: None, also=factors)
        return [outputs[i] for i in kept], outputs[num_carry:]

    state = [carry[i] for i in kept]
    options = {name: params[name] for name in ("length", "reverse", "unroll")}
    state, ys = jax.lax.scan(step, state, xs, **options)
    num_ys = len(jaxpr.outvars) - num_carry
    given |= dict(zip(factors, ys[num_ys:], strict=True))
    carry = list(carry)
    for i, value in zip(kept, state, strict=True):
        carry[i] = value
    for i, terms in sums.terms.items():
        carry[i] = sum((sums.over_time(term, given) for term in terms), carry[i])
    return [*carry, *ys[:num_ys]]


class _Sums:
    """Carries of a scan's body that only sum up products of what changes with time.

    Attributes:
        jaxpr: The body.
        consts: Values of its constants.
        terms: What is added to each such carry, by its number, in a step.
        factors: Factors of the products, each once.
    """

    def __init__(
        self, body: ClosedJaxpr, num_consts: int, num_carry: int, later: Sequence[Primitive]
    ):
        self.jaxpr, self.consts, self._later = body.jaxpr, body.consts, later
        jaxpr = body.jaxpr
        self._producers = {var: equation for equation in jaxpr.eqns for var in equation.outvars}
        self._fixed = {*jaxpr.constvars, *jaxpr.invars[:num_consts]}
        for equation in jaxpr.eqns:
            if all(isinstance(x, Literal) or x in self._fixed for x in equation.invars):
                self._fixed |= set(equation.outvars)
        reads = [*(equation.invars for equation in jaxpr.eqns), jaxpr.outvars]
        self._uses = Counter(x for atoms in reads for x in atoms if isinstance(x, Var))
        self.terms: dict[int, list[Any]] = {}
        self.factors: list[Var] = []
        for i, out in enumerate(jaxpr.outvars[:num_carry]):
            carried, added = jaxpr.invars[num_consts + i], self._added(out)
            terms, factors = [x for x in added if x is not carried], []
            alone = len(terms) < len(added) and self._uses[carried] == 1
            if alone and all(self._collect(term, factors) for term in terms):
                self.terms[i] = terms
                self.factors += [x for x in dict.fromkeys(factors) if x not in self.factors]

    def _added(self, x: Any) -> list[Any]:
        """List the terms that add up to a value that is used nowhere else."""
        if isinstance(x, Literal) or x not in self._producers or self._uses[x] > 1:
            return [x]
        equation = self._producers[x]
        if equation.primitive is not _ADD:
            return [x]
        return [part for operand in equation.invars for part in self._added(operand)]

    def _collect(self, term: Any, factors: list[Var]) -> bool:
        """Collect the factors of the products that a term is linear in; False if it is not."""
        equation = None if isinstance(term, Literal) else self._producers.get(term)
        if equation is None:
            return False
        if equation.primitive in self._later:
            changing = [x for x in equation.invars if isinstance(x, Var) and x not in self._fixed]
            factors += changing
            return len(changing) == len(equation.invars)
        return _is_linear(equation) and all(
            self._collect(x, factors) for x in equation.invars if not isinstance(x, Literal)
        )

    def over_time(self, term: Any, stacked: dict[Var, Any]) -> Any:
        """Sum a term over all steps, from its stacked factors."""
        if isinstance(term, Literal):
            return term.val
        equation = self._producers[term]
        if equation.primitive not in self._later:
            inputs = [self.over_time(x, stacked) for x in equation.invars]
            with origin(equation):
                return bind(equation, inputs)[0]
        after = lambda axes: tuple(axis + 1 for axis in axes)  # noqa: E731
        params = dict(equation.params)
        if equation.primitive is _DOT:
            contracted, batch = params["dimension_numbers"]
            contracted = tuple((0, *after(axes)) for axes in contracted)
            params["dimension_numbers"] = (contracted, tuple(map(after, batch)))
        else:
            params["axes"] = (0, *after(params["axes"]))
        factors = [stacked[x] for x in equation.invars if isinstance(x, Var)]
        with origin(equation):
            return bind(equation.replace(params=params), factors)[0]


def _is_linear(equation: JaxprEqn) -> bool:
    """Return whether an equation is linear in what it reads, without anything of its own.

    Padding is with zeros then, and a conversion from floating-point numbers to others of them.
    """
    literals = [x.val for x in equation.invars if isinstance(x, Literal)]
    if equation.primitive is primitives.pad_p:
        return literals == [0]
    if equation.primitive is primitives.convert_element_type_p:
        avals: list[Any] = [x.aval for x in (*equation.invars, *equation.outvars)]
        return not literals and all(jnp.issubdtype(x.dtype, jnp.floating) for x in avals)
    return not literals and (equation.primitive in _LINEAR or equation.primitive.name == _STACK)
