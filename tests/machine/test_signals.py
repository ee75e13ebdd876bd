"""Signals are noticed, and handlers given back."""

import os
import select
import signal
import threading
import time

import jax
import pytest

from gpld.machine.signals import Interrupts, deferred
from gpld.runs.console import outlook
from gpld.xla import cache


def _wait_for(interrupts):
    end = time.monotonic() + 5
    while interrupts.received is None and time.monotonic() < end:
        time.sleep(0.001)
    return interrupts.received


def test_the_first_signal_is_noted_and_said():
    before = {
        number: signal.getsignal(number)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }
    lines = []
    with Interrupts(lines.append, outlook) as interrupts:
        assert interrupts.received is None
        os.kill(os.getpid(), signal.SIGTERM)
        assert _wait_for(interrupts) == "SIGTERM"
        os.kill(os.getpid(), signal.SIGTERM)  # a scheduler that repeats itself
        time.sleep(0.05)
    assert lines == ["SIGTERM: finishing the update, then saving; a second Ctrl-C ends it at once"]
    assert {number: signal.getsignal(number) for number in before} == before
    assert signal.set_wakeup_fd(-1) == -1


def test_a_signal_while_a_program_is_compiled_is_answered_at_once():
    lines, answered = [], []

    @jax.jit
    def update(x):
        os.kill(os.getpid(), signal.SIGINT)  # Python's own handlers wait for the program
        end = time.monotonic() + 5
        while not lines and time.monotonic() < end:
            time.sleep(0.001)
        answered.extend(lines)
        return 2 * x

    cache.in_work()
    cache._work()._stacks.clear()  # of programs that another test could not trace
    with Interrupts(lines.append, outlook) as interrupts:
        update(1.0)
        assert interrupts.received == "SIGINT"
    assert answered == [
        "SIGINT: tracing update, which cannot be broken off, then saving; "
        "a second Ctrl-C ends it at once"
    ]


def test_a_second_interrupt_gives_the_terminal_its_cursor_back(monkeypatch):
    codes = []
    monkeypatch.setattr(os, "_exit", codes.append)
    terminal, own = os.openpty()
    before = os.dup(1)
    os.dup2(own, 1)
    try:
        with Interrupts(lambda line: None, outlook) as interrupts:
            os.kill(os.getpid(), signal.SIGINT)
            assert _wait_for(interrupts) == "SIGINT"
            os.kill(os.getpid(), signal.SIGINT)
            assert select.select([terminal], [], [], 5)[0]
            assert os.read(terminal, 100) == b"\x1b[?25h\r\n"
    finally:
        os.dup2(before, 1)
        for number in (terminal, own, before):
            os.close(number)
    assert codes == [130]


def test_what_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interrupts(lambda line: None, outlook) as interrupts:
            os.kill(os.getpid(), signal.SIGHUP)
            time.sleep(0.05)
            assert interrupts.received is None
    finally:
        signal.signal(signal.SIGHUP, before)


def test_outside_the_main_thread_nothing_is_changed():
    handlers = []

    def run():
        with Interrupts(handlers.append, outlook) as interrupts:
            assert interrupts.received is None
            handlers.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert handlers == [signal.getsignal(signal.SIGINT)]


def test_a_signal_waits_for_the_end_of_a_block():
    done = []
    handler = signal.getsignal(signal.SIGINT)

    def stopped():
        with deferred():
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.raise_signal(number)
            done.append("started")
        done.append("went on")

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert done == ["started"]
    assert signal.getsignal(signal.SIGINT) == handler


def test_a_signal_that_is_ignored_stays_ignored():
    handler = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with deferred():
            signal.raise_signal(signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, handler)


def test_nothing_waits_outside_the_main_thread():
    handlers = []

    def look():
        with deferred():
            handlers.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert handlers == [signal.getsignal(signal.SIGINT)]
