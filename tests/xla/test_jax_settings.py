"""JAX's own settings are recorded, and refused only where they would change a run."""

import contextlib

import jax
import jax.numpy as jnp
import pytest
from helpers import tiny_model

from gpld import agent
from gpld.errors import UsageError
from gpld.xla.jax_settings import (
    all_settings,
    check_jax_settings,
    check_unchanged,
    jax_settings,
)


@pytest.fixture
def recorded():
    return jax_settings()


def _with(name, value):
    context = {
        "jax_enable_x64": jax.enable_x64,
        "jax_default_prng_impl": jax.default_prng_impl,
        "jax_threefry_partitionable": jax.threefry_partitionable,
        "jax_default_matmul_precision": jax.default_matmul_precision,
        "jax_debug_nans": jax.debug_nans,
        "jax_numpy_dtype_promotion": jax.numpy_dtype_promotion,
    }
    return context[name](value) if name in context else _changed(name, value)


@contextlib.contextmanager
def _changed(name, value):
    """For settings that have no context of their own."""
    before = jax_settings()[name]
    jax.config.update(name, value)
    yield
    jax.config.update(name, before)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("jax_enable_x64", True),
        ("jax_default_prng_impl", "rbg"),
        ("jax_threefry_partitionable", False),
        ("jax_disable_most_optimizations", True),
        ("jax_optimization_level", "O0"),
    ],
)
def test_what_changes_numbers_must_stay(recorded, name, value):
    with _with(name, value):
        now = jax_settings()
        with pytest.raises(UsageError, match=f"{name.upper()} is .* there and {value!r} here"):
            check_jax_settings(recorded, now, "runs/a")
        with pytest.raises(UsageError, match=name.upper()):
            check_jax_settings(None, now, "runs/a")  # a run that began before they were recorded
        check_jax_settings(now, now, "runs/a")  # it was begun so
    with pytest.raises(UsageError, match=f"{name.upper()} is {value!r} there"):
        check_jax_settings(now, recorded, "runs/a")


@pytest.mark.parametrize(
    ("name", "value"),
    [("jax_debug_nans", True), ("jax_default_matmul_precision", "bfloat16")],
)
def test_what_changes_nothing_on_a_cpu_is_free(recorded, name, value):
    with _with(name, value):
        now = jax_settings()
    check_jax_settings(recorded, now, "runs/a")
    check_jax_settings(None, now, "runs/a")


def test_products_by_an_algorithm_are_not_free(recorded):
    with _with("jax_default_matmul_precision", "BF16_BF16_F32"):
        now = jax_settings()
    with pytest.raises(UsageError, match="MATMUL_PRECISION"):
        check_jax_settings(recorded, now, "runs/a")


def test_debugging_is_recorded():
    with _with("jax_debug_nans", True):
        assert jax_settings()["jax_debug_nans"] is True


def test_settings_without_compiled_programs_are_refused():
    with _with("jax_numpy_dtype_promotion", "strict"), pytest.raises(UsageError, match="unset it"):
        jax_settings()
    with jax.disable_jit(), pytest.raises(UsageError, match="JAX_DISABLE_JIT is True"):
        jax_settings()


@pytest.mark.parametrize("name", ["jax_enable_x64", "jax_debug_nans", "jax_numpy_dtype_promotion"])
def test_code_of_others_may_not_change_what_a_run_depends_on(name):
    before = all_settings()
    check_unchanged(before)
    value = "strict" if name.endswith("promotion") else True
    other = "standard" if name.endswith("promotion") else False
    with _with(name, other):
        before = all_settings()
    with _with(name, value), pytest.raises(UsageError, match=f"code sets {name.upper()} to"):
        check_unchanged(before)


@pytest.mark.parametrize("known", [True, False])
def test_what_code_of_others_has_changed_is_put_back(known):
    before = all_settings()
    changes = {
        "jax_enable_x64": True,
        "jax_numpy_dtype_promotion": "strict",
        "jax_transfer_guard": "disallow",
        "jax_default_matmul_precision": "bfloat16",
    }
    for name, value in changes.items():
        jax.config.update(name, value)
    with pytest.raises(UsageError, match=r"JAX_ENABLE_X64 to True.* JAX_TRANSFER_GUARD to 'disa"):
        check_unchanged(before if known else None)
    assert all_settings() == before
    check_unchanged(before if known else None)


def test_guards_that_no_run_survives_are_refused():
    with jax.debug_key_reuse(True), pytest.raises(UsageError, match="JAX_DEBUG_KEY_REUSE is True"):
        jax_settings()
    for guard in (jax.transfer_guard, jax.transfer_guard_host_to_device):
        with guard("disallow"), pytest.raises(UsageError, match=r"GUARD.* is 'disallow'"):
            jax_settings()
        with guard("log"):
            jax_settings()


def test_a_policy_carries_the_same_types_in_float64(recorded):
    """Otherwise acting would be traced twice, which no run survives."""
    with _with("jax_enable_x64", True):
        model = jax.eval_shape(tiny_model)
        observation = {"velocity": jnp.ones((2, 2), jnp.float32), "height": jnp.ones(2)}
        flags = jnp.zeros(2, bool)

        def carried(model, key):
            before = agent.initial_policy_state(model, 2)
            return before, agent.act(model, before, observation, flags, flags, key=key)[0]

        before, after = jax.eval_shape(carried, model, jax.random.key(0))
    assert before == after
