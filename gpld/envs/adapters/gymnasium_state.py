"""State with which an environment of Gymnasium continues bit for bit.

It is known for Gymnasium's own classic-control, MuJoCo and toy-text classes, and for environments
that have `get_state` and `set_state` themselves; around both there may be wrappers of Gymnasium's
that remember nothing but a time limit. Environments are not pickled.
"""

from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
from gymnasium import wrappers

from ..timestep import EnvState

# Wrappers without a state that a reset would not give them.
_STATELESS = (
    wrappers.ClipAction,
    wrappers.ClipReward,
    wrappers.DtypeObservation,
    wrappers.FlattenObservation,
    wrappers.GrayscaleObservation,
    wrappers.OrderEnforcing,
    wrappers.PassiveEnvChecker,
    wrappers.RescaleAction,
    wrappers.RescaleObservation,
    wrappers.ReshapeObservation,
    wrappers.ResizeObservation,
    wrappers.TimeLimit,
)
_KNOWN = tuple(f"gymnasium.envs.{group}." for group in ("classic_control", "mujoco", "toy_text"))


def time_limits(env: gymnasium.Env) -> list[int]:
    """Return the steps of every time limit around an environment."""
    return [layer._max_episode_steps for layer in _time_limits(env)]


def is_known(env: gymnasium.Env) -> bool:
    """Return whether the state of an environment can be taken and restored."""
    *around, core = _layers(env)
    if not all(type(layer) in _STATELESS for layer in around):
        return False
    return _has_own_state(core) or type(core).__module__.startswith(_KNOWN)


def take(env: gymnasium.Env) -> EnvState:
    """Return the state of an environment, which is known and in an episode."""
    *_, core = _layers(env)
    base: Any = env.unwrapped
    return {
        "elapsed": {str(i): x._elapsed_steps for i, x in enumerate(_time_limits(env))},
        "random": {
            name: owner._np_random.bit_generator.state
            for name, owner in _random(base)
            if owner._np_random is not None
        },
        "core": base_state(core) if not _has_own_state(core) else core.get_state(),
    }


def restore(env: gymnasium.Env, state: EnvState) -> None:
    """Put an environment into a state that was taken from one like it."""
    *_, core = _layers(env)
    base: Any = env.unwrapped
    env.reset(seed=0)  # which makes whatever there is only in an episode
    if _has_own_state(core):
        core.set_state(state["core"])
    else:
        _restore_base(core, state["core"])
    for name, owner in _random(base):
        if name in state["random"]:
            owner.np_random.bit_generator.state = state["random"][name]
    for i, limit in enumerate(_time_limits(env)):
        # Older states lack those within what has a state of its own.
        limit._elapsed_steps = state["elapsed"].get(str(i), limit._elapsed_steps)


def base_state(env: Any) -> EnvState:
    """Return what one of Gymnasium's own environments remembers: attributes, and MuJoCo's data.

    Its observations and rewards also read what MuJoCo has derived from the state before the last
    step, so that all arrays belong to it.
    """
    attributes = {name: _pack(value) for name, value in vars(env).items() if _is_plain(value)}
    data = getattr(env, "data", None)
    arrays = {} if data is None else {name: array.copy() for name, array in _data_arrays(data)}
    return {"attributes": attributes, "data": arrays, "time": None if data is None else data.time}


def _restore_base(env: Any, state: EnvState) -> None:
    for name, value in state["attributes"].items():
        setattr(env, name, _unpack(value))
    if state["time"] is not None:
        env.data.time = state["time"]
        for name, array in _data_arrays(env.data):
            saved = state["data"].get(name)
            if saved is not None and saved.shape == array.shape:
                array[...] = saved


def _layers(env: Any) -> Iterator[Any]:
    """Yield the wrappers of an environment from without, up to what has a state of its own."""
    while isinstance(env, gymnasium.Wrapper) and not _has_own_state(env):
        yield env
        env = env.env
    yield env


def _has_own_state(layer: Any) -> bool:
    return hasattr(layer, "get_state") and hasattr(layer, "set_state")


def _time_limits(env: Any) -> list[Any]:
    """Return all of them from without, also those within what has a state of its own."""
    limits = []
    while isinstance(env, gymnasium.Wrapper):
        if type(env) is wrappers.TimeLimit:
            limits.append(env)
        env = env.env
    return limits


def _random(base: Any) -> list[tuple[str, Any]]:
    """Return what draws random numbers, by name."""
    return [("env", base), ("action", base.action_space), ("observation", base.observation_space)]


def _data_arrays(data: Any) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the arrays of MuJoCo's data but those of contacts and constraints.

    They are found anew by every step; some more that are yielded have sizes that change with them.
    """
    for name in dir(data):
        if not name.startswith(("_", "efc_", "iefc_", "island_", "map_")):
            value = getattr(data, name)
            if isinstance(value, np.ndarray) and value.flags.writeable:
                yield name, value


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    if isinstance(value, np.ndarray | np.generic):
        return value.dtype.kind in "biuf"
    return value is None or type(value) in (bool, int, float, str)


def _pack(value: Any) -> Any:
    """Return a plain value in a form that keeps its type in a file."""
    if isinstance(value, np.generic):
        return {"scalar": np.asarray(value)}
    if isinstance(value, list | tuple):
        return {type(value).__name__: {str(i): _pack(x) for i, x in enumerate(value)}}
    return value.copy() if isinstance(value, np.ndarray) else value


def _unpack(value: Any) -> Any:
    if not isinstance(value, dict):
        return value.copy() if isinstance(value, np.ndarray) else value
    ((kind, content),) = value.items()
    if kind == "scalar":
        return content[()]
    items = [_unpack(x) for x in content.values()]
    return items if kind == "list" else tuple(items)
