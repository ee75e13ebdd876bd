"""Environments of one's own: their names, and functions that make them.

A name is `gymnasium:ID`, one of another source of environments such as `gymnax:ID`,
`package.module:FUNCTION`, `file.py:FUNCTION`, or one that this process has registered. A name may
come from a file that somebody else has written, so none runs code unless the user has asked for it
in this process: on the command line, or by `register`.
"""

import contextlib
import difflib
import functools
import importlib
import importlib.util
import inspect
import json
import os
import pickle
import shlex
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from ..errors import MachineError, UsageError
from ..suite import TASKS, canonical_name
from . import probe
from .dmc.opengl import find_backend
from .lookup import FUNCTIONAL, GYMNASIUM, adapter, check_there, find_own_modules
from .timestep import Environment, EnvSpec

_registered: dict[str, Callable[..., Any]] = {}
_allowed: set[str] = set()
# Environments in JAX, which have no state: one of each is compiled in a process. What made them
# and its arguments are kept, so that nothing else gets their identities.
_compiled: dict[tuple[Any, ...], tuple[Any, Any, Any]] = {}


def register(task: str, make: Callable[..., Any] | None = None) -> None:
    """Make a task of one's own known in this process.

    Args:
        task: Its name. Without `make`, one of an environment whose code may be run from now on:
            `package.module:FUNCTION`, `file.py:FUNCTION` or `gymnasium:module:ID`.
        make: Returns an environment of Gymnasium, dm_env or ours (`Environment` or
            `FunctionalEnv`); is given `env.kwargs`, and
            a seed if it takes an argument of that name. None for a name that says what makes it.

    Raises:
        ValueError: If the name is empty, not printable, or that of another task, or `make` cannot
            be called.
    """
    if not task.isprintable() or not task or task != task.strip():
        raise ValueError(
            "`task` must be a name that can be printed, without blanks at its ends, got "
            f"{task!r:.200}."
        )
    if make is not None and not callable(make):
        raise ValueError(
            "`make` must be a function or class that makes environments, got "
            f"{type(make).__module__}.{type(make).__qualname__}."
        )
    task = canonical_name(task)
    others = make is not None and task.partition(":")[0] in (GYMNASIUM, *FUNCTIONAL, "list")
    if task in TASKS or task in probe.TASKS or others:
        raise ValueError(f"`task` must be a name that no other task has, got {task!r:.200}.")
    if make is None:
        _allowed.add(task)
    else:
        _registered[task] = make


def registered_names() -> tuple[str, ...]:
    """Return the names that this process has registered."""
    return tuple(sorted(_registered))


def is_own(task: str) -> bool:
    """Return whether a name is that of an environment of one's own."""
    return ":" in task or task.endswith(".py") or task in _registered


def runs_code(task: str) -> bool:
    """Return whether a name has code imported that only the user may ask for."""
    source, _, rest = task.partition(":")
    return ":" in task and source not in FUNCTIONAL and (source != GYMNASIUM or ":" in rest)


def found_by_name(task: str) -> bool:
    """Return whether the name of code of the user's is enough for a fresh process to find it.

    It is not for a registered name, a lambda, a function in another, one with arguments, or
    something of the program or notebook that is running.
    """
    source, _, function = task.rpartition(":")
    made_here = source == "__main__" or any(mark in task for mark in ("<", "("))
    return bool(source and function) and (source.endswith(".py") or not made_here)


def may_be_functional(task: str) -> bool:
    """Return whether a task of one's own may be in JAX, as far as its name says."""
    return not task.startswith(f"{GYMNASIUM}:")


def name_of(make: Callable[..., Any]) -> str:
    """Return the name under which runs in environments of a function are stored.

    Raises:
        ValueError: If the arguments of a `functools.partial`, which belong to its name, are not
            what JSON knows.
    """
    if isinstance(make, functools.partial):
        try:
            given = [json.dumps(value) for value in make.args]
            given += [f"{key}={json.dumps(value)}" for key, value in sorted(make.keywords.items())]
        except (TypeError, ValueError):
            raise ValueError(
                "A `functools.partial` must have arguments that JSON knows, since they are part "
                f"of its name, got {make!r:.200}; `gpld.register` gives it another name."
            ) from None
        return f"{name_of(make.func)}({', '.join(given)})"
    module = getattr(make, "__module__", type(make).__module__)
    return f"{module}:{getattr(make, '__qualname__', type(make).__qualname__)}"


