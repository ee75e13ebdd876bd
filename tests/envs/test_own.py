"""Environments of one's own by name: what is found, what runs code, what fails and how."""

import functools
import json
import shlex
import subprocess
import sys
from pathlib import Path

import gymnasium
import jax
import numpy as np
import pytest
from gymnasium import spaces

import gpld
from gpld.cli import parse_config
from gpld.config import Config, EnvConfig, from_dict, to_dict
from gpld.envs import make_env, make_vector_env, own
from gpld.envs.failures import TooManyFailuresError
from gpld.envs.probe import Memory
from gpld.errors import UsageError
from gpld.runs.start import default_path

FILE = '''
"""An environment in a file."""

import gymnasium
import numpy as np
from gymnasium import spaces

import beside  # in the same folder


class Line(gymnasium.Env):
    observation_space = spaces.Box(-9, 9, (2,))
    action_space = spaces.Box(-1, 1, (1,))

    def __init__(self, length=4, start=0, fails_at=None, seed=None):
        self.length, self.start, self.fails_at = length, start, fails_at

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time = 0
        return np.full(2, self.start, np.float32), {}

    def step(self, action):
        self.time += 1
        if self.time == self.fails_at:
            raise RuntimeError("the line\\nis broken")
        return np.full(2, self.time, np.float32), 1.0, False, self.time == self.length, {}


def make(**kwargs):
    return Line(**kwargs)


text = "no function"
'''


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch):
    """What one test makes known is unknown to the next."""
    monkeypatch.setattr(own, "_registered", {})
    monkeypatch.setattr(own, "_allowed", set())
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    for name in ("gpld_own_line", "beside", "line"):
        sys.modules.pop(name, None)


@pytest.fixture
def file(tmp_path):
    (tmp_path / "line.py").write_text(FILE)
    (tmp_path / "beside.py").write_text("")
    return tmp_path / "line.py"


def lengths(task, **options):
    env = make_env(task, seed=0, **options)
    env.reset()
    return next(n for n in range(1, 100) if env.step(np.zeros(1, np.float32)).is_last)


def run_fresh(code):
    """Run code in a fresh process, and return what it prints."""
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


# Names


def test_a_function_in_a_file(file, monkeypatch):
    task = f"{file}:make"
    gpld.register(task)
    assert lengths(task) == 4
    assert lengths(task, kwargs={"length": 6}) == 6
    gpld.register(f"{file}:Line")
    assert lengths(f"{file}:Line", kwargs={"length": 2}) == 2
    monkeypatch.chdir(file.parent)
    assert Config(task="./line.py:make").task == Config(task="line.py:make").task == task
    assert lengths("line.py:make") == 4


def test_a_function_in_a_module_of_the_working_directory(file, monkeypatch):
    monkeypatch.chdir(file.parent)
    gpld.register("line:make")
    assert lengths("line:make") == 4


def test_ids_of_gymnasium_also_those_that_a_module_registers(file, monkeypatch):
    assert make_env("gymnasium:Pendulum-v1", seed=0).spec.episode_steps == 200
    env = make_env("gymnasium:Pendulum-v1", seed=0, kwargs={"max_episode_steps": 7})
    assert env.spec.episode_steps == 7
    (file.parent / "ids_of_mine.py").write_text(
        "import gymnasium\ngymnasium.register('Mine-v0', 'line:Line')\n"
    )
    monkeypatch.chdir(file.parent)
    gpld.register("gymnasium:ids_of_mine:Mine-v0")
    assert lengths("gymnasium:ids_of_mine:Mine-v0", kwargs={"length": 3}) == 3


def test_a_registered_function_and_its_name():
    gpld.register("mine", functools.partial(Memory))
    assert "mine" in gpld.task_names()
    env = make_env("mine", seed=3)  # is given the seed, which it takes
    np.testing.assert_equal(env.reset(), Memory(seed=3).reset())
    with pytest.raises(UsageError, match=r"`env\.action_repeat` must be 1 .* interface itself"):
        make_env("mine", seed=3, action_repeat=2)


@pytest.mark.parametrize(
    "task",
    [
        *("", "a\nb", "walker_walk", "cup_catch", "probe_memory", "list"),
        *(" ", " a", "a ", "gymnasium:CartPole-v1", "gymnax:X"),
    ],
)
def test_names_that_cannot_be_registered(task):
    with pytest.raises(ValueError, match="`task` must be a name that"):
        gpld.register(task, Memory)


