"""Loops that do no more than what their next step waits for."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from helpers import ACTION_SIZE, CONFIG, SHAPES, tiny_batch
from jax.extend.core import jaxprs_in_params

from gpld import agent
from gpld.losses import make_loss
from gpld.xla.loops import split_loops
from gpld.xla.weight_gradients import sum_after_loops

STEPS, BATCH, SIZE = 6, 3, 4
W, V = jr.normal(jr.key(0), (SIZE, SIZE)) / 2, jr.normal(jr.key(1), (SIZE, SIZE)) / 2
H = jr.normal(jr.key(2), (BATCH, SIZE))
X = jr.normal(jr.key(3), (STEPS, BATCH, SIZE))


def recurrent(w, v, h, xs, **options):
    """A state with noise, whose step sees a product of its input, and what is predicted from it."""

    def step(h, inputs):
        x, key = inputs
        noise = jr.normal(key, h.shape, h.dtype)
        h = jnp.tanh(h @ w + x @ v + noise)
        return h, {"state": h, "prediction": jnp.sin(h @ v), "input": x, "one": 1.0}

    return jax.lax.scan(step, h, (xs, jr.split(jr.key(4), len(xs))), **options)


def gradient(w, v, h, xs, **options):
    def loss(*args):
        last, ys = recurrent(*args, **options)
        return jnp.sum(jnp.sin(last)) + sum(jnp.sum(y**2) for y in ys.values())

    return jax.grad(loss, argnums=(0, 1, 2, 3))(w, v, h, xs)


def bodies(fn, *args):
    """Bodies of the loops of a program."""

    def found(jaxpr):
        for equation in jaxpr.eqns:
            if equation.primitive.name == "scan":
                yield equation
            for inner in jaxprs_in_params(equation.params):
                yield from found(inner)

    return list(found(eqx.filter_make_jaxpr(fn)(*args)[0].jaxpr))


def names(scan):
    def found(jaxpr):
        for equation in jaxpr.eqns:
            yield equation.primitive.name
            for inner in jaxprs_in_params(equation.params):
                yield from found(inner)

    return list(found(scan.params["jaxpr"].jaxpr))


def assert_equal(actual, expected, rtol):
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for a, e in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert a.dtype == e.dtype
        np.testing.assert_allclose(a, e, rtol=rtol, atol=1e-14)


@pytest.mark.parametrize("options", [{}, {"reverse": True}, {"unroll": 2}])
@pytest.mark.parametrize("fn", [recurrent, gradient])
def test_results_are_the_same(fn, options, x64):
    arguments = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), (W, V, H, X))
    expected = fn(*arguments, **options)
    split = split_loops(lambda *args: fn(*args, **options))
    assert_equal(split(*arguments), expected, 1e-12)
    assert_equal(jax.jit(split)(*arguments), expected, 1e-12)


def test_a_loop_keeps_what_its_next_step_waits_for():
    [before], [after] = bodies(recurrent, W, V, H, X), bodies(split_loops(recurrent), W, V, H, X)
    assert names(before).count("dot_general") == 3
    assert names(after).count("dot_general") == 1  # of the state
    assert "random_bits" in names(before)
    assert not {"random_bits", "sin"} & set(names(after))
    assert len(after.outvars) == 2  # the last state, and all states


def test_small_values_of_one_type_are_handed_over_in_one():
    def fn(h, xs):
        def step(h, x):
            a, b = jnp.tanh(h + x), jnp.cos(h * x)
            h, count = a * b, jnp.sum(h > 0)
            return h, (a, b, count, h > 0, jnp.argmax(h))

        return jax.lax.scan(step, h, xs)

    [scan] = bodies(split_loops(fn), H, X)
    kept = sorted(str(x.aval.dtype) for x in scan.outvars[1:])
    assert kept == ["float32"]  # numbers and flags come from the states, after the loop
    assert_equal(split_loops(fn)(H, X), fn(H, X), 1e-6)


def test_values_of_several_types_are_handed_over_by_type():
    def fn(h, xs):
        def step(h, x):
            h = jnp.tanh(h + x)
            half, sign = h.astype(jnp.bfloat16), (h * 100).astype(jnp.int8)
            # What follows from the state alone is computed after the loop, but not what it carries.
            return h, (half, sign)

        def carried(state, x):
            h, half, sign, flag = state
            h, (new, other) = step(h + half + sign + flag, x)
            return (h, new, other, other > 0), state

        first = (h, h.astype(jnp.bfloat16), h.astype(jnp.int8), h > 0)
        return jax.lax.scan(carried, first, xs)

    [scan] = bodies(split_loops(fn), H, X)
    kept = sorted(str(x.aval.dtype) for x in scan.outvars[4:])
    assert kept == ["bfloat16", "bool", "float32", "int8"]
    actual, expected = split_loops(fn)(H, X), fn(H, X)
    for a, e in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert a.dtype == e.dtype
        np.testing.assert_allclose(a.astype(np.float32), e.astype(np.float32), rtol=1e-2)


def test_where_devices_share_a_batch_nothing_is_packed():
    def fn(h, xs):
        def step(h, x):
            a, b = jnp.tanh(h + x), jnp.cos(h * x)
            return a * b, (a, b)

        return jax.lax.scan(step, h, xs)

    split = split_loops(fn, pack=False)
    [packed], [apart] = bodies(split_loops(fn), H, X), bodies(split, H, X)
    assert [x.aval.shape for x in packed.outvars[1:]] == [(STEPS, 2 * H.size)]
    assert [x.aval.shape for x in apart.outvars[1:]] == [X.shape, X.shape]
    assert_equal(split(H, X), fn(H, X), 1e-6)


def test_as_many_steps_are_compiled_as_one_as_before():
    for unroll in (1, 2, 3):
        [scan] = bodies(split_loops(lambda *args: recurrent(*args, unroll=unroll)), W, V, H, X)  # noqa: B023
        assert scan.params["unroll"] == unroll


@pytest.mark.parametrize("rewriting", [split_loops, sum_after_loops])
def test_scans_with_effects_stay_as_they_are(rewriting):
    def fn(h, xs, note):
        def step(h, x):
            jax.debug.callback(note, h[0, 0])
            h = jnp.tanh(h + x)
            return h, jnp.sin(h)

        return jax.lax.scan(step, h, xs)

    noted, expected = [], []
    fn(H, X, lambda value: expected.append(float(value)))
    rewriting(lambda h, xs: fn(h, xs, lambda value: noted.append(float(value))))(H, X)
    jax.effects_barrier()
    assert sorted(noted) == sorted(expected)
    assert len(noted) == STEPS


def test_a_callback_that_knows_no_batches_stays_in_the_loop():
    def fn(h, xs):
        def step(h, x):
            double = jax.pure_callback(
                lambda x: 2 * np.asarray(x), jax.ShapeDtypeStruct(x.shape, x.dtype), x
            )
            return h + double, double

        return jax.lax.scan(step, h, xs)

    assert_equal(split_loops(fn)(H, X), fn(H, X), 1e-6)


def test_a_loop_in_a_branch_is_not_run_for_steps_that_do_not_take_it():
    def fn(xs):
        def step(total, x):
            count = lambda x: jax.lax.while_loop(lambda a: a < 10, lambda a: a + x, x)  # noqa: E731
            y = jax.lax.cond(x > 0, count, lambda x: x, x)
            return total + y, y

        return jax.lax.scan(step, 0.0, xs)

    xs = jnp.array([1.0, -1.0, 2.0])  # for -1 the loop would never end
    assert_equal(split_loops(fn)(xs), fn(xs), 1e-6)


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg", "unsafe_rbg"])
def test_random_numbers_are_the_same_whatever_draws_them(impl):
    keys = jr.split(jr.key(0, impl=impl), STEPS)

    def fn(h, keys):
        def step(h, key):
            noise = jr.normal(key, h.shape)
            return jnp.tanh(h + noise), noise

        return jax.lax.scan(step, h, keys)

    assert_equal(split_loops(fn)(H, keys), fn(H, keys), 1e-5)
    [scan] = bodies(split_loops(fn), H, keys)
    assert ("random_bits" in names(scan)) == (impl != "threefry2x32")


@pytest.mark.parametrize("length", [0, 1])
def test_loops_of_no_and_of_one_step(length):
    assert_equal(split_loops(recurrent)(W, V, H, X[:length]), recurrent(W, V, H, X[:length]), 1e-6)


def test_large_values_are_handed_over_as_they_are():
    large, xs = jnp.zeros(2**18), jnp.arange(3.0)

    def fn(h, xs):
        def step(h, x):
            a, b = jnp.tanh(h + x), jnp.cos(h - x)
            return a * b, (a, b)

        return jax.lax.scan(step, h, xs)

    [scan] = bodies(split_loops(fn), large, xs)
    assert [x.aval.shape for x in scan.outvars] == [large.shape, *2 * [(3, *large.shape)]]
    assert_equal(split_loops(fn)(large, xs), fn(large, xs), 1e-5)


def test_what_nothing_reads_is_left_out():
    def fn(h, xs):
        def step(h, x):
            jnp.cumsum(jnp.tanh(h - x), axis=0)
            h = jnp.tanh(h + x)
            return h, jnp.cumsum(h, axis=0)

        return jax.lax.scan(step, h, xs)

    [scan] = bodies(split_loops(fn), H, X)
    assert [x.aval.shape for x in scan.outvars] == [H.shape, X.shape]
    assert names(scan).count("tanh") == 1
    assert_equal(split_loops(fn)(H, X), fn(H, X), 1e-6)


@pytest.mark.parametrize(
    "fn",
    [
        lambda h, xs: jax.lax.scan(lambda h, _: (h, None), h, xs),
        lambda h, xs: jax.lax.scan(lambda h, x: (x, h), h, xs),  # the input becomes the state
        lambda h, xs: jax.lax.scan(lambda h, x: (jnp.zeros_like(h), x + 1), h, xs),
        lambda h, xs: jax.lax.scan(lambda h, _: (2 * h, h), h, length=3),
        lambda h, xs: jax.lax.map(lambda x: jnp.sin(x) @ x.T, xs),
        lambda h, xs: jax.lax.scan(lambda h, x: (h, (h, h, 1, jnp.ones(2))), h, xs),
        lambda h, xs: jax.lax.scan(lambda key, x: tuple(jr.split(key)), jr.key(0), xs)[1],
        # A loop in a loop, and one in a branch.
        lambda h, xs: jax.lax.scan(
            lambda h, x: jax.lax.scan(lambda h, y: (jnp.sin(h + y), jnp.cos(x)), h, xs), h, xs
        ),
        lambda h, xs: jax.lax.cond(
            h[0, 0] > 0, lambda: jnp.cumsum(xs, 0), lambda: jax.lax.map(jnp.sin, xs)
        ),
    ],
)
def test_loops_of_every_kind(fn):
    actual, expected = split_loops(fn)(H, X), fn(H, X)
    if jnp.issubdtype(jax.tree.leaves(expected)[0].dtype, jax.dtypes.prng_key):
        actual, expected = jr.key_data(actual), jr.key_data(expected)
    assert_equal(actual, expected, 1e-6)


@pytest.mark.exhaustive
def test_the_gradient_of_an_agent_is_the_same(x64):
    config = dataclasses.replace(CONFIG, precision="float32")
    state = agent.init(config, SHAPES, ACTION_SIZE, key=jr.key(0))
    loss = make_loss(config, state.slow_value, state.return_norm)
    plain = eqx.filter_value_and_grad(loss, has_aux=True)
    arguments = {"update": state.update, "key": jr.key(1)}
    split = split_loops(sum_after_loops(plain, biases=True))
    (actual, _), actual_grads = split(state.model, tiny_batch(), **arguments)
    (expected, _), expected_grads = plain(state.model, tiny_batch(), **arguments)
    np.testing.assert_allclose(actual, expected, rtol=1e-6)
    for a, e in zip(jax.tree.leaves(actual_grads), jax.tree.leaves(expected_grads), strict=True):
        np.testing.assert_allclose(a, e, rtol=2e-4, atol=1e-6)
    for scan in bodies(lambda m: split(m, tiny_batch(), **arguments), state.model):
        assert not {"random_bits", "threefry2x32"} & set(names(scan))
