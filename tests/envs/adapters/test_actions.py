"""Actions of ours as environments of others take them."""

import jax.numpy as jnp
import numpy as np
import pytest

from gpld.envs.adapters.actions import Continuous, Discrete
from gpld.envs.adapters.functional_env import convert_action
from gpld.errors import UsageError

F32 = np.dtype(np.float32)


def test_entries_are_scaled_each_to_its_bounds():
    low, high = np.array([[-1.0, 0.0], [2.0, -5.0]]), np.array([[3.0, 10.0], [2.5, -1.0]])
    actions = Continuous(low, high, (2, 2), F32, space="Box")
    assert actions.size == 4
    for value, expected in ((-1, low), (1, high), (0, (low + high) / 2), (7, high), (-7, low)):
        actual = actions.convert(np.full(4, value, np.float32))
        np.testing.assert_array_equal(actual, expected.astype(np.float32))
        assert actual.dtype == np.float32
    np.testing.assert_array_equal(actions.convert([1, -1, 0, 0]), [[3, 0], [2.25, -3]])


def test_one_bound_may_be_for_all_and_integers_are_rounded_to():
    actions = Continuous(0, 255, (2,), np.dtype(np.uint8), space="Box")
    np.testing.assert_array_equal(actions.convert([-1, 0.999]), np.array([0, 255], np.uint8))


def test_booleans_are_rounded_to_on_the_host_and_in_programs():
    actions = Continuous(0, 1, (3,), np.dtype(bool), space="Box")
    action = np.array([-0.9, -0.1, 0.1], np.float32)
    for actual in (actions.convert(action), convert_action(actions, jnp.asarray(action))):
        np.testing.assert_array_equal(np.asarray(actual), [False, False, True])
        assert actual.dtype == bool


def test_results_never_leave_the_bounds():
    low, high = np.float32(-0.1), np.float32(0.3)
    actions = Continuous(low, high, (1,), F32, space="Box")
    for value in np.linspace(-1, 1, 1001, dtype=np.float32):
        assert low <= actions.convert([value])[0] <= high
    # The difference of these is too large for a number.
    huge = Continuous(-3e38, 3e38, (1,), F32, space="Box")
    np.testing.assert_array_equal(huge.convert([1.0]), np.array([3e38], np.float32))


@pytest.mark.parametrize("bounds", [(-np.inf, 1), (0, np.inf), (-3.4028235e38, 3.4028235e38)])
def test_infinite_bounds_are_refused_with_a_way_out(bounds):
    with pytest.raises(UsageError, match=r"finite bounds, but the space is Box7; .*RescaleAction"):
        Continuous(*bounds, (2,), F32, space="Box7")


def test_actions_without_numbers_are_refused():
    with pytest.raises(UsageError, match="at least one number, but the space is Box7"):
        Continuous(-1, 1, (0, 2), F32, space="Box7")


@pytest.mark.parametrize("action", [[0.0], [np.nan, 0.0], [[0.0, 0.0]]])
def test_what_is_no_action_raises(action):
    with pytest.raises(ValueError, match="2 finite numbers"):
        Continuous(-1, 1, (2,), F32, space="Box").convert(np.array(action))


@pytest.mark.parametrize(
    "action", [2, np.int32(2), np.array(2), np.array([2], np.uint8), np.array([[2]])]
)
def test_integers_may_come_in_any_form(action):
    actual = Discrete(3, start=-1).convert(action)
    assert actual == 1
    assert type(actual) is np.int64  # as a sample of Gymnasium's space


@pytest.mark.parametrize("action", [-1, 3, 1.0, np.array([0, 1]), np.zeros(0, int)])
def test_integers_that_are_no_action_raise(action):
    with pytest.raises(ValueError, match=r"an integer in \[0, 3\)"):
        Discrete(3).convert(action)
