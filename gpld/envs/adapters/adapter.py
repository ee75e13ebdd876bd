"""Environment of others as one of ours: time steps, action repeat, time limit, pictures."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float64

from ...errors import UsageError
from ..timestep import ANEW, IMAGE, EnvSpec, EnvState, TimeStep, single_timestep
from .actions import Continuous, Discrete
from .arrays import Announced, Place, announce, read

Observations = Literal["vectors", "pixels", "both"]


class Outcome(NamedTuple):
    """Result of one step of an environment of others."""

    observation: Any
    reward: Any
    terminated: bool
    truncated: bool


@runtime_checkable
class Foreign(Protocol):
    """Environment of others, as far as ecosystems differ.

    Attributes:
        action: Conversion of actions.
        space: Its observations, as it announces them itself.
        limit: Its own steps after which it truncates an episode itself; None if none is known.
        resumable: Whether `get_state` and `set_state` go on with an episode bit for bit.
        fps: Its own steps per second of what its pictures show.
    """

    action: Discrete | Continuous
    space: Any
    limit: int | None
    fps: float
    resumable: bool

    def places(self) -> Iterable[Place]:
        """Return the arrays of an observation."""
        ...

    def reset(self, seed: int | None) -> Any:
        """Begin an episode, with another seed if one is given; return its observation."""
        ...

    def step(self, action: Any) -> Outcome:
        """Take one step with an action of its own kind."""
        ...

    def frame(self) -> Any:
        """Return a picture of where it is.

        Raises:
            UsageError: If it draws none.
        """
        ...

    def get_state(self) -> EnvState:
        """Return its state, if it is resumable."""
        ...

    def set_state(self, state: EnvState) -> None:
        """Go on with an episode, if it is resumable."""
        ...

    def close(self) -> None:
        """Release what it holds."""
        ...


class Adapter:
    """Environment of others behind our interface.

    It is seeded at its first reset alone. Rewards of repeated actions are summed, up to the end of
    the episode. What it raises is raised as it is, and an observation that its space does not
    announce raises a `ValueError`.

    Attributes:
        spec: Shapes and sizes of the task.
        frame_name: Name of the picture among its observations, where it was asked for one.
    """

    spec: EnvSpec
    frame_name: str

    def __init__(
        self,
        env: Foreign,
        *,
        seed: int,
        action_repeat: int = 1,
        observations: Observations = "vectors",
        image_size: int | None = None,
        episode_steps: int | None = None,
    ):
        """Take over `env`, which was never reset; `close` closes it.

        Args:
            env: The environment.
            seed: Seed of its first reset.
            action_repeat: Its steps per env step.
            observations: vectors: what it observes itself. pixels: a picture instead. both.
            image_size: Sides of pictures; None leaves them as they are.
            episode_steps: Env steps after which an episode is truncated.

        Raises:
            UsageError: If its spaces are not possible here, it draws no pictures, or it has a time
                limit besides the one that is given.
        """
        if episode_steps is not None and env.limit is not None:
            raise UsageError(
                f"`env.episode_steps` must be None for an environment that ends its episodes after "
                f"{env.limit} steps itself, got {episode_steps}."
            )
        self._env, self._seed, self._image_size = env, seed, image_size
        self._episode_steps = episode_steps
        self._pending_seed: int | None = seed
        self._elapsed = 0
        self._arrays: dict[str, Announced] = {}
        if observations != "pixels":
            self._arrays = announce(env.places(), image_size)
        self._frame: Announced | None = None
        observed = {name: array.spec for name, array in self._arrays.items()}
        if observations != "vectors":
            names = (IMAGE, "obs/frame", *(f"obs/frame{i}" for i in range(len(observed))))
            self.frame_name = next(name for name in names if name not in observed)
            self._frame = self._measure_frame()
            observed[self.frame_name] = self._frame.spec
        self.spec = EnvSpec(
            observation={name: observed[name] for name in sorted(observed)},
            action_size=env.action.size,
            action_repeat=action_repeat,
            episode_steps=episode_steps or math.ceil((env.limit or 0) / action_repeat),
            discrete=env.action.discrete,
            resumable=env.resumable,
        )

    @property
    def fps(self) -> float:
        """Env steps per second of what its pictures show."""
        return self._env.fps / self.spec.action_repeat

    @property
    def arrays(self) -> Mapping[str, Announced]:
        """Arrays of its observations but for a picture that was asked for, as it announces them."""
        return self._arrays

    @property
    def bounds(self) -> Float64[np.ndarray, "2 action"] | None:
        """Lowest and highest actions of the environment, which are -1 and 1 here."""
        action = self._env.action
        if isinstance(action, Discrete):
            return None
        return np.stack([action.low.ravel(), action.high.ravel()])

    def wrap(self, around: Callable[[Foreign], Any]) -> None:
        """Put something around the environment, which sees what comes from it before it is ours."""
        self._env = around(self._env)

    def reset(self) -> TimeStep:
        """Start an episode."""
        seed, self._pending_seed = self._pending_seed, None
        self._elapsed = 0
        return self._timestep(self._env.reset(seed), is_first=True)

    def step(self, action: Any) -> TimeStep:
        """Apply `action` for up to `spec.action_repeat` of its steps.

        Raises:
            ValueError: If `action` is none, or the observation is not what was announced.
        """
        outcome = self._env.step(self._env.action.convert(action))
        reward = float(np.asarray(outcome.reward).item())
        for _ in range(self.spec.action_repeat - 1):
            if outcome.terminated or outcome.truncated:
                break
            # Converted anew: it may have changed the last one in place.
            outcome = self._env.step(self._env.action.convert(action))
            reward += float(np.asarray(outcome.reward).item())
        self._elapsed += 1
        is_last = outcome.terminated or outcome.truncated or self._elapsed == self._episode_steps
        return self._timestep(
            outcome.observation,
            reward=reward,
            is_last=bool(is_last),
            is_terminal=bool(outcome.terminated),
        )

    def get_state(self) -> EnvState:
        """Return the state; of an environment that has none, only that it is begun anew.

        One that files cannot hold counts as none, so that a run can still be saved; what is wrong
        with it is in its place.
        """
        if not self._env.resumable:
            return {ANEW: True}
        state = {"elapsed": self._elapsed}
        if self._pending_seed is not None:  # nothing has begun
            return {**state, "env": None}
        own = self._env.get_state()
        try:
            check_state(own)
        except UsageError as error:
            return {ANEW: str(error)}
        return {**state, "env": own}

    def set_state(self, state: EnvState) -> None:
        """Continue where the environment of `state` was; begin as it was made if it has none."""
        if ANEW in state:
            return
        self._elapsed = state["elapsed"]
        if state["env"] is not None:
            self._env.set_state(state["env"])
            self._pending_seed = None

    def close(self) -> None:
        """Release what the environment holds."""
        self._env.close()

    def _timestep(self, observation: Any, **scalars: Any) -> TimeStep:
        frame = None if self._frame is None else self._env.frame()
        with np.errstate(over="ignore"):  # infinite numbers are dealt with by who steps it
            arrays = read(observation, self._arrays)
            if self._frame is not None:
                arrays[self.frame_name] = self._frame.convert(frame)
            return single_timestep(arrays, **scalars)

    def _measure_frame(self) -> Announced:
        """Return the form of a picture, which is known once there is one."""
        # The first episode is the same afterwards: it is begun with this seed as well.
        self._env.reset(self._seed)
        drawn = self._env.frame()
        if drawn is None:
            raise UsageError(
                "`env.observations` must be vectors for an environment whose `render` returns "
                "None, not a picture."
            )
        frame = np.asarray(drawn)
        place = Place((self.frame_name,), frame.shape, frame.dtype)
        announced = announce([place], self._image_size)[self.frame_name]
        if len(announced.spec.shape) != 3:
            raise UsageError(
                f"`env.observations` must be vectors for an environment whose pictures have shape "
                f"{frame.shape} and dtype {frame.dtype}."
            )
        return announced


def check_state(state: Any) -> None:
    """Check that a state is one that files can hold.

    Raises:
        UsageError: If it is not.
    """
    if isinstance(state, Mapping):
        for key, value in state.items():
            if not isinstance(key, str):
                raise UsageError(f"`get_state` must return keys that are texts, got {key!r:.80}.")
            check_state(value)
    elif isinstance(state, list | tuple):  # which come back as lists
        for value in state:
            check_state(value)
    elif not (
        (isinstance(state, np.ndarray | np.generic) and state.dtype.kind in "biuf")
        or type(state) in (type(None), bool, int, float, str)
    ):
        raise UsageError(
            "`get_state` must return dictionaries and lists of NumPy arrays, numbers, texts and "
            f"None, got {type(state).__name__}."
        )


def as_stored(state: Any) -> Any:
    """Return a state as files give it back: lists for tuples, and Python's numbers for NumPy's."""
    if isinstance(state, Mapping):
        return {key: as_stored(value) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return [as_stored(value) for value in state]
    return state.item() if isinstance(state, np.generic) else state
