"""What a run shows of itself, on a terminal, a pipe, and where nobody sees it."""

import dataclasses
import io
import re
import time

import pytest
from rich.console import Console

from gpld.config.presets import PRESETS
from gpld.runs import console as module
from gpld.runs.console import RunConsole
from gpld.xla import cache
from gpld.xla.cache import InWork


class SomeConsole(RunConsole):
    """A console of a run with so many env steps and updates."""

    def __init__(self, env_steps, updates, first_env_step=0):
        super().__init__(dataclasses.replace(PRESETS["debug"], env_steps=env_steps))
        self._total_updates, self._first_env_step = updates, first_env_step


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


def show(console, env_step, update, rate=1.0):
    shares = {"environment": 0.25, "update": 0.75}
    console.progress(env_step, update, env_steps_per_second=rate, shares=shares, now=True)


def shown(capsys):
    """What each line of progress begins with: the time left."""
    lines = capsys.readouterr().out.splitlines()
    return [line.partition(" | ")[0] for line in lines if " | " in line]


def test_nothing_is_said_of_the_time_left_before_updates_run(clock, capsys):
    with SomeConsole(1000, 100, first_env_step=500) as console:
        for env_step in (100, 200, 400):
            clock.now += 0.1  # env steps alone are fast
            show(console, env_step, 0, rate=1000.0)
        clock.now = 60.0
        console.updated()
        show(console, 500, 1, rate=0.1)  # which was compiled
        clock.now = 70.0
        show(console, 510, 6)
    assert shown(capsys) == [
        *["updates from env step 500 on"] * 3,
        "time left unknown",
        "0:03:08 left",  # 94 more at two seconds each
    ]


def test_the_time_left_follows_updates_where_many_come_after_one_env_step(clock, capsys):
    """A thousand environments: the env steps jump, and the updates follow."""
    with SomeConsole(10_240, 1153, first_env_step=1024) as console:
        clock.now = 5.0
        console.updated()
        show(console, 1024, 1)
        clock.now = 6.0
        show(console, 2048, 2)  # the first of 128: 1,151 are left
    assert shown(capsys)[1] == "0:19:11 left"


def test_evaluations_count_for_the_pace_and_compilations_do_not(clock, capsys, monkeypatch):
    work = 0.0
    monkeypatch.setattr(cache, "seconds_of_work", lambda: work)
    with SomeConsole(1000, 1000) as console:
        console.updated()
        show(console, 1, 1)
        clock.now, work = 160.0, 60.0
        show(console, 501, 501, rate=10.0)
    assert shown(capsys)[1] == "0:01:40 left"


def test_a_resumed_run_has_not_made_its_first_updates_now(clock, capsys):
    with SomeConsole(1000, 1000) as console:
        show(console, 900, 900)
        clock.now = 60.0
        console.updated()
        show(console, 901, 901)
        clock.now = 65.0
        show(console, 951, 951)
        show(console, 1000, 1000)
    assert shown(capsys) == ["time left unknown", "time left unknown", "0:00:05 left", "done"]


def test_a_return_says_how_old_it_is(capsys):
    with SomeConsole(1000, 100) as console:
        show(console, 100, 10)
        console.episode(30.0, 100)
        console.episode(40.0, 120)
        show(console, 120, 20)
        show(console, 240, 30)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" | ")[2] for line in lines] == [
        "no return yet",
        "return 35.0",
        "return 35.0 (120 env steps ago)",
    ]


# Compilation


def test_what_is_compiled_is_said_where_there_is_no_terminal(capsys, monkeypatch):
    usual = {"update": (40, 131), "act": (5, 5)}
    monkeypatch.setattr(cache, "usual_seconds", usual.get)
    with SomeConsole(1000, 100) as console:
        for seconds in (0.5, 2.5, 30.0, 61.9, 62.6, 100.0):
            console.look(InWork("compiling", "update", seconds))
        console.look(None)
        console.look(InWork("tracing", "act", 10.0))  # as at every start
        console.look(InWork("compiling", "act", 3.0))
        console.look(InWork("compiling", "_report", 3.0))
    assert capsys.readouterr().out.splitlines() == [
        "compiling update, usually 40 to 131 s here",
        "compiling update: 63 s so far",
        "compiling act, usually 5 s here",
        "compiling report, for the first time here: it can take minutes",
    ]