def in_workers(task: str) -> bool:
    """Return whether a fresh process can make the environments of a task.

    It can import what makes them, unless that is a lambda, a function in another, or something of
    the program or notebook that is running.
    """
    if task not in _registered:
        return True
    try:
        return b"__main__" not in pickle.dumps(_registered[task])
    except (pickle.PicklingError, AttributeError, TypeError):
        return False


def own_factory(task: str, kwargs: Mapping[str, Any], **options: Any) -> Callable[..., Environment]:
    """Check the name and return a function that makes the environment from a seed.

    Args:
        task: A name of an environment of one's own.
        kwargs: Arguments of its constructor.
        **options: Arguments of the adapter.

    Raises:
        ValueError: If there is no such environment, or its code may not be run.
    """
    make = _registered.get(task)
    if make is None:
        _check_allowed(task)
        check_there(task, registered_names())
    gl = None
    if options["observations"] != "vectors":
        with contextlib.suppress(MachineError):  # not all that draw need OpenGL
            gl = find_backend()
    return functools.partial(_make, task, make, dict(kwargs), options, gl)


def _check_allowed(task: str) -> None:
    if not runs_code(task) or task in _allowed:
        return
    why = "The task of this name is code of your own, and a stored name runs none"
    if not found_by_name(task):
        raise ValueError(
            f"{why}; by the name {task} no other process finds it: give its function again in "
            "Python, as `env=` of `gpld.train` or `gpld.evaluate`, or to `gpld.register`."
        )
    path, _, _ = task.rpartition(":")
    moved = path.endswith(".py") and not os.path.isfile(path)
    raise ValueError(
        f"{why}: give `--task {shlex.quote(task)}` on the command line as well"
        f"{', with the path where the file is now' if moved else ''}, or in Python its name to "
        "`gpld.register` or its function as `env=` of `gpld.train` or `gpld.evaluate`."
    )


def _make(
    task: str,
    make: Callable[..., Any] | None,
    kwargs: dict[str, Any],
    options: dict[str, Any],
    gl: str | None,
    *,
    seed: int,
) -> Environment:
    """Make an environment; what comes of the name is found in the process that steps it."""
    # Of those of Gymnasium, which are coloured, each process would show its own.
    warnings.filterwarnings("ignore", r"\x1b\[\d+mWARN: ")
    if gl is not None and "mujoco" not in sys.modules:  # which reads it when it is imported
        os.environ["MUJOCO_GL"] = gl
    source, _, name = task.partition(":")
    try:
        if make is None and source == GYMNASIUM:
            with jax_unchanged():
                env = _call_gymnasium(name, kwargs, options)
            return _adapt(env, seed, options)
        if make is None and source in FUNCTIONAL:
            function = adapter(source).make
            arguments: dict[str, Any] = {"name": name, "kwargs": kwargs}
        else:
            with jax_unchanged():
                function = make or _load(task)
            arguments = ({"seed": seed} if _takes_seed(function) else {}) | kwargs
        identity = (task, json.dumps(arguments, sort_keys=True, default=id), *options.values())
        known, _, compiled = _compiled.get(identity, (None, None, None))
        if known is not function:
            with jax_unchanged():
                env = function(**arguments)
            if not _is_functional(env):
                return _adapt(env, seed, options)
            from .adapters.functional_env import programs

            compiled = programs(env, **options)
            _compiled[identity] = function, arguments, compiled
        from .adapters.functional_env import SteppedEnv

        return SteppedEnv(compiled, seed=seed)
    except UsageError as error:
        raise UsageError(f"The task {task} is not possible: {error}") from error
    except SystemExit as end:  # which would end training without a word
        raise UsageError(f"The task {task} is not possible: its code exits ({end}).") from end


@contextlib.contextmanager
def jax_unchanged() -> Iterator[None]:
    """Check that code of the user's leaves the settings of JAX alone, also where it fails.

    Raises:
        UsageError: If it changes one.
    """
    before = None
    if "jax" in sys.modules:
        from ..xla.jax_settings import all_settings

        before = all_settings()
    try:
        yield
    finally:
        if "jax" in sys.modules:
            from ..xla.jax_settings import check_unchanged

            check_unchanged(before)


