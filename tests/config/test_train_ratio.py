"""How many updates are due."""

from fractions import Fraction

import pytest

from gpld.config.train_ratio import TrainRatio


@pytest.mark.parametrize(
    ("env_step", "updates"),
    [
        (0, 0),
        (1025, 0),
        (2047, 0),
        (2048, 1),
        (2049, 1),
        (2050, 2),
        (50_000, 23_977),
        (250_000, 123_977),
        (500_000, 248_977),
    ],
)
def test_updates_of_the_paper(env_step, updates):
    ratio = TrainRatio(num_streams=16, window=65, min_windows=1024, ratio=0.5)
    assert ratio.updates_due(env_step) == updates


@pytest.mark.parametrize("ratio", [0.5, 1.0, 0.25, 2.5])
@pytest.mark.parametrize(("num_streams", "window", "min_windows"), [(16, 65, 1024), (3, 5, 10)])
def test_updates_equal_those_of_a_trigger_after_every_transition(
    num_streams, window, min_windows, ratio
):
    """SPEC 9.4: wait for the windows, update once, then follow without catching up."""
    due = TrainRatio(
        num_streams=num_streams, window=window, min_windows=min_windows, ratio=ratio
    ).updates_due
    lengths, updates, reference = [0] * num_streams, 0, None
    for env_step in range(1, 4001):
        lengths[(env_step - 1) % num_streams] += 1
        if sum(max(0, length - window + 1) for length in lengths) >= min_windows:
            if reference is None:
                updates, reference = 1, Fraction(env_step)
            else:
                repeats = int((env_step - reference) * Fraction(ratio))
                reference += repeats / Fraction(ratio)
                updates += repeats
        assert due(env_step) == updates
    assert updates > 0


@pytest.mark.parametrize("ratio", [0.5, 1.0, 0.25, 2.5])
@pytest.mark.parametrize(("num_streams", "window", "min_windows"), [(16, 65, 1024), (3, 5, 10)])
def test_updates_before_an_env_step_are_those_of_a_loop(num_streams, window, min_windows, ratio):
    due = TrainRatio(num_streams=num_streams, window=window, min_windows=min_windows, ratio=ratio)
    for start in range(4000):
        env_step = updates = 0
        if start % 97 == 0 or abs(start - due.first_env_step) < 20:
            while env_step + num_streams < start:
                env_step += num_streams
                updates = due.updates_due(env_step)
            assert due.updates_before(start) == updates
