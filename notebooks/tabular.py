"""The discrete origin of GPLD: smooth transition tables, and their limit (paper, eqs. 1-4).

On a finite MDP whose states s have embeddings e(s), the dynamics are smooth if states near
each other lead to the same next states, which the finite-difference regulariser (eq. 1) asks
for. Let the state be any point x, the row P(. | s, a) a function f(x), and the neighbour
x + h u. Then every summand of eq. 1 is a squared difference quotient of f (eq. 2), which
tends to `||J_f(x) u||^2` as h goes to 0 (eq. 3), whose mean over all directions u is
`||J_f(x)||_F^2 / d` in d dimensions (eq. 4): the Jacobian penalty up to 1 / d.

Tables have the axes `[states, actions, states]`: state s, action a, next state s'.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array, Float, PRNGKeyArray

VectorFn = Callable[[Float[Array, " dim"]], Float[Array, " out"]]


class EmbeddedMDP(NamedTuple):
    """The dynamics of a finite MDP whose states are points of a Euclidean space."""

    embedding: Float[Array, "states dim"]
    """The points e(s)."""
    transition: Float[Array, "states actions states"]
    """The probabilities P(s' | s, a)."""


def smooth_mdp(side: int, num_actions: int, *, drift: float, spread: float) -> EmbeddedMDP:
    """Values of `gaussian_drift` on a square grid of states over [0, 1]^2.

    Args:
        side: States along a side, at least 2; their distance is `1 / (side - 1)`.
        num_actions: Number of actions, at least 1. Action a drifts along the angle
            `2 pi a / num_actions`.
        drift: Length of an action's mean displacement, in sides of the square.
        spread: Its standard deviation along either axis, above 0, in the same unit. The
            larger it is, the smoother the dynamics.

    Raises:
        ValueError: If an argument is below its bound.
    """
    for name, value, bound in (("side", side, 2), ("num_actions", num_actions, 1)):
        if value < bound:
            raise ValueError(f"`{name}` must be at least {bound}, got {value}.")
    if not spread > 0:
        raise ValueError(f"`spread` must be positive, got {spread}.")
    ticks = jnp.linspace(0, 1, side)
    embedding = jnp.stack(jnp.meshgrid(ticks, ticks, indexing="ij"), axis=-1).reshape(-1, 2)
    angles = 2 * jnp.pi * jnp.arange(num_actions) / num_actions
    drifts = drift * jnp.stack([jnp.cos(angles), jnp.sin(angles)], axis=1)
    row = lambda x, drift: gaussian_drift(x, drift, embedding, spread)
    table = jax.vmap(jax.vmap(row, (None, 0)), (0, None))
    return EmbeddedMDP(embedding, table(embedding, drifts))


def gaussian_drift(
    x: Float[Array, " dim"],
    drift: Float[Array, " dim"],
    embedding: Float[Array, "states dim"],
    spread: float,
) -> Float[Array, " states"]:
    """A smooth f(x): the probabilities of the states after a random step from the point x.

    Proportional to the density, at the states' embeddings, of a Gaussian around `x + drift`
    with the standard deviation `spread` along every axis.
    """
    squares = jnp.sum(jnp.square(embedding - (x + drift)[None]), axis=1)
    return jax.nn.softmax(-squares / (2 * spread**2))


def sample_counts(
    transition: Float[Array, "states actions states"],
    visits_per_pair: int,
    *,
    key: PRNGKeyArray,
) -> Float[Array, "states actions states"]:
    """Counts N(s, a, s') after `visits_per_pair` transitions from every pair (s, a)."""
    states, actions, _ = transition.shape

    def row(probs, key):
        draws = jr.choice(key, states, (visits_per_pair,), p=probs)
        return jnp.bincount(draws, length=states).astype(probs.dtype)

    return jax.vmap(jax.vmap(row))(transition, jr.split(key, (states, actions)))


def neighbours(embedding: Float[Array, "..."], radius: float) -> Float[Array, "states states"]:
    """What the difference between the rows of two states weighs in eq. 1.

    Looks at values, and is therefore not for `jax.jit`.

    Args:
        embedding: Points e(s), `[states, dim]`, all different.
        radius: Distance up to which states are neighbours, above 0; may be infinite.

    Returns:
        `1 / ||e(k) - e(s)||^2` for neighbours k and s, else 0.

    Raises:
        ValueError: If `embedding` is no matrix, has equal rows or values that are not
            finite, or if `radius` is not positive.
    """
    if embedding.ndim != 2:
        raise ValueError(f"`embedding` must have shape [states, dim], got {embedding.shape}.")
    points = np.asarray(embedding)
    if not np.all(np.isfinite(points)):
        raise ValueError("`embedding` must be finite, got infinite or undefined values.")
    if not radius > 0:
        raise ValueError(f"`radius` must be positive, got {radius}.")
    squares = np.sum(np.square(points[:, None] - points), axis=2)
    others = ~np.eye(len(points), dtype=bool)
    equal = np.argwhere(others & (squares == 0))
    if len(equal):
        raise ValueError(
            "`embedding` must have rows at distances above 0 from each other, "
            f"got equal ones for the states {equal[0, 0]} and {equal[0, 1]}."
        )
    near = others & (np.sqrt(squares) <= radius)
    return jnp.asarray(np.where(near, 1 / np.where(near, squares, 1), 0))


def finite_difference_penalty(
    transition: Float[Array, "states actions states"], weights: Float[Array, "states states"]
) -> Float[Array, ""]:
    """The regulariser L_FD (eq. 1), with the weights of `neighbours`.

    `sum_a sum_s sum_{k near s} sum_s' [(P(s'|k,a) - P(s'|s,a)) / ||e(k) - e(s)||]^2`: two
    neighbours count twice, once from either side.
    """
    differences = transition[None] - transition[:, None]
    return jnp.sum(weights * jnp.sum(jnp.square(differences), axis=(2, 3)))


def negative_log_likelihood(
    transition: Float[Array, "states actions states"],
    counts: Float[Array, "states actions states"],
) -> Float[Array, ""]:
    """`-sum N(s, a, s') ln P(s' | s, a)`, in nats; what was never seen adds nothing."""
    return -jnp.sum(counts * jnp.log(jnp.where(counts > 0, transition, 1)))


def objective(
    transition: Float[Array, "states actions states"],
    counts: Float[Array, "states actions states"],
    weights: Float[Array, "states states"],
    coefficient: float | Float[Array, ""],
) -> Float[Array, ""]:
    """`-sum N ln P + lambda L_FD(P)`, in nats: a convex function of the table P."""
    penalty = finite_difference_penalty(transition, weights)
    return negative_log_likelihood(transition, counts) + coefficient * penalty


def optimality_gap(
    transition: Float[Array, "states actions states"],
    counts: Float[Array, "states actions states"],
    weights: Float[Array, "states states"],
    coefficient: float | Float[Array, ""],
) -> Float[Array, ""]:
    """A bound on how far `objective` lies above its minimum over all tables, in nats.

    A convex function lies above its tangents, so the gap is at most
    `sum_{s,a} (<P, G> - min_s' G)` with the gradient G (Frank and Wolfe, 1956).
    """
    slope = jax.grad(objective)(transition, counts, weights, coefficient)
    return jnp.sum(jnp.sum(transition * slope, axis=2) - jnp.min(slope, axis=2))


def maximum_likelihood(
    counts: Float[Array, "states actions states"],
) -> Float[Array, "states actions states"]:
    """`N(s, a, s') / sum N(s, a, .)`, and uniform where (s, a) was never visited."""
    visits = jnp.sum(counts, axis=2, keepdims=True)
    return jnp.where(visits > 0, counts / jnp.where(visits > 0, visits, 1), 1 / len(counts))


class Estimate(NamedTuple):
    """A table that minimises `objective`, and how well it does."""

    transition: Float[Array, "states actions states"]
    gap: Float[Array, ""]
    """`optimality_gap`, in nats per visit; above the tolerance if the steps ran out."""


def fit(
    counts: Float[Array, "..."],
    weights: Float[Array, "..."],
    coefficient: float,
    *,
    tolerance: float = 1e-4,
    max_steps: int = 2000,
) -> Estimate:
    """Regularised maximum likelihood: minimises `objective`.

    A coefficient of 0 has the closed form `maximum_likelihood`. Otherwise L-BFGS finds roots
    r of the table, `P = r^2 / sum r^2`. Unlike logits they reach probabilities of 0, and the
    likelihood's curvature is alike for all seen entries of a row, so that few steps do.
    Pairs without visits follow their neighbours, and stay uniform if they have none.

    Args:
        counts: N(s, a, s') of at least 0, `[states, actions, states]`; `jax.vmap` batches.
        weights: From `neighbours`, `[states, states]`.
        coefficient: lambda of at least 0, in nats times the embedding's unit squared.
        tolerance: Gap to the minimum to stop at, in nats per visit.
        max_steps: Steps of L-BFGS to stop after anyway.

    Raises:
        ValueError: If shapes do not fit, or `coefficient` is negative or not finite.
    """
    if counts.ndim != 3 or counts.shape[0] != counts.shape[2]:
        raise ValueError(f"`counts` must have shape [states, actions, states], got {counts.shape}.")
    if weights.shape != (expected := (len(counts), len(counts))):
        raise ValueError(f"`weights` must have shape {expected}, got {weights.shape}.")
    if not 0 <= coefficient < math.inf:
        raise ValueError(f"`coefficient` must lie in [0, inf), got {coefficient}.")
    if coefficient == 0:
        return Estimate(maximum_likelihood(counts), jnp.zeros(()))
    return _minimize(counts, weights, coefficient, tolerance, max_steps)


@jax.jit
def _minimize(counts, weights, coefficient, tolerance, max_steps) -> Estimate:
    total = jnp.sum(counts)
    visits = jnp.where(total > 0, total, 1)

    def table(roots):
        squares = jnp.square(roots)
        return squares / jnp.sum(squares, axis=2, keepdims=True)

    def loss(roots):
        return objective(table(roots), counts, weights, coefficient) / visits

    def gap(roots):
        return optimality_gap(table(roots), counts, weights, coefficient) / visits

    solver = optax.lbfgs()
    value_and_grad = optax.value_and_grad_from_state(loss)

    def unfinished(carry):
        # The gap is not computed here: `vmap` evaluates this once to go on and once to
        # freeze what is done, and if these round it differently, it goes on for ever.
        _, _, gap, steps = carry
        return (gap > tolerance) & (steps < max_steps)

    def step(carry):
        roots, state, _, steps = carry
        value, grad = value_and_grad(roots, state=state)
        updates, state = solver.update(grad, state, roots, value=value, grad=grad, value_fn=loss)
        roots = optax.apply_updates(roots, updates)
        return roots, state, gap(roots), steps + 1

    roots = jnp.sqrt(counts + 1 / len(counts))  # above 0, where the gradient vanishes
    roots = roots / jnp.linalg.norm(roots, axis=2, keepdims=True)
    start = (roots, solver.init(roots), gap(roots), jnp.zeros((), int))
    roots, _, final_gap, _ = jax.lax.while_loop(unfinished, step, start)
    return Estimate(table(roots), final_gap)


def estimation_error(
    estimate: Float[Array, "states actions states"],
    truth: Float[Array, "states actions states"],
) -> Float[Array, ""]:
    """Total-variation distance between the rows, in [0, 1]: the mean over pairs (s, a)."""
    return jnp.mean(jnp.sum(jnp.abs(estimate - truth), axis=2)) / 2


def directional_difference(
    fn: VectorFn,
    x: Float[Array, " dim"],
    direction: Float[Array, " dim"],
    h: float | Float[Array, ""],
) -> Float[Array, ""]:
    """`||(f(x + h u) - f(x)) / h||^2` along a unit vector u: a summand of eq. 1 (eq. 2)."""
    return jnp.sum(jnp.square((fn(x + h * direction) - fn(x)) / h))


def directional_derivative(
    fn: VectorFn, x: Float[Array, " dim"], direction: Float[Array, " dim"]
) -> Float[Array, ""]:
    """`||J_f(x) u||^2`, the limit of `directional_difference` as h goes to 0 (eq. 3)."""
    return jnp.sum(jnp.square(jax.jvp(fn, (x,), (direction,))[1]))


def unit_directions(num: int, dim: int, *, key: PRNGKeyArray) -> Float[Array, "num dim"]:
    """Draws uniformly from the sphere; eq. 4 averages over them."""
    normal = jr.normal(key, (num, dim))
    return normal / jnp.linalg.norm(normal, axis=1, keepdims=True)
