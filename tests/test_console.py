"""What a run shows of itself."""

import pytest

from gpld import console as module
from gpld.console import RunConsole


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass when a test says so."""

    class Clock:
        now = 0.0

        def monotonic(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def show(console, env_step, rate=1.0):
    console.progress(env_step, 0, env_steps_per_second=rate, shares={}, now=True)


def test_compilation_is_not_taken_for_the_pace_of_the_rest(clock, capsys):
    with RunConsole(1000) as console:
        clock.now = 60.0
        console.updated(100)
        clock.now = 70.0  # 10 env steps per second
        show(console, 200)
    assert "100/1,000" not in (text := capsys.readouterr().out)
    assert "0:01:20 left" in text


def test_evaluations_count_for_the_pace(clock, capsys):
    with RunConsole(1000) as console:
        console.updated(0)
        clock.now = 100.0  # which is half of what is recent
        show(console, 500, rate=10.0)
    assert "0:01:40 left" in capsys.readouterr().out


def test_a_resumed_run_has_not_made_its_first_steps_now(clock, capsys):
    with RunConsole(1000) as console:
        console.resumed(900)
        clock.now = 60.0
        console.updated(900)
        show(console, 900, rate=2.0)  # nothing done yet: the recent rate
        clock.now = 65.0
        show(console, 950)
    shown = [line for line in capsys.readouterr().out.splitlines() if "left" in line]
    assert "0:00:50 left" in shown[0]
    assert "0:00:05 left" in shown[1]