def test_what_cannot_be_called_cannot_be_registered():
    code = (  # where no test checks types
        "import gpld\nfrom gpld.envs.probe import Memory\n"
        "try: gpld.register('mine', Memory(seed=0))\n"
        "except ValueError as error: print(error)"
    )
    assert run_fresh(code) == (
        "`make` must be a function or class that makes environments, got gpld.envs.probe.Memory.\n"
    )


def test_names_of_functions_with_arguments_tell_them_apart():
    two, three = (functools.partial(dict, 1, size=size) for size in (2, 3))
    assert own.name_of(two) == "builtins:dict(1, size=2)"
    assert own.name_of(functools.partial(three, b="x\ny")) == (
        r'builtins:dict(1, b="x\ny", size=3)'
    )
    for make in (two, functools.partial(dict, {"a": 1}, text=" : (")):
        gpld.register(own.name_of(make), make)
    with pytest.raises(ValueError, match=r"JSON knows, since .* `gpld\.register` gives it another"):
        own.name_of(functools.partial(dict, size=object()))


def test_settings_are_named_as_on_the_command_line():
    for flag, value in (("kwargs", '{"a": 1}'), ("episode_steps", "3"), ("backend", "batch")):
        task = "gymnasium:Ant-v5" if flag == "backend" else "walker_walk"
        with pytest.raises(UsageError, match=rf"^`env\.{flag}` must be "):
            parse_config(["--task", task, f"--env.{flag}", value])


def test_settings_that_depend_on_the_task():
    small = gpld.PRESETS["small"]
    for task, repeat, size in (
        ("walker_walk", 2, 64),
        ("probe_memory", 1, 64),
        ("gymnasium:Ant-v5", 1, None),
        ("mine", 1, None),
    ):
        args = ["--preset", "small", "--task", task]
        config = gpld.Config(**{**vars(small), "task": task})
        assert (config.action_repeat, config.image_size) == (repeat, size)
        assert from_dict(json.loads(json.dumps(to_dict(config)))) == config
        if task != "mine":
            assert parse_config(args) == config
    own = Config(task="gymnasium:Ant-v5", env=EnvConfig(action_repeat=2, image_size=64))
    assert (own.action_repeat, own.image_size) == (2, 64)


def test_arguments_are_a_json_object_in_one_form():
    assert EnvConfig(kwargs='{"b":1, "a": [2]}').kwargs == '{"a": [2], "b": 1}'
    for text in ("[1]", "a", '{"a": }', "null", '{"a": NaN}', '{"a": 1e999}'):
        with pytest.raises(ValueError, match=r"`env\.kwargs` must be a JSON object such as .* got"):
            EnvConfig(kwargs=text)


def test_run_folders_have_names_without_separators(file):
    name = default_path(Config(task=f"{file}:make")).name
    assert name.startswith("line.py_make-paper-seed0-")
    assert default_path(Config(task="gymnasium:a:b/C-v0")).name.startswith("C-v0-paper")


# What runs code


def test_a_stored_name_runs_no_code(file):
    file.write_text("raise SystemExit('it ran')")
    for task in (f"{file}:make", "line:make", "gymnasium:line:Mine-v0", "/a b/c.py:make"):
        message = f"stored name runs none: give `--task {shlex.quote(task)}` on the command line"
        with pytest.raises(ValueError, match="is code of your own") as error:
            make_env(task, seed=0)
        assert message in str(error.value)


def test_a_stored_name_is_answered_with_what_can_be_done(file):
    def message(task):
        with pytest.raises(ValueError, match="runs none") as error:
            make_env(task, seed=0)
        return str(error.value)

    python = (
        ", or in Python its name to `gpld.register` or its function as `env=` of `gpld.train` or "
        "`gpld.evaluate`."
    )
    assert message(f"{file}:make").endswith(f"on the command line as well{python}")
    moved = message("/moved/line.py:make")
    assert moved.endswith(f"as well, with the path where the file is now{python}")

    class Mine(Memory):
        """In a function, where no other process finds it."""

    for make in (Mine, lambda: Memory(seed=0), functools.partial(Memory, seed=0)):
        name = own.name_of(make)
        assert message(name).endswith(
            f"; by the name {name} no other process finds it: give its function again in Python, "
            "as `env=` of `gpld.train` or `gpld.evaluate`, or to `gpld.register`."
        )
    assert "--task" not in message("__main__:Puck")
    assert own.found_by_name("/old (1)/mine.py:make")
    assert own.found_by_name(own.name_of(Memory))
    assert not own.found_by_name("point")


