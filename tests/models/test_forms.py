"""Forms of a computation."""

import pytest

from gpld.models import Forms


@pytest.mark.parametrize(("length", "steps"), [(25, 5), (64, 4), (15, 5), (13, 1), (2, 2), (1, 1)])
def test_steps_compiled_as_one_divide_the_length(length, steps):
    assert Forms(unroll=5).unroll_of(length) == steps
