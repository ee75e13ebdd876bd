"""Whether a task still is what a run or data were made with."""

import numpy as np
import pytest

from gpld.envs import ArraySpec, EnvSpec, check_same
from gpld.errors import UsageError

VECTOR = ArraySpec((3,), np.dtype(np.float32))
SPEC = EnvSpec({"x": VECTOR}, action_size=2, action_repeat=1, episode_steps=10)


def test_lengths_and_repeats_do_not_matter():
    check_same("the task", SPEC, "the run", SPEC._replace(episode_steps=0, action_repeat=2))


@pytest.mark.parametrize(
    ("changes", "has"),
    [
        ({"observation": {"y": VECTOR}}, "y float32 (3,), action float32 (2,)"),
        ({"observation": {"x": VECTOR._replace(shape=())}}, "x float32 (), action float32 (2,)"),
        ({"action_size": 3}, "x float32 (3,), action float32 (3,)"),
        ({"discrete": True}, "x float32 (3,), action int32 () of 2"),
    ],
)
def test_other_arrays_are_one_line_that_names_both(changes, has):
    with pytest.raises(UsageError) as error:
        check_same("the task", SPEC._replace(**changes), "the run", SPEC)
    expected = "x float32 (3,), action float32 (2,)"
    assert str(error.value) == f"the task has {has}, but the run has {expected}."
