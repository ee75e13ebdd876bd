"""The Gram identity against the literal penalty: the same values and gradients."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from helpers import tiny_rssm

from gpld.losses import draw_probes, gradient_penalty, gram_penalty

ESTIMATORS = ("rowwise", "joint", "forward", "exact")
STATES, DETER, EMBED, HIDDEN, STOCH, CLASSES = 6, 16, 5, 8, 3, 4


def _maps(rssm):
    """Literal and factored form of both maps."""
    return {
        "posterior": (rssm.posterior_probs, rssm.posterior_map()),
        "prior": (rssm.prior_probs, rssm.prior_map()),
    }


def _inputs(name):
    rng = np.random.default_rng(3)
    inputs = (jnp.asarray(rng.normal(size=(STATES, DETER)), jnp.float32),)
    if name == "posterior":
        inputs += (jnp.asarray(rng.normal(size=(STATES, EMBED)), jnp.float32),)
    return inputs


def _probes(fn, inputs, estimator, num_probes=2):
    def draw(key, *inputs):
        return draw_probes(fn, inputs, estimator=estimator, num_probes=num_probes, key=key)

    return jax.vmap(draw)(jr.split(jr.key(1), STATES), *inputs)


def _both(rssm, name, inputs, estimator, probes, *, row_by_row=False):
    """Values of both paths at every state, and their gradients by parameters and inputs."""

    def values(path, rssm, inputs):
        literal, factored = _maps(rssm)[name]
        if path == "gram":
            penalty = gram_penalty(factored, estimator=estimator, row_by_row=row_by_row)
        else:
            penalty = gradient_penalty(literal, estimator=estimator)
        return jax.vmap(lambda u, e: penalty(*u, probes=e))(inputs, probes)

    @eqx.filter_jit
    def run(rssm, inputs):
        # Every row and state weighs differently, so that no two errors cancel.
        weight = jnp.linspace(0.5, 1.5, STATES * STOCH).reshape(STATES, STOCH)
        outputs = []
        for path in ("gram", "literal"):
            loss = lambda args, path=path: jnp.sum(weight * values(path, *args))  # noqa: E731
            outputs.append((values(path, rssm, inputs), eqx.filter_grad(loss)((rssm, inputs))))
        return outputs

    return run(rssm, inputs)


@pytest.mark.parametrize("name", ["posterior", "prior"])
def test_a_factored_map_is_the_map(name):
    rssm, inputs = tiny_rssm(), _inputs(name)
    literal, factored = (jax.jit(jax.vmap(fn))(*inputs) for fn in _maps(rssm)[name])
    np.testing.assert_allclose(factored, literal, rtol=1e-6)
    rows = jnp.array([2, 0])
    selected = jax.jit(jax.vmap(_maps(rssm)[name][1].select(rows)))(*inputs)
    np.testing.assert_allclose(selected, literal[:, rows], rtol=1e-6)
    flat = jax.jit(jax.vmap(_maps(rssm)[name][1].flatten()))(*inputs)
    np.testing.assert_allclose(flat, literal.reshape(STATES, 1, -1), rtol=1e-6)


def test_the_penalty_of_one_row_that_holds_all_is_the_sum_of_joint():
    rssm, inputs = tiny_rssm(), _inputs("posterior")
    probes = _probes(rssm.posterior_probs, inputs, "joint", num_probes=1)
    fn = rssm.posterior_map()

    @jax.jit
    @jax.vmap
    def both(inputs, probes):
        flat = gram_penalty(fn.flatten())(*inputs, probes=probes.reshape(1, 1, -1))
        return flat, gram_penalty(fn, estimator="joint")(*inputs, probes=probes)

    flat, joint = both(inputs, probes)
    np.testing.assert_allclose(flat[:, 0], np.sum(joint, axis=1), rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("name", ["posterior", "prior"])
def test_same_probes_same_values_and_gradients(name, estimator):
    rssm, inputs = tiny_rssm(), _inputs(name)
    probes = _probes(_maps(rssm)[name][0], inputs, estimator)
    (gram, gram_grads), (literal, literal_grads) = _both(rssm, name, inputs, estimator, probes)
    # Relative to all of them: one value of `joint` is a difference of larger numbers.
    np.testing.assert_allclose(gram, literal, rtol=1e-6, atol=1e-6 * np.max(literal))
    leaves = zip(*map(jax.tree.leaves, (gram_grads, literal_grads)), strict=True)
    reached = 0
    for actual, expected in leaves:
        scale = np.linalg.norm(expected)
        reached += scale > 0
        assert np.linalg.norm(actual - expected) <= 2e-6 * scale
    # Inputs; kernel, bias and scale of each hidden layer; kernel and bias of the output.
    assert reached == (2 + 3 + 2 if name == "posterior" else 1 + 6 + 2)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    ("estimator", "row_by_row"),
    [*((name, False) for name in ESTIMATORS), ("rowwise", True), ("exact", True)],
)
def test_identity_to_double_precision(estimator, row_by_row):
    inputs = jax.tree.map(lambda x: x.astype(jnp.float64), _inputs("posterior"))
    rssm = tiny_rssm()
    probes = _probes(rssm.posterior_probs, inputs, estimator)
    (gram, gram_grads), (literal, literal_grads) = _both(
        rssm, "posterior", inputs, estimator, probes, row_by_row=row_by_row
    )
    assert gram.dtype == jnp.float64
    np.testing.assert_allclose(gram, literal, rtol=1e-12, atol=1e-13 * np.max(literal))
    for actual, expected in zip(*map(jax.tree.leaves, (gram_grads, literal_grads)), strict=True):
        np.testing.assert_allclose(actual, expected, atol=1e-12 * np.linalg.norm(expected))


@pytest.mark.slow
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_bfloat16_against_float64(estimator):
    """A rounding is 0.2 %; Gram matrix, softmax, form and sums are float32."""
    rssm, inputs = tiny_rssm("bfloat16"), _inputs("posterior")
    probes = _probes(rssm.posterior_probs, inputs, estimator, num_probes=1)

    def values(rssm, inputs, probes):
        penalty = gram_penalty(rssm.posterior_map(), estimator=estimator)
        return jax.jit(jax.vmap(lambda u, e: penalty(*u, probes=e)))(inputs, probes)

    half = jax.tree.map(lambda x: x.astype(jnp.bfloat16), inputs)
    like_inputs = half if estimator == "forward" else probes
    probes16 = jax.tree.map(lambda e, like: e.astype(like.dtype), probes, like_inputs)
    actual = values(rssm, half, probes16)
    assert actual.dtype == jnp.float32
    with jax.enable_x64(True):
        double = lambda tree: jax.tree.map(lambda x: x.astype(jnp.float64), tree)  # noqa: E731
        expected = np.asarray(values(*double((rssm, inputs, probes))))
    actual = np.asarray(actual)
    error = np.linalg.norm(actual - expected) / np.linalg.norm(expected)
    assert error < 0.03
    np.testing.assert_allclose(np.mean(actual), np.mean(expected), rtol=0.015)


def _products(jaxpr):
    """Multiplications of every matrix product in a program, over all steps of its loop."""
    for eqn in jaxpr.eqns:
        if eqn.primitive.name == "dot_general":
            (contracted, _), _ = eqn.params["dimension_numbers"]
            shape = eqn.invars[0].aval.shape
            yield math.prod([*eqn.outvars[0].aval.shape, *(shape[i] for i in contracted)])
        for value in eqn.params.values():
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                times = eqn.params.get("length", 1)  # of a loop
                yield from (times * count for count in _products(inner))


def test_no_probe_touches_the_width_of_the_input():
    fn, inputs = tiny_rssm().posterior_map(), _inputs("posterior")
    probes = _probes(fn, inputs, "rowwise", num_probes=1)
    penalty = jax.vmap(lambda u, e: gram_penalty(fn)(*u, probes=e))
    products = sorted(_products(jax.make_jaxpr(penalty)(inputs, probes).jaxpr))
    wide = DETER + EMBED
    # The Gram matrix once for all states, and the first layer once for each of them; then
    # nothing that is wider than the hidden layer.
    assert products[-3:] == [
        STATES * wide * HIDDEN,
        STATES * STOCH * HIDDEN * HIDDEN,
        wide * HIDDEN * HIDDEN,
    ]


def test_errors_are_those_of_the_literal_penalty():
    fn = tiny_rssm().posterior_map()
    with pytest.raises(ValueError, match="`num_probes` must be at least 1, got -1"):
        gram_penalty(fn, num_probes=-1)
