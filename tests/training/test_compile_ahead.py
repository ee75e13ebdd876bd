"""A program that is compiled in a thread is the one that is called."""

import threading

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest

from gpld.training.compile_ahead import CompiledAhead

VECTOR = jax.ShapeDtypeStruct((3,), jnp.float32)


def program(function):
    """A program that may be traced once, as those of a run."""
    return jax.jit(eqx.debug.assert_max_traces(function, max_traces=1))


def test_calls_use_what_was_compiled():
    threads = []

    def double(x):
        threads.append(threading.current_thread().name)
        return 2 * x

    with CompiledAhead(program(double)) as ahead:
        ahead.begin(VECTOR)
        for _ in range(2):
            assert ahead(jnp.ones(3)).tolist() == [2, 2, 2]
    assert threads == ["compile ahead"]


def test_without_a_thread_it_is_the_program():
    with CompiledAhead(program(lambda x: x - 1)) as ahead:
        assert ahead(jnp.ones(3)).tolist() == [0, 0, 0]


def test_the_first_call_waits():
    entered, may_go_on = threading.Event(), threading.Event()

    def slow(x):
        entered.set()
        assert may_go_on.wait(60)
        return x + 1

    with CompiledAhead(program(slow)) as ahead:
        ahead.begin(VECTOR)
        assert entered.wait(60)
        threading.Timer(0.1, may_go_on.set).start()
        assert ahead(jnp.zeros(3)).tolist() == [1, 1, 1]


def test_a_program_that_cannot_be_compiled_fails_where_it_is_called():
    def bad(x):
        raise ValueError("no such program")

    with CompiledAhead(program(bad)) as ahead:
        ahead.begin(VECTOR)
        for _ in range(2):
            with pytest.raises(ValueError, match="no such program"):
                ahead(jnp.zeros(3))


def test_the_exit_waits_for_the_thread():
    may_go_on, ended = threading.Event(), []

    def slow(x):
        assert may_go_on.wait(60)
        ended.append(True)
        return x

    with CompiledAhead(program(slow)) as ahead:
        ahead.begin(VECTOR)
        threading.Timer(0.1, may_go_on.set).start()
    assert ended == [True]