def _takes_seed(make: Callable[..., Any]) -> bool:
    try:
        return "seed" in inspect.signature(make).parameters
    except (TypeError, ValueError):  # written in C
        return False


def _is_functional(env: Any) -> bool:
    """Return whether an environment of our interface has states and keys as arguments."""
    if not isinstance(getattr(env, "spec", None), EnvSpec) or not hasattr(env, "reset"):
        return False
    parameters = inspect.signature(env.reset).parameters.values()
    named = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    return any(p.default is p.empty for p in named)


def _call_gymnasium(name: str, kwargs: dict[str, Any], options: dict[str, Any]) -> Any:
    import gymnasium
    from gymnasium.error import DependencyNotInstalled, Error

    if options["observations"] != "vectors":
        kwargs = {"render_mode": "rgb_array"} | kwargs
    try:
        # Whose checks of every step are ours.
        return gymnasium.make(name, **{"disable_env_checker": True} | kwargs)
    except DependencyNotInstalled as error:
        raise UsageError(str(error)) from error
    except ModuleNotFoundError as error:
        raise UsageError(f"it needs the package {error.name}, which is not installed.") from error
    except Error as error:
        raise UsageError(f"{type(error).__name__}: {error}") from error


def _load(task: str) -> Callable[..., Any]:
    """Import the module of a name and return the function in it."""
    source, _, function = task.rpartition(":")
    try:
        module: Any = _load_file(source) if source.endswith(".py") else _import(source)
    except ModuleNotFoundError as error:
        raise UsageError(f"there is no module {error.name}.") from error
    except ImportError as error:
        if "no known parent package" not in str(error):
            raise
        raise UsageError(
            f"{source} imports parts of its package, of which a file knows nothing; name it "
            f"PACKAGE.{Path(source).stem}:{function}, in the folder that holds the package."
        ) from error
    found = module
    for name in function.split("."):
        found = getattr(found, name, None)
    if not callable(found):
        known = [name for name, value in vars(module).items() if callable(value)]
        close = difflib.get_close_matches(function, known, n=1)
        hint = f"; did you mean {close[0]}?" if close else "."
        raise UsageError(f"{source} has no function or class {function!r}{hint}")
    return found


def _import(name: str) -> ModuleType:
    find_own_modules()
    return importlib.import_module(name)


def _load_file(path: str) -> ModuleType:
    """Run a file as a module, which can import those beside it."""
    if not os.path.isfile(path):
        raise UsageError(f"the file {path} is not there any more.")
    name = f"gpld_own_{Path(path).stem}"
    loaded = sys.modules.get(name)
    if loaded is not None and loaded.__file__ == path:
        return loaded
    if (folder := os.path.dirname(path)) not in sys.path:
        sys.path.append(folder)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _adapt(env: Any, seed: int, options: dict[str, Any]) -> Environment:
    """Put the adapter of its ecosystem around an environment."""
    if _comes_from(env, "gymnasium.core", "Env"):
        from .adapters.gymnasium_env import GymnasiumEnv

        foreign = GymnasiumEnv(env)
    elif _comes_from(env, "dm_env._environment", "Environment"):
        from .adapters.dm_env import DmEnv

        foreign = DmEnv(env)
    elif isinstance(getattr(env, "spec", None), EnvSpec) and hasattr(env, "reset"):
        from .adapters.ours import adapt

        return adapt(env, **options)
    else:
        old = "; wrap environments of the old gym with shimmy.GymV21CompatibilityV0, or derive them"
        hint = f"{old} from gymnasium.Env" if _comes_from(env, "gym.core", "Env") else ""
        raise UsageError(
            "it must make a gymnasium.Env, a dm_env.Environment or one of gpld's, but it made "
            f"{type(env).__module__}.{type(env).__qualname__}{hint}."
        )
    from .adapters.adapter import Adapter

    return Adapter(foreign, seed=seed, **options)


def _comes_from(env: Any, module: str, name: str) -> bool:
    """Return whether an object is of a class, without importing that."""
    classes = type(env).__mro__
    return any((cls.__module__, cls.__qualname__) == (module, name) for cls in classes)