def test_a_name_on_the_command_line_may(file):
    task = parse_config(["--task", f"{file}:make", "--preset", "debug"]).task
    assert lengths(task) == 4


def test_no_other_task_imports_it(file):
    file.write_text("raise SystemExit('it ran')")
    code = (
        "import sys; from gpld.cli import parse_config\n"
        f"parse_config(['--task', '{file}:make'])\n"  # checked without running it
        "parse_config(['--task', 'walker_walk'])\n"
        "print([m for m in ('gymnasium', 'line', 'gpld_own_line') if m in sys.modules])"
    )
    assert run_fresh(code) == "[]\n"


# Names that lead nowhere


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("HalfCheetah-v4", "did you mean gymnasium:HalfCheetah-v4? `--task list` shows all but"),
        ("HalfChetah-v5", "did you mean gymnasium:HalfCheetah-v5? `--task list` shows all "),
        (
            "cartpole",
            "did you mean gymnasium:CartPole-v1, cartpole_swingup or cartpole_balance? `--task",
        ),
        ("gymnasium:HalfCheeta-v5", "got 'gymnasium:HalfCheeta-v5'; did you mean gymnasium:HalfCh"),
        ("gymnasium:walker_walk", "got 'gymnasium:walker_walk'; did you mean walker_walk?"),
        ("gymnasium:my_tas", "got 'gymnasium:my_tas'; did you mean my_task?"),
        ("gymanisum:X", "no 'gymanisum'; did you mean gymnasium:X?"),
        ("gymanisum:CartPol-v1", "no 'gymanisum'; did you mean gymnasium:CartPole-v1?"),
        ("dmc:walker_walk", "there is no 'dmc'; did you mean walker_walk?"),
        ("gym:CartPole-v1", "of Gymnasium, not of the old gym, got 'gym:CartPole-v1'; did you me"),
        ("gymnasium:zzz", "that Gymnasium knows, got 'gymnasium:zzz'; one that a module registers"),
        ("gymnasum:Pendulum-v1", "no 'gymnasum'; did you mean gymnasium:Pendulum-v1?"),
        ("no_such_module.env:make", "a module that can be imported, got 'no_such_module.env:make'"),
        ("missing.py:make", "must name a file that is there, but /"),
        ("./missing.py", "must name a file that is there, but ./missing.py is not."),
        ("./e:make", "must name a file that ends in .py, got './e:make'"),
        ("__main__:x", "`__main__` is the program that was running; name its file, as FILE.py:F"),
        ("~/missing.py:make", f"a file that is there, but {Path.home() / 'missing.py'} is not."),
        ("a\nb:make", "`task` must be a name that can be printed, without blanks at its ends"),
        (":make", "must name a module and a function in it, got ':make'"),
        ("line:", "must name a module and a function in it, got 'line:'"),
        ("waker_walk", "did you mean walker_walk"),
        ("my_tas", "did you mean my_task?"),
    ],
)
def test_names_that_lead_nowhere(task, message):
    gpld.register("my_task", Memory)
    with pytest.raises(UsageError) as error:
        parse_config(["--task", task])
    assert message in str(error.value)
    assert str(error.value).isprintable()


def test_the_name_of_a_file_alone_is_answered_with_what_is_in_it(file, monkeypatch):
    monkeypatch.chdir(file.parent)
    with pytest.raises(UsageError, match=r"did you mean line\.py:Line or line\.py:make\?"):
        parse_config(["--task", "line"])


@pytest.mark.parametrize("task", ["./line.py", "line.py:"])
def test_a_file_without_a_function_names_those_in_it_and_does_not_run_it(file, task, monkeypatch):
    monkeypatch.chdir(file.parent)
    file.write_text("def _no(): pass\ndef make(): pass\nclass Line: pass\nraise SystemExit('ran')")
    with pytest.raises(UsageError, match=r"such as \S*line\.py:make or \S*line\.py:Line, got '"):
        parse_config(["--task", task])
    file.write_text("this is no Python")
    with pytest.raises(UsageError, match=r"such as \S*line\.py:FUNCTION, got '"):
        parse_config(["--task", task])


