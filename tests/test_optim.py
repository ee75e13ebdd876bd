"""The optimiser by hand and against a plain NumPy loop."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import build

from gpld.config import OptimizerConfig
from gpld.models import BlockLinear, Hidden
from gpld.optim import clip_by_tensor_norm, make_optimizer, norm


def _clip(grads, params, clip=0.5):
    transformation = clip_by_tensor_norm(clip)
    grads, params = (jax.tree.map(jnp.float32, x) for x in (grads, params))
    return transformation.update(grads, transformation.init(params), params)[0]


def test_clipping_is_relative_to_the_norm_of_the_whole_tensor():
    params = {"a": np.array([[3.0, 0.0], [0.0, 4.0]]), "b": np.array([1.0, 0.0])}  # norms 5 and 1
    grads = {"a": np.array([[6.0, 0.0], [8.0, 0.0]]), "b": np.array([0.3, 0.4])}  # 10 and 0.5
    clipped = _clip(grads, params)
    np.testing.assert_allclose(clipped["a"], grads["a"] / 4, rtol=1e-6)  # to 0.5 * 5
    np.testing.assert_array_equal(clipped["b"], np.float32(grads["b"]))  # just within 0.5 * 1


def test_clipping_of_zero_tensors():
    clipped = _clip({"a": np.array([3.0, 4.0])}, {"a": np.zeros(2)})
    np.testing.assert_allclose(clipped["a"], [3e-4, 4e-4], rtol=1e-6)  # norm 0.5 * 1e-3
    small = {"a": np.array([3e-5, 4e-5])}
    np.testing.assert_array_equal(_clip(small, {"a": np.zeros(2)})["a"], np.float32(small["a"]))


LARGE = {
    "squares overflow": ([1e20, 0.0, -2e20], [3.0, 4.0, 0.0]),
    "one square does": ([1.0, 3e19, 0.5], [3.0, 4.0, 0.0]),
    "the norm overflows": ([3e38] * 9, [1.0] * 9),
    "the smallest whose square does": ([1.9e19], [1.0]),
    "their sum does": ([1.5e19, -1.5e19], [1.0, 1.0]),
    "parameters of which squares overflow": ([6e20, 8e20], [3e20, 0.0]),
    "which allow all": ([2e20, -1e20], [6e20, 8e20]),
    "which allow all, and the squares of gradients do not": ([3.0, -4.0], [6e20, 8e20]),
    "both nearly the largest": ([3e38, 1e38], [2e38, 0.0]),
}


@pytest.mark.parametrize("name", LARGE)
def test_clipping_of_any_finite_gradient_is_that_of_double_precision(name):
    grad, param = (np.float32(x).astype(np.float64) for x in LARGE[name])
    allowed = 0.5 * max(1e-3, np.linalg.norm(param))
    expected = grad / max(1, np.linalg.norm(grad) / allowed)
    for clip in (_clip, jax.jit(_clip)):
        np.testing.assert_allclose(clip({"a": grad}, {"a": param})["a"], expected, rtol=1e-6)


def test_clipping_of_a_tensor_leaves_others_alone_where_its_squares_overflow():
    """Bit for bit, as where none do."""
    rng = np.random.default_rng(0)
    grads, params = ({"a": rng.normal(0, scale, 999)} for scale in (3, 1))
    alone = _clip(grads, params)
    beside = _clip(grads | {"b": np.full(3, 1e25)}, params | {"b": np.ones(3)})
    np.testing.assert_array_equal(beside["a"], alone["a"])
    norms = [jnp.linalg.norm(jnp.float32(x["a"])) for x in (params, grads)]
    np.testing.assert_array_equal(
        alone["a"], jnp.float32(grads["a"]) / jnp.maximum(1.0, norms[1] / (0.5 * norms[0]))
    )


def test_gradients_that_are_not_finite_stay_so():
    for bad in (np.inf, np.nan):
        clipped = _clip({"a": np.array([bad, 1.0])}, {"a": np.ones(2)})
        assert not np.isfinite(clipped["a"]).all()


def test_the_norm_of_a_vector_is_finite_where_it_can_be():
    np.testing.assert_allclose(norm(jnp.array([3e30, -4e30])), 5e30, rtol=1e-6)
    assert norm(jnp.full(9, 3e38)) == np.inf
    x = jnp.float32(np.random.default_rng(0).normal(size=999))
    np.testing.assert_array_equal(norm(x), jnp.linalg.norm(x))


def test_clipping_needs_the_parameters():
    transformation = clip_by_tensor_norm(0.3)
    with pytest.raises(ValueError, match="`params` must be given"):
        transformation.update({"a": jnp.ones(2)}, transformation.init({"a": jnp.ones(2)}))


def _run(config, params, grads):
    """Parameters after every update."""
    optimizer = make_optimizer(config)

    @jax.jit
    def step(params, state, grads):
        updates, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    state, trace = optimizer.init(params), []
    for grad in grads:
        params, state = step(params, state, grad)
        trace.append(params)
    return trace


def test_five_updates_of_laprop():
    """Clipping, then the root mean square, then momentum: not the order of Adam."""
    config = OptimizerConfig(
        learning_rate=1e-2, warmup=3, clip=0.3, beta1=0.8, beta2=0.9, eps=1e-3, weight_decay=0.5
    )
    rng = np.random.default_rng(0)
    theta = {"big": rng.normal(size=(3, 2)), "zero": np.zeros(3)}
    grads = [{k: rng.normal(size=v.shape) * 10.0**i for k, v in theta.items()} for i in range(5)]
    cast = lambda tree: jax.tree.map(jnp.float32, tree)  # noqa: E731
    trace = _run(config, cast(theta), [cast(g) for g in grads])
    nu, momentum = ({k: np.zeros_like(v) for k, v in theta.items()} for _ in range(2))
    for n in range(1, 6):
        for k in theta:
            g = grads[n - 1][k]
            allowed = 0.3 * max(1e-3, np.linalg.norm(theta[k]))
            g = g / max(1, np.linalg.norm(g) / allowed)
            nu[k] = 0.9 * nu[k] + 0.1 * g**2
            g = g / (np.sqrt(nu[k] / (1 - 0.9**n)) + 1e-3)
            momentum[k] = 0.8 * momentum[k] + 0.2 * g
            learning_rate = 1e-2 * min(n - 1, 3) / 3
            # No decay: neither of the two is a kernel.
            theta[k] = theta[k] - learning_rate * momentum[k] / (1 - 0.8**n)
            np.testing.assert_allclose(trace[n - 1][k], theta[k], rtol=1e-5, atol=1e-7)


def test_warmup_starts_at_zero_and_ends_after_its_length():
    # Constant gradients: every scaled update is 1, and a step is the learning rate.
    config = OptimizerConfig(learning_rate=0.5, warmup=4)
    trace = _run(config, {"a": jnp.full(2, 100.0)}, [{"a": jnp.ones(2)}] * 7)
    values = np.array([100.0] + [float(p["a"][0]) for p in trace])
    expected = [0, 0.125, 0.25, 0.375, 0.5, 0.5, 0.5]
    np.testing.assert_allclose(-np.diff(values), expected, atol=1e-4)
    assert trace[0]["a"][0] == 100
    trace = _run(
        OptimizerConfig(learning_rate=0.5, warmup=0), {"a": jnp.ones(1)}, [{"a": -jnp.ones(1)}]
    )
    np.testing.assert_allclose(trace[0]["a"], 1.5, rtol=1e-5)


def test_tiny_gradients_take_full_steps_and_zeros_take_none():
    config = OptimizerConfig(learning_rate=0.5, warmup=0)
    grads = {"a": jnp.array([1e-15, 0.0, -1e-15])}
    (params,) = _run(config, {"a": jnp.full(3, 2.0)}, [grads])
    np.testing.assert_allclose(params["a"], [1.5, 2.0, 2.5], rtol=1e-3)
    assert params["a"][1] == 2


def test_only_kernels_decay():
    modules = {"hidden": build(Hidden, 3, 4), "block": build(BlockLinear, 2, 3, 4)}
    params = eqx.filter(modules, eqx.is_inexact_array)
    zeros = jax.tree.map(jnp.zeros_like, params)
    config = OptimizerConfig(learning_rate=0.1, warmup=0, weight_decay=0.5)
    (new,) = _run(config, params, [zeros])
    for name, get in {
        "linear": lambda m: m["hidden"].linear.kernel,
        "block": lambda m: m["block"].kernel,
    }.items():
        np.testing.assert_allclose(get(new), 0.95 * get(params), rtol=1e-6, err_msg=name)
    for get in (
        lambda m: m["hidden"].linear.bias,
        lambda m: m["hidden"].norm.scale,
        lambda m: m["block"].bias,
    ):
        np.testing.assert_array_equal(get(new), get(params))
