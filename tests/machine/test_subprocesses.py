"""Children at the other end of a pipe: answers, errors, time limits and ends."""

import json
import os
import re
import signal
import time

import pytest

from gpld.machine.subprocesses import Child, describe_error, run_python

LARGE = bytes(10**7)  # more than a pipe buffers


class ChildError(Exception):
    pass


def answer(connection):
    while True:
        match connection.recv():
            case "size", data:
                connection.send(len(data))
            case "large":
                connection.send(LARGE)
            case "fail":
                raise ValueError("It is bad.\nVery bad.")
            case name:
                connection.send(os.environ.get(name))


@pytest.fixture
def child():
    child = Child(answer, name="It", error=ChildError, GPLD_TEST="here")
    yield child
    child.close()


def ask(child, message):
    child.send(message)
    return child.recv()


def stop(child, seconds=0.3):
    child._limit_waiting(seconds)
    child._process.send_signal(signal.SIGSTOP)
    os.waitpid(child._process.pid, os.WUNTRACED)


def test_answers_until_it_is_closed(child):
    assert ask(child, "GPLD_TEST") == "here"
    assert ask(child, ("size", LARGE)) == len(ask(child, "large")) == len(LARGE)
    # The one for whom a signal is meant decides what becomes of its children.
    for number in (signal.SIGINT, signal.SIGTERM):
        child._process.send_signal(number)
    assert ask(child, "GPLD_TEST") == "here"
    child.close()
    assert child._process.returncode == 0


def test_an_exception_is_one_line_and_a_note(child):
    with pytest.raises(ChildError) as error:
        ask(child, "fail")
    message = r"It failed: ValueError: It is bad\. Very bad \(test_subprocesses\.py, line \d+\)\."
    assert re.fullmatch(message, str(error.value))
    assert "in answer" in error.value.__notes__[0]


def test_the_place_of_an_exception_is_in_code_of_the_user():
    with pytest.raises(ValueError, match="invalid literal") as error:
        json.loads("1", parse_int=lambda text: int(f"{text}a"))
    described = describe_error(error.value)
    assert described.endswith(f"(test_subprocesses.py, line {error.traceback[-1].lineno + 1})")
    with pytest.raises(ValueError, match="Expecting value") as error:
        json.loads("")
    assert "(test_subprocesses.py, line " in describe_error(error.value)  # which called it
    assert describe_error(ValueError("It is bad.\nVery.")) == "ValueError: It is bad. Very"


def test_a_death_is_said_with_its_exit_code(child):
    child._process.kill()
    with pytest.raises(ChildError, match=r"^It died with exit code -9\.$"):
        ask(child, "GPLD_TEST")


def test_one_that_stops_in_the_middle_of_an_answer_is_noticed(child):
    child.send("large")
    assert child._connection.poll(60)  # the answer has begun; nobody reads it
    time.sleep(0.5)
    stop(child)
    with pytest.raises(ChildError, match="It did not answer"):
        child.recv()
    assert child._process.returncode == -signal.SIGKILL


def test_one_that_has_stopped_does_not_block_what_is_sent_to_it(child):
    assert ask(child, "GPLD_TEST") == "here"
    stop(child)
    with pytest.raises(ChildError, match="It did not answer"):
        ask(child, ("size", LARGE))
    assert child._process.returncode == -signal.SIGKILL


def test_one_that_does_not_exit_is_killed(child, monkeypatch):
    monkeypatch.setattr("gpld.machine.subprocesses._EXIT_SECONDS", 0.1)
    assert ask(child, "GPLD_TEST") == "here"
    stop(child)
    child.close()
    assert child._process.returncode == -signal.SIGKILL


@pytest.mark.parametrize("module", ["gpld.machine.subprocesses", "gpld.envs.vector.worker"])
def test_children_begin_without_jax(module):
    code = f"import sys, {module}; print('jax' in sys.modules)"
    assert run_python(code, timeout=60) == (True, "False")