def test_suggestions_import_gymnasium_alone():
    code = (
        "import sys; from gpld.cli import parse_config\n"
        "from gpld.errors import UsageError\n"
        "for name in ('cartpole', 'gymanisum:X', 'CartpoleBalance', 'gym:Ant-v5', 'a.b:c'):\n"
        "    try: parse_config(['--task', name])\n"
        "    except UsageError: print('refused')\n"
        "heavy = ('mujoco', 'dm_control', 'gymnax', 'mujoco_playground', 'brax', 'pygame')\n"
        "print([m for m in heavy if m in sys.modules])"
    )
    assert run_fresh(code) == 5 * "refused\n" + "[]\n"


def test_help_imports_no_environment():
    code = (
        "import sys; from gpld.cli import parse_config\n"
        "try: parse_config(['--task', 'gymnasium:Ant-v5', '--help'])\n"
        "except SystemExit: pass\n"
        "heavy = ('gymnasium', 'mujoco', 'dm_control', 'gymnax', 'mujoco_playground', 'dm_env')\n"
        "print([m for m in heavy if m in sys.modules])"
    )
    assert run_fresh(code).endswith("\n[]\n")


@pytest.mark.parametrize(
    ("function", "kwargs", "message"),
    [
        ("mak", {}, "has no function or class 'mak'; did you mean make?"),
        ("text", {}, "has no function or class 'text'"),
        ("beside", {}, "has no function or class 'beside'"),
        ("dict", {}, "has no function or class 'dict'"),
    ],
)
def test_functions_that_are_not_there(file, function, kwargs, message):
    task = f"{file}:{function}"
    gpld.register(task)
    with pytest.raises(UsageError) as error:
        make_env(task, seed=0, kwargs=kwargs)
    assert message in str(error.value)
    assert str(error.value).startswith(f"The task {task} is not possible: ")


def test_code_that_ends_python_is_one_line():
    def leave():
        raise SystemExit("bye")

    gpld.register("leave", leave)
    with pytest.raises(UsageError, match=r"^The task leave is not possible: its code exits \(bye"):
        make_env("leave", seed=0)


@pytest.mark.parametrize("workers", [0, 1])
def test_code_that_changes_settings_of_jax_is_refused(file, workers):
    changing = "\nimport jax\n\ndef change():\n    jax.config.update('jax_debug_nans', True)\n"
    file.write_text(file.read_text() + changing + "    return Line()\n")
    task = f"{file}:change"
    gpld.register(task)
    for _ in range(2):  # the second time as the first, since what it set was put back
        with pytest.raises(UsageError, match=r"possible: its code sets JAX_DEBUG_NANS to True"):
            make_vector_env(task, num_envs=1, seed=0, workers=workers)
        assert jax.config.jax_debug_nans is False
    gpld.register(f"{file}:make")
    make_vector_env(f"{file}:make", num_envs=1, seed=0).close()


def test_a_file_that_needs_its_package_is_told_how_to_name_it(file, monkeypatch):
    (file.parent / "package").mkdir()
    (file.parent / "package/inner.py").write_text("from . import other\n")
    task = f"{file.parent}/package/inner.py:make"
    gpld.register(task)
    with pytest.raises(UsageError, match=r"name it PACKAGE\.inner:make, in the folder that holds"):
        make_env(task, seed=0)


def test_what_is_made_must_be_an_environment():
    gpld.register("mine", lambda: [])
    with pytest.raises(UsageError, match=r"or one of gpld's, but it made builtins\.list\."):
        make_env("mine", seed=0)


def test_environments_of_the_old_gym_are_said_to_be_such():
    base = type("Env", (), {"__module__": "gym.core", "reset": None, "step": None})
    gpld.register("old", type("Old", (base,), {}))
    with pytest.raises(UsageError, match=r"Old; wrap environments of the old gym with shimmy\.G"):
        make_env("old", seed=0)


def test_an_environment_that_draws_nothing_has_no_pixels():
    class Blind(gymnasium.Env):
        observation_space = action_space = spaces.Box(-1, 1, (2,))
        render_mode = "rgb_array"

        def reset(self, *, seed=None, options=None):
            return np.zeros(2), {}

        def render(self):
            pass

    gpld.register("blind", Blind)
    with pytest.raises(
        UsageError, match=r"`env\.observations` must be vectors .* returns None, not"
    ):
        make_env("blind", seed=0, observations="pixels")


