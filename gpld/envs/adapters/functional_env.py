"""Functional environments of others: checks, spaces, and one of them as an `Environment`."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Shaped

from ...errors import UsageError
from ...xla import flags
from ..functional.env import FunctionalEnv
from ..functional.episodes import Episodes
from ..functional.keys import is_key, named, with_keys, without_keys
from ..timestep import EnvState, TimeStep
from .actions import Continuous, Discrete
from .arrays import Announced, find


class Programs(NamedTuple):
    """Functional environment and its functions, which are compiled once for all that step it."""

    env: FunctionalEnv
    reset: Callable[..., Any]
    step: Callable[..., Any]


def programs(
    env: FunctionalEnv,
    *,
    action_repeat: int,
    observations: str,
    image_size: int | None,
    episode_steps: int | None,
) -> Programs:
    """Check an environment, and put repeated actions and a time limit around it.

    Args:
        env: The environment.
        action_repeat: Its own steps per env step.
        observations: vectors: it has no pictures but those that it observes.
        image_size: None: these stay as they are.
        episode_steps: Env steps after which an episode is truncated.

    Raises:
        UsageError: If an option is not possible, or it is not what `FunctionalEnv` says.
    """
    repeated, limit = env.spec.action_repeat, env.spec.episode_steps
    if observations != "vectors":
        raise UsageError(
            "there are no pictures of environments in JAX but what they observe: "
            f"`env.observations` must be vectors, got {observations}."
        )
    given = [
        ("image_size", image_size, None, ""),
        ("action_repeat", action_repeat, action_repeat if repeated == 1 else repeated, ""),
        (
            "episode_steps",
            episode_steps,
            None if limit else episode_steps,
            f" with a time limit of {limit}",
        ),
    ]
    for name, value, only, which in given:
        if value != only:
            raise UsageError(
                f"`env.{name}` must be {only} for this environment in JAX{which}, got {value}."
            )
    _check(env)
    if episode_steps is not None or action_repeat != repeated:
        own_steps = None if episode_steps is None else episode_steps * action_repeat // repeated
        env = Episodes(env, repeats=action_repeat // repeated, limit=own_steps)
    options = flags.simulation_options()
    reset, step = (jax.jit(f, compiler_options=options) for f in (env.reset, env.step))
    return Programs(env, reset, step)


class SteppedEnv:
    """One functional environment as an `Environment`; a key for each episode follows from a seed.

    Attributes:
        spec: Shapes and sizes of the task.
        functional: The environment.
    """

    def __init__(self, programs: Programs, *, seed: int):
        """Take the compiled functions of an environment."""
        self.functional, self.spec = programs.env, programs.env.spec
        self._programs, self._key = programs, jr.key(seed)
        self._state: Any = None

    def reset(self) -> TimeStep:
        """Start an episode."""
        self._key, key = jr.split(self._key)
        self._state = self._programs.reset(key)
        return self._timestep()

    def step(self, action: Any) -> TimeStep:
        """Take a step.

        Raises:
            ValueError: If `action` is none.
        """
        form = self.spec.action
        array = np.asarray(action)
        if array.shape != form.shape or not np.isfinite(array).all():
            raise ValueError(f"`action` must be finite, of shape {form.shape}, got {action}.")
        self._state = self._programs.step(self._state, jnp.asarray(array, form.dtype))
        return self._timestep()

    def get_state(self) -> EnvState:
        """Return the arrays of its state by their place in the tree."""
        own = None
        if self._state is not None:
            own = {name: np.array(x) for name, x in named(without_keys(self._state)).items()}
        return {"key": np.array(jr.key_data(self._key)), "env": own}

    def set_state(self, state: EnvState) -> None:
        """Continue where the environment of `state` was."""
        self._key = jr.wrap_key_data(jnp.asarray(state["key"]))
        self._state = None
        if state["env"] is not None:
            like = self._programs.reset(self._key)
            leaves = [state["env"][name] for name in named(like)]
            self._state = with_keys(jax.tree.unflatten(jax.tree.structure(like), leaves), like)

    def close(self) -> None:
        """Do nothing: the arrays go with the environment."""

    def _timestep(self) -> TimeStep:
        return TimeStep(*jax.tree.map(np.array, tuple(self._state.timestep)))


def observe(observation: Any, arrays: Mapping[str, Announced]) -> dict[str, Array]:
    """Convert an observation to arrays of ours, within a program.

    Raises:
        UsageError: If it is not what was announced.
    """
    converted = {}
    for name, (place, spec, channels_first) in arrays.items():
        try:
            array = jnp.asarray(find(observation, place))
        except ValueError as error:
            raise UsageError(f"{error}, which its space announces.") from error
        if array.shape != place.shape:
            raise UsageError(
                f"The observation {name!r} must have shape {place.shape}, as its space says, got "
                f"{array.shape}."
            )
        array = jnp.moveaxis(array, 0, -1) if channels_first else array
        converted[name] = array.astype(spec.dtype).reshape(spec.shape)
    return converted


def convert_action(kind: Discrete | Continuous, action: Shaped[Array, "..."]) -> Array:
    """Return an action of theirs, within a program."""
    if isinstance(kind, Discrete):
        return action + kind.start
    low, high = (jnp.asarray(x, jnp.float32) for x in (kind.low, kind.high))
    fraction = (jnp.clip(action, -1, 1).reshape(kind.shape) + 1) / 2
    scaled = fraction * high + (1 - fraction) * low
    scaled = jnp.round(scaled) if kind.dtype.kind in "biu" else scaled
    return scaled.astype(kind.dtype)


def cast(state: Any, like: Any) -> Any:
    """Give the numbers and arrays of a state the dtypes of another of the same structure."""
    return jax.tree.map(lambda x, y: x if is_key(y) else jnp.asarray(x, y.dtype), state, like)


def _check(env: FunctionalEnv) -> None:
    """Check what `reset` and `step` return, without computing it.

    Raises:
        UsageError: If it is not what `FunctionalEnv` and its `spec` say.
    """
    spec = env.spec
    flag, action = jax.ShapeDtypeStruct((), bool), spec.action
    observation = {k: jax.ShapeDtypeStruct(x.shape, x.dtype) for k, x in spec.observation.items()}
    expected = TimeStep(
        observation, jax.ShapeDtypeStruct((), jnp.float32), *(flag for _ in range(3))
    )
    first = jax.eval_shape(env.reset, jr.key(0))
    _check_timestep("reset", first, expected)
    second = jax.eval_shape(env.step, first, jax.ShapeDtypeStruct(action.shape, action.dtype))
    _check_timestep("step", second, expected)
    if where := _difference(second, first):
        raise UsageError(f"`step` must return states like those of `reset`: {where}.")


def _check_timestep(function: str, state: Any, expected: TimeStep) -> None:
    timestep = getattr(state, "timestep", None)
    if not isinstance(timestep, TimeStep):
        raise UsageError(
            f"`{function}` must return a state whose attribute `timestep` is a gpld.envs.TimeStep, "
            f"got {type(state).__name__}."
        )
    if where := _difference(timestep, expected):
        raise UsageError(f"The time step of `{function}` must be what its `spec` says: {where}.")


def _difference(tree: Any, like: Any) -> str | None:
    """Return in words where two trees of arrays differ, if they do."""
    own, other = ({k: (x.shape, str(x.dtype)) for k, x in named(t).items()} for t in (tree, like))
    for name in own | other:
        if name not in own:
            return f"{name} is missing"
        if name not in other:
            return f"{name} is one too many"
        if own[name] != other[name]:
            return f"{name} must have shape and dtype {other[name]}, got {own[name]}"
    return None