def test_xlas_alarm_is_silenced_before_it_comes_and_not_for_long(monkeypatch):
    silent = []
    monkeypatch.setattr(cache, "silence", silent.append)
    monkeypatch.setattr(cache, "in_work", lambda: None)
    with SomeConsole(1000, 100) as console:
        console.look(InWork("compiling", "update", 30.0))
        console.look(InWork("compiling", "update", 110.0))  # the alarm comes after 120
        console.look(None)
    assert silent[:3] == [False, True, False]
    assert silent[-1] is False


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_xlas_alarm_comes_back_when_looking_fails(monkeypatch):
    silent = []

    def fail():
        raise ValueError

    monkeypatch.setattr(cache, "silence", silent.append)
    with SomeConsole(1000, 100) as console:
        monkeypatch.setattr(cache, "in_work", fail)
        console._thread.join(timeout=5)
        assert silent[-1:] == [False]  # now, not at the end


# Terminals


class Terminal(io.StringIO):
    """A terminal of some width."""

    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    """A run's console on a terminal, and what it has written there."""

    def make(width, **options):
        file = Terminal()
        monkeypatch.setattr(
            module,
            "Console",
            lambda **kwargs: Console(file=file, width=width, force_terminal=True, **kwargs),
        )
        return SomeConsole(500_000, 250_000, **options), file

    return make


def plain(text):
    """Without the codes that move and colour."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


@pytest.mark.parametrize("width", [40, 80, 120, 200])
def test_the_time_left_is_first_and_never_cut_off(clock, terminal, width):
    console, file = terminal(width)
    with console:
        console.updated()
        console.episode(923.4, 120_000)
        show(console, 1_000, 1)
        clock.now = 100.0
        show(console, 123_456, 60_001)
        time.sleep(0.2)
    line = [x for x in re.split(r"[\r\n]", plain(file.getvalue())) if " left" in x][-1].rstrip()
    assert re.match(r"\S+ 0:05:17 left", line)
    assert len(line) <= width
    parts = line.partition("left | ")[2].split(" | ")
    wanted = ["env step 123,456/500,000", "return 923.4 (3,456 env steps ago)", "60,001 updates"]
    if width >= 120:
        assert parts[:3] == wanted
    assert set(parts) <= {*wanted, "1.0 env steps/s", "(environment 25%, update 75%)", ""}


@pytest.mark.parametrize("width", [40, 80, 120])
def test_lines_wrap_between_words_and_paths_stay_whole(terminal, width):
    console, file = terminal(width)
    path = "/scratch/" + "long" * 30
    text = "memory      " + "some words of a long line that goes on and on " * 4 + path
    with console:
        console.print(text)
    lines = plain(file.getvalue()).splitlines()
    assert " ".join(" ".join(lines).split()) == " ".join(text.split())
    assert all(len(line) <= width or path in line for line in lines)
    assert all(line.startswith(" " * 12) for line in lines[1:] if line)


def test_where_there_is_no_terminal_lines_stay_whole(capsys):
    text = "parameters  " + "one word after the other " * 20
    with SomeConsole(10, 1) as console:
        console.print(text)
    assert capsys.readouterr().out == text + "\n"


def test_what_looks_like_markup_is_shown_as_it_is(terminal):
    console, file = terminal(80)
    text = "resumed     from runs/[bold]:100:[/red]"
    with console:
        console.print(text)
        console.look(InWork("compiling", "a[/red]:100:", 3.0))
    shown = plain(file.getvalue())
    assert text in shown
    assert "compiling a[/red]:100:, for the first time here" in shown


def test_how_long_a_program_takes_is_looked_up_once(terminal, monkeypatch):
    asked = []
    monkeypatch.setattr(cache, "usual_seconds", asked.append)
    monkeypatch.setattr(cache, "in_work", lambda: None)
    monkeypatch.setattr(module, "_LOOK", 60.0)
    console, file = terminal(120)
    with console:
        for name in ("update", "act"):
            for seconds in (2.0, 2.5, 3.0):
                console.look(InWork("compiling", name, seconds))
    assert asked == ["update", "act"]
    assert "can take minutes: 0:00:03 so far" in plain(file.getvalue())
