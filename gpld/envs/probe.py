"""Tiny environments whose best return is known, to tell whether an agent learns.

Each isolates one thing that an agent can get wrong. Actions have one entry, of which only the
sign matters; those of one probe are discrete. Most observe `time` (), the elapsed fraction of the
episode, and `signal` (1,), whose meaning is the probe's own and which is 0 where it has none; one
observes a picture, and one the number of an action.
"""

import abc
from typing import ClassVar

import numpy as np

from .timestep import Action, ArraySpec, EnvSpec, EnvState, TimeStep, single_timestep


class Probe(abc.ABC):
    """Probe with a clock and random numbers.

    Attributes:
        length: Steps after which an episode is truncated.
        lowest_return: Undiscounted return per episode that no policy falls below.
        optimal_return: Undiscounted return per episode of the best policy.
        observed: Arrays of an observation.
        action_size: Number of actions, if they are discrete.
        discrete: Whether an action is a number in place of a sign.
    """

    length: ClassVar[int]
    lowest_return: ClassVar[float] = 0.0
    optimal_return: ClassVar[float]
    observed: ClassVar[dict[str, ArraySpec]] = {
        "signal": ArraySpec((1,), np.dtype(np.float32)),
        "time": ArraySpec((), np.dtype(np.float32)),
    }
    action_size: ClassVar[int] = 1
    discrete: ClassVar[bool] = False

    def __init__(self, *, seed: int):
        """Seed what the probe draws.

        Raises:
            ValueError: If `seed < 0`.
        """
        if seed < 0:
            raise ValueError(f"`seed` must be at least 0, got {seed}.")
        self._rng = np.random.default_rng(seed)

    @property
    def spec(self) -> EnvSpec:
        """Shapes and sizes of the task."""
        return EnvSpec(
            observation=dict(self.observed),
            action_size=self.action_size,
            action_repeat=1,
            episode_steps=self.length,
            discrete=self.discrete,
        )

    def reset(self) -> TimeStep:
        """Start an episode."""
        self._elapsed = 0
        self._signal = self._begin()
        return single_timestep(self._observation(), is_first=True)

    def step(self, action: Action) -> TimeStep:
        """Advance the clock and answer the sign of `action`, or its number."""
        self._elapsed += 1
        chosen = action if self.discrete else np.sign(action[0])
        reward, is_terminal = self._answer(float(chosen))
        return single_timestep(
            self._observation(),
            reward=reward,
            is_last=is_terminal or self._elapsed == self.length,
            is_terminal=is_terminal,
        )

    def get_state(self) -> EnvState:
        """Return the clock, the random numbers and what else the probe remembers: all numbers."""
        memory = {name: value for name, value in vars(self).items() if name != "_rng"}
        return {"random": self._rng.bit_generator.state, "memory": memory}

    def set_state(self, state: EnvState) -> None:
        """Continue where the probe of `state` was."""
        self._rng.bit_generator.state = state["random"]
        vars(self).update(state["memory"])

    def close(self) -> None:  # noqa: B027 (nothing to do, not forgotten)
        """Do nothing: a probe holds no resources."""

    def _observation(self) -> dict[str, np.ndarray]:
        return {
            "signal": np.array([self._signal], np.float32),
            "time": np.array(self._elapsed / self.length, np.float32),
        }

    def _begin(self) -> float:
        """Prepare an episode and return the signal of its first observation."""
        return 0.0

    @abc.abstractmethod
    def _answer(self, sign: float) -> tuple[float, bool]:
        """Return reward and `is_terminal` for this sign or number; may set the signal."""


class ConstantReward(Probe):
    """Probe that pays 1 at every step whatever the action: tests values across truncation.

    Every policy returns `length`. The end is a time limit and not a termination, so
    under a discount g the value of every state, the last ones included, is 1 / (1 - g).
    """

    length = 16
    optimal_return = 16.0

    def _answer(self, sign: float) -> tuple[float, bool]:
        return 1.0, False


class DelayedReward(Probe):
    """Probe that pays the sign of the first action at the last step: tests credit over time.

    The signal shows the chosen sign from the first step on, so every state is fully
    observed. The best policy acts positively at first and returns 1.
    """

    length = 8
    lowest_return = -1.0
    optimal_return = 1.0

    def _answer(self, sign: float) -> tuple[float, bool]:
        if self._elapsed == 1:
            self._signal = sign
        return self._signal if self._elapsed == self.length else 0.0, False


class Termination(Probe):
    """Probe that pays 1 at every step until a negative action: tests the continue head.

    Both choices pay the same at once; only an agent that knows that nothing follows a
    termination prefers to go on. Going on returns `length`, a uniformly random policy
    less than 2. Under a discount g the value is 1 / (1 - g) when going on and the
    negative action is worth 1.
    """

    length = 8
    optimal_return = 8.0

    def _answer(self, sign: float) -> tuple[float, bool]:
        return 1.0, sign < 0


class Memory(Probe):
    """Probe that pays 1 if the last action's sign matches a cue shown at first: tests memory.

    The cue, -1 or 1 with equal odds, is the signal of the first observation; later ones
    are 0. A policy that remembers it returns 1, one that does not 0.5 on average.
    """

    length = 3
    optimal_return = 1.0

    def _begin(self) -> float:
        self._cue = float(self._rng.choice((-1.0, 1.0)))
        return self._cue

    def _answer(self, sign: float) -> tuple[float, bool]:
        self._signal = 0.0
        return float(self._elapsed == self.length and sign == self._cue), False


class Picture(Probe):
    """Probe that pays 1 for pointing to the bright half of a picture: tests image encoders.

    Which half is bright is drawn anew at every step, and nothing else tells it. A policy that
    looks returns `length`, one that does not half as much on average.
    """

    length = 8
    optimal_return = 8.0
    observed: ClassVar[dict[str, ArraySpec]] = {"image": ArraySpec((16, 16, 3), np.dtype(np.uint8))}

    def _begin(self) -> float:
        return float(self._rng.choice((-1.0, 1.0)))

    def _answer(self, sign: float) -> tuple[float, bool]:
        right, self._signal = sign == self._signal, self._begin()
        return float(right), False

    def _observation(self) -> dict[str, np.ndarray]:
        image = np.full((16, 16, 3), 64, np.uint8)
        half = slice(8, 16) if self._signal > 0 else slice(0, 8)
        image[:, half] = 192
        return {"image": image}


class Discrete(Probe):
    """Probe that pays 1 for the action whose number is shown: tests discrete actions.

    The number, one of three, is categorical: the first of an episode is drawn, and each is
    followed by the next, the last by the first. A policy that looks returns `length`, one that
    does not a third as much on average.
    """

    length = 9
    optimal_return = 9.0
    action_size = 3
    discrete = True
    observed: ClassVar[dict[str, ArraySpec]] = {
        "number": ArraySpec((), np.dtype(np.int32), 3),
        "time": ArraySpec((), np.dtype(np.float32)),
    }

    def _begin(self) -> float:
        return float(self._rng.integers(self.action_size))

    def _answer(self, sign: float) -> tuple[float, bool]:
        right, self._signal = sign == self._signal, (self._signal + 1) % self.action_size
        return float(right), False

    def _observation(self) -> dict[str, np.ndarray]:
        number = np.array(self._signal, np.int32)
        return {"number": number, "time": super()._observation()["time"]}


TASKS = {
    "probe_constant": ConstantReward,
    "probe_delayed": DelayedReward,
    "probe_discrete": Discrete,
    "probe_memory": Memory,
    "probe_picture": Picture,
    "probe_termination": Termination,
}
