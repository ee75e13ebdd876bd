"""Time steps of environments, and the specification of their arrays."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, TypedDict, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float32, Int, Shaped

from ..errors import UsageError

IMAGE = "image"
"""Name of the observation that is a picture."""

RESERVED = frozenset(
    {"rew", "con", "dyn", "rep", "policy", "value", "repval", "gp_post", "gp_prior", "latent"}
    | {"action", "reward", "is_first", "is_last", "is_terminal"}
)
"""Names of losses and stored arrays, which observations may not have."""

ANEW = "anew"
"""Key of a state with which an episode cannot go on: a new one begins in its place."""

EnvState = dict[str, Any]
"""State with which something continues bit for bit.

Dictionaries, nested, of NumPy arrays and of what JSON knows: None, bool, int, float, str.
"""


class ArraySpec(NamedTuple):
    """Shape, without batch axes, and dtype of one array of an observation."""

    shape: tuple[int, ...]
    dtype: np.dtype

    num_classes: int | None = None
    """Of a categorical array: its integers lie in [0, num_classes). None for all others."""


class AgentSizes(TypedDict):
    """Arguments of `agent.init` that say what an agent sees and does."""

    shapes: dict[str, tuple[int, ...]]
    action_size: int
    discrete: bool
    num_classes: dict[str, int]


class EnvSpec(NamedTuple):
    """Specification of a task.

    Attributes:
        observation: Arrays of an observation by name, names sorted; no reward or flags.
        action_size: Length of the action, whose entries lie in [-1, 1]; or the number of actions
            that there are, if it is discrete.
        action_repeat: Control steps of the simulator per environment step.
        episode_steps: Most environment steps that follow a reset in one episode; 0 if there is no
            limit that is known.
        discrete: Whether an action is an integer in [0, action_size).
        resumable: Whether a state of an environment is enough to go on with its episode.
    """

    observation: dict[str, ArraySpec]
    action_size: int
    action_repeat: int
    episode_steps: int
    discrete: bool = False
    resumable: bool = True

    def describe(self) -> str:
        """Describe observations and action in a few words."""
        return ", ".join(
            f"{name} {array.dtype} {array.shape}"
            + ("" if array.num_classes is None else f" of {array.num_classes}")
            for name, array in {**self.observation, "action": self.action}.items()
        )

    @property
    def action(self) -> ArraySpec:
        """Shape and dtype of one action."""
        if self.discrete:
            return ArraySpec((), np.dtype(np.int32), self.action_size)
        return ArraySpec((self.action_size,), np.dtype(np.float32))

    @property
    def stored(self) -> dict[str, ArraySpec]:
        """Arrays that are stored of one env step, apart from what an agent adds."""
        flag, number = ArraySpec((), np.dtype(bool)), ArraySpec((), np.dtype(np.float32))
        return {
            **self.observation,
            "action": self.action,
            "reward": number,
            "is_first": flag,
            "is_last": flag,
            "is_terminal": flag,
        }

    @property
    def sizes(self) -> AgentSizes:
        """Return the arguments of `agent.init` that say what is seen and done."""
        arrays = self.observation.items()
        return AgentSizes(
            shapes={name: array.shape for name, array in arrays},
            action_size=self.action_size,
            discrete=self.discrete,
            num_classes={n: x.num_classes for n, x in arrays if x.num_classes is not None},
        )


def check_same(subject: str, spec: EnvSpec, owner: str, expected: EnvSpec) -> None:
    """Check that observations and actions are those with which something was made.

    Args:
        subject: What has `spec`, for the error.
        spec: The specification.
        owner: What was made with `expected`.
        expected: The other specification.

    Raises:
        UsageError: If they are not.
    """
    if (spec.observation, spec.action) != (expected.observation, expected.action):
        raise UsageError(f"{subject} has {spec.describe()}, but {owner} has {expected.describe()}.")


class TimeStep(NamedTuple):
    """Result of a reset or a step of an environment.

    Every array leads with the batch axes: none for one environment, `num_envs` for a
    vector environment. Arrays are NumPy's, or JAX's where the environment is functional.

    Attributes:
        observation: Arrays by name, as described by `EnvSpec.observation`.
        reward: Reward of the action that led here, 0 after a reset.
        is_first: First time step of an episode.
        is_last: Last time step of an episode, by termination or by a time limit.
        is_terminal: True termination, after which nothing can be earned: the discount
            is 0. Implies `is_last`; a time limit sets only `is_last`.
    """

    observation: dict[str, Shaped[Any, "..."]]
    reward: Float32[Any, "*batch"]
    is_first: Bool[Any, "*batch"]
    is_last: Bool[Any, "*batch"]
    is_terminal: Bool[Any, "*batch"]


Action = Float32[np.ndarray, " action"] | Int[np.ndarray, ""]
"""One action, as `EnvSpec.action` describes it: numbers, or an integer in an array without axes."""


@runtime_checkable
class Environment(Protocol):
    """Interface of one environment.

    `step` may be called after a `reset` and until a time step has `is_last`; then comes
    the next `reset`.
    """

    @property
    def spec(self) -> EnvSpec:
        """Shapes and sizes of the task."""
        ...

    def reset(self) -> TimeStep:
        """Start an episode; the time step has `is_first` and reward 0."""
        ...

    def step(self, action: Action) -> TimeStep:
        """Apply `action`, clipped to [-1, 1] unless discrete, for `spec.action_repeat` steps."""
        ...

    def get_state(self) -> EnvState:
        """Return the state, random numbers included; shares no memory with the environment.

        One that has none to give returns a state in which `ANEW` is true: whoever sets it resets
        the environment.
        """
        ...

    def set_state(self, state: EnvState) -> None:
        """Continue, bit for bit, where an environment made with the same arguments was."""
        ...

    def close(self) -> None:
        """Release what the environment holds; it is not used afterwards."""
        ...


def single_timestep(
    observation: dict[str, Shaped[np.ndarray, "..."]],
    *,
    reward: float | np.floating = 0.0,
    is_first: bool = False,
    is_last: bool = False,
    is_terminal: bool = False,
) -> TimeStep:
    """Make a time step of one environment, its scalars as arrays without axes."""
    return TimeStep(
        observation=observation,
        reward=np.asarray(reward, np.float32),
        is_first=np.asarray(is_first),
        is_last=np.asarray(is_last),
        is_terminal=np.asarray(is_terminal),
    )


def blank_timestep(spec: EnvSpec) -> TimeStep:
    """Make the time step of an environment before its first reset: zeros with `is_last`."""
    zeros = {key: np.zeros(x.shape, x.dtype) for key, x in spec.observation.items()}
    return single_timestep(zeros, is_last=True)


def map_timestep(function: Callable[[np.ndarray], np.ndarray], timestep: TimeStep) -> TimeStep:
    """Apply `function` to every array of a time step."""
    return join_timesteps(lambda arrays: function(*arrays), [timestep])


def join_timesteps(
    join: Callable[[Sequence[np.ndarray]], np.ndarray], timesteps: Sequence[TimeStep]
) -> TimeStep:
    """Join time steps array by array.

    Args:
        join: `np.stack` for time steps of single environments, `np.concatenate` for
            those that have a batch axis already.
        timesteps: At least one, all of the same task.
    """
    observations, *scalars = zip(*timesteps, strict=True)
    return TimeStep(
        {key: join([obs[key] for obs in observations]) for key in observations[0]},
        *map(join, scalars),
    )