def test_warnings_of_gymnasium_are_not_shown(recwarn):
    def make():
        spaces.Box(np.zeros(2), 1.0, dtype=np.float32)  # warns that it loses precision
        return gymnasium.make("Pendulum-v1")

    with pytest.warns(UserWarning, match="WARN"):
        make()
    gpld.register("mine", make)
    make_env("mine", seed=0)
    assert not list(recwarn)


def test_a_package_that_is_missing_is_named_with_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "Box2D", None)
    with pytest.raises(UsageError, match=r"pip install .*gymnasium\[box2d\]"):
        make_env("gymnasium:LunarLander-v3", seed=0)


def test_options_of_ones_own_are_refused_elsewhere():
    for options in ({"kwargs": {"a": 1}}, {"episode_steps": 3}):
        for task in ("walker_walk", "probe_memory"):
            with pytest.raises(ValueError, match=rf"`{next(iter(options))}` must be .* for {task}"):
                make_env(task, seed=0, **options)
    with pytest.raises(
        ValueError, match=r"`backend` must be auto or dmc .* environment of your own"
    ):
        make_vector_env("gymnasium:Pendulum-v1", num_envs=1, seed=0, backend="mjx")


# Many at once


def test_what_a_fresh_process_cannot_import_stays_in_this_one():
    gpld.register("lambda", lambda seed: Memory(seed=seed))
    gpld.register("function", Memory)
    assert not own.in_workers("lambda")
    assert own.in_workers("function")
    assert own.in_workers("walker_walk")
    with make_vector_env("lambda", num_envs=2, seed=0, workers=2) as envs:
        assert envs.step(np.zeros((2, 1), np.float32)).is_first.all()
    # As in a script or notebook.
    code = (
        "import gpld; from gpld.envs import own\n"
        "class Mine: pass\n"
        "gpld.register('mine', Mine); print(own.in_workers('mine'))"
    )
    assert run_fresh(code) == "False\n"


def test_workers_and_this_process_give_the_same():
    actions = np.random.default_rng(0).uniform(-1, 1, (8, 3, 1)).astype(np.float32)
    results = []
    for workers in (0, 2):
        with make_vector_env(
            "gymnasium:Pendulum-v1", num_envs=3, seed=1, workers=workers, kwargs={"g": 9.0}
        ) as envs:
            results.append([envs.step(action) for action in actions])
    np.testing.assert_equal(*results)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_step_that_raises_truncates_its_episode_and_is_counted(file, workers):
    task = f"{file}:make"
    gpld.register(task)
    zero = np.zeros((2, 1), np.float32)
    with make_vector_env(
        task, num_envs=2, seed=0, workers=workers, max_restarts=2, kwargs={"fails_at": 3}
    ) as envs:
        steps = [envs.step(zero) for _ in range(3)]
        cut = envs.step(zero)
        np.testing.assert_array_equal(cut.observation["observation"], np.full((2, 2), 2))
        assert cut.is_last.all()
        assert not cut.is_terminal.any()
        assert (cut.reward == 0).all()
        assert envs.interrupted.all()
        assert envs.step(zero).is_first.all()
        assert envs.num_restarts == len(envs.failures) == (1 if workers else 2)
        assert "failed: RuntimeError: the line is broken (line.py, line 26)." in envs.failures[0]
        assert not steps[-1].is_last.any()
        limit = 1 if workers else 0
        for _ in range(4 * limit + 2):
            envs.step(zero)
        message = r"the line is broken .* than the 2 that `--env\.max_restarts` allows\."
        with pytest.raises(TooManyFailuresError, match=message):
            envs.step(zero)
        with pytest.raises(RuntimeError, match="closed"):
            envs.step(zero)
        state = envs.get_state()  # with which more of them go on
    more = {"num_envs": 2, "seed": 0, "max_restarts": 9, "kwargs": {"fails_at": 3}}
    with make_vector_env(task, **more, workers=1 - workers) as envs:
        envs.set_state(state)
        assert envs.num_restarts == 3
        cut = envs.recv()
        assert (cut.is_last & envs.interrupted & ~cut.is_first).all()
        np.testing.assert_array_equal(cut.observation["observation"], np.full((2, 2), 2))
        assert envs.step(zero).is_first.all()
        assert not envs.step(zero).is_last.any()


@pytest.mark.parametrize("fails_at", [None, 3])
@pytest.mark.parametrize("workers", [0, 1])
def test_every_environment_is_closed(fails_at, workers, file, tmp_path):
    """Also one that has failed; and what is told is that, not that closing has failed as well."""
    closing = (
        "    def close(self):\n"
        f"        with open({str(tmp_path / 'closed')!r}, 'a') as file: file.write('x')\n"
        "        raise OSError('no port')\n\n\n"
    )
    file.write_text(file.read_text().replace("def make(", f"{closing}def make("))
    task, zero = f"{file}:make", np.zeros((2, 1), np.float32)
    gpld.register(task)
    kwargs = {"fails_at": fails_at}
    with make_vector_env(
        task, num_envs=2, seed=0, workers=workers, max_restarts=2, kwargs=kwargs
    ) as envs:
        for _ in range(4):
            envs.step(zero)
        failures = envs.failures
    num_failed = 0 if fails_at is None else 2
    assert (tmp_path / "closed").read_text() == "x" * (2 + num_failed)
    assert len(failures) == (num_failed and 2 - workers)
    assert all("RuntimeError: the line is broken" in failure for failure in failures)


def test_code_that_exits_in_a_worker_says_so_once(file, capfd):
    task, zero = f"{file}:make", np.zeros((1, 1), np.float32)
    file.write_text(file.read_text().replace('raise RuntimeError("', 'raise SystemExit("'))
    gpld.register(task)
    options = {"workers": 1, "max_restarts": 1, "kwargs": {"fails_at": 1}}
    with make_vector_env(task, num_envs=1, seed=0, **options) as envs:
        for _ in range(2):
            envs.step(zero)
        assert "failed: SystemExit: the line is broken (line.py, line 26)" in envs.failures[0]
    assert capfd.readouterr().err == ""


def test_what_was_to_be_reset_when_it_failed_too_often_begins_anew():
    gpld.register("mine", _Late)
    zero = np.zeros((2, 1), np.float32)
    with make_vector_env("mine", num_envs=2, seed=0) as envs:
        envs.step(zero)
        assert envs.step(zero).is_last.all()
        with pytest.raises(TooManyFailuresError, match=r"RuntimeError: no more .* than the 0 that"):
            envs.step(zero)
        state = envs.get_state()
    gpld.register("mine", lambda: _Late(resets=9))
    with make_vector_env("mine", num_envs=2, seed=0) as envs:
        envs.set_state(state)
        cut = envs.recv()  # an episode of one time step, which has no score
        assert (cut.is_first & cut.is_last & envs.interrupted).all()
        assert envs.step(zero).is_first.all()


class _Late(gymnasium.Env):
    """Raises at its second reset, or later."""

    observation_space = action_space = spaces.Box(-1, 1, (1,))

    def __init__(self, resets=1):
        self.resets = resets

    def reset(self, *, seed=None, options=None):
        self.resets -= 1
        if self.resets < 0:
            raise RuntimeError("no more")
        return np.zeros(1), {}

    def step(self, action):
        return np.ones(1), 1.0, True, False, {}


def test_a_replacement_that_cannot_be_made_is_one_more_failure():
    made = []

    def make():
        made.append(len(made))
        if len(made) in (2, 3):
            raise RuntimeError("the port is in use")
        return _Late()

    gpld.register("mine", make)
    zero = np.zeros((1, 1), np.float32)
    with make_vector_env("mine", num_envs=1, seed=0, max_restarts=3) as envs:
        for _ in range(3):
            last = envs.step(zero)
        assert last.is_first.all()
        assert envs.num_restarts == 3
        assert "the port is in use" in envs.failures[1]


@pytest.mark.parametrize("workers", [0, 1])
def test_code_that_changes_meanwhile_ends_it_in_one_line_with_its_state(file, workers):
    """As when the user edits the file of a run: a replacement has an observation more."""
    task, zero = f"{file}:make", np.zeros((1, 1), np.float32)
    gpld.register(task)
    options = {"num_envs": 1, "seed": 0, "workers": workers, "kwargs": {"fails_at": 2}}
    source = file.read_text()
    with make_vector_env(task, **options, max_restarts=1) as envs:
        for _ in range(2):
            envs.step(zero)
        file.write_text(source.replace("(2,)", "(13,)").replace("np.full(2", "np.full(13"))
        sys.modules.pop("gpld_own_line", None)
        with pytest.raises(TooManyFailuresError) as error:
            envs.step(zero)
        state = envs.get_state()
    assert str(error.value).startswith(
        f"The code of {task} has changed: its environment now has observation float32 (13,), "
        "action float32 (1,), but the run has observation float32 (2,), action float32 (1,). It is"
    )
    assert "the line is broken" in envs.failures[0]
    file.write_text(source)
    sys.modules.pop("gpld_own_line", None)
    with make_vector_env(task, **options) as envs:
        envs.set_state(state)
        assert envs.recv().is_last.all()
        assert envs.step(zero).is_first.all()


def test_an_observation_that_was_not_announced_is_a_failure_too():
    class Lying(gymnasium.Env):
        observation_space = spaces.Box(-1, 1, (2,))
        action_space = spaces.Box(-1, 1, (1,))

        def reset(self, *, seed=None, options=None):
            return np.zeros(2), {}

        def step(self, action):
            return np.zeros(3), 0.0, False, False, {}

    gpld.register("lying", Lying)
    with make_vector_env("lying", num_envs=1, seed=0, max_restarts=1) as envs:
        envs.step(np.zeros((1, 1), np.float32))
        assert envs.step(np.zeros((1, 1), np.float32)).is_last.all()
        assert "must have shape (2,) and dtype float32, as its space says" in envs.failures[0]


@pytest.mark.parametrize("workers", [0, 1])
def test_what_is_not_possible_is_said_in_one_line(file, workers):
    source = file.read_text().replace("spaces.Box(-1, 1, (1,))", "spaces.MultiDiscrete([2, 2])")
    file.write_text(source)
    task = f"{file}:make"
    gpld.register(task)
    with pytest.raises(UsageError, match=r"is not possible: Actions must be a Box or Discrete"):
        make_vector_env(task, num_envs=1, seed=0, workers=workers)


@pytest.mark.parametrize("workers", [0, 2])
def test_episodes_without_a_state_end_at_a_resume_and_others_begin(file, workers):
    task = f"{file}:make"
    gpld.register(task)
    zero, options = np.zeros((2, 1), np.float32), {"num_envs": 2, "seed": 0, "workers": workers}
    with make_vector_env(task, **options) as envs:
        before = [envs.step(zero) for _ in range(3)][-1]
        state = envs.get_state()
        assert not envs.step(zero).is_last.any()  # taking it changes nothing
    with make_vector_env(task, **options) as envs:
        envs.set_state(state)
        cut = envs.step(zero)
        np.testing.assert_equal(cut.observation, before.observation)
        assert cut.is_last.all()
        assert envs.interrupted.all()
        assert envs.num_restarts == 0
        assert not cut.is_terminal.any()
        assert not cut.reward.any()
        assert envs.step(zero).is_first.all()
    with make_vector_env(task, **options) as envs:
        for _ in range(5):
            last = envs.step(zero)
        assert last.is_last.all()
        state = envs.get_state()
    with make_vector_env(task, **options) as envs:
        envs.set_state(state)  # nothing is lost between two episodes
        assert envs.step(zero).is_first.all()
        assert not envs.interrupted.any()


class _Drawn(gymnasium.Env):
    """Draws from the seed that it is made with, and ignores that of a reset."""

    observation_space = action_space = spaces.Box(-1, 1, (1,))

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)

    def reset(self, *, seed=None, options=None):
        return self.rng.uniform(-1, 1, 1), {}

    def step(self, action):
        return np.zeros(1), 0.0, True, False, {}


@pytest.mark.parametrize(("workers", "replace"), [(0, True), (1, True), (1, False)])
def test_no_episode_is_repeated_after_a_resume_of_what_has_no_state(workers, replace):
    gpld.register("mine", _Drawn)

    def begin(state=None, num_steps=4):
        """Return the first observations of the next episodes, and the state after them."""
        options = {"num_envs": 2, "seed": 0, "workers": workers, "replace_workers": replace}
        with make_vector_env("mine", **options) as envs:
            if state is not None:
                envs.set_state(state)
            steps = [envs.step(envs.no_action()) for _ in range(num_steps)]
            seen = [step.observation["observation"] for step in steps if step.is_first.all()]
            return np.concatenate(seen).ravel().tolist(), envs.get_state()

    first, state = begin()
    second, later = begin(state)
    third, _ = begin(later)
    assert len({*first, *second, *third}) == 12
    assert begin(state)[0] == second  # the same state gives the same run
    del state["num_steps"]  # as versions before did not store it
    assert not set(begin(state)[0]) & set(first)
