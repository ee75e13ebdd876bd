"""Tasks of the DeepMind Control suite (Tassa et al., 2018), from vector observations.

Importing this module imports dm_control, which takes about half a second; the registry
does so only when a task of the suite, or the list of all tasks, is asked for.
"""

import logging
import math
import os
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float32

# Left to itself dm_control searches for an OpenGL library while it is imported, and may
# open a display or a GPU. Nothing here renders; a value set by the user stands.
os.environ.setdefault("MUJOCO_GL", "off")

from dm_control import suite
from dm_control.rl.control import PhysicsError

from .dmc_state import Snapshots
from .timestep import ArraySpec, EnvSpec, EnvState, TimeStep, single_timestep

# MuJoCo's compiler objects to an attribute in dm_control's own cheetah.
logging.getLogger("absl").addFilter(lambda record: "compiler attribute" not in record.getMessage())

# Domains and tasks may contain underscores, so names are looked up and never split.
TASKS = {f"{domain}_{task}": (domain, task) for domain, task in suite.ALL_TASKS}
ALIASES = {"cup_catch": "ball_in_cup_catch"}


class DMControl:
    """One task of the suite, with its default time limit and dm_control's legacy step.

    Episodes of LQR, which dm_control ends only at the goal, are truncated after the 1,000
    control steps that all other tasks have.

    Observations keep dm_control's names with "/" replaced by "_" ("reward" becomes
    "obs_reward"); float64 becomes float32 and scalars keep the shape (). Actions are
    clipped to [-1, 1], then mapped linearly to the limits of each actuator.

    An episode whose physics diverges is truncated: that step returns the observation
    before it, reward 0 and `is_last` without `is_terminal`, since running into the
    limits of the simulator says nothing about the value of the state.
    """

    spec: EnvSpec

    def __init__(self, task: str, *, action_repeat: int = 2, seed: int):
        """Builds the task.

        Args:
            task: A key of `TASKS` or of `ALIASES`.
            action_repeat: Control steps per environment step, at least 1. Their rewards
                are summed and the observations in between discarded; an episode that
                ends in between cuts the repetition short.
            seed: Seeds the initial states and whatever else the task draws, in
                [0, 2**32).

        Raises:
            ValueError: If `task` is unknown, `action_repeat < 1` or `seed` is out of
                range.
        """
        name = ALIASES.get(task, task)
        if name not in TASKS:
            raise ValueError(f"`task` must be a task of the DeepMind Control suite, got {task!r}.")
        if action_repeat < 1:
            raise ValueError(f"`action_repeat` must be at least 1, got {action_repeat}.")
        if not 0 <= seed < 2**32:
            raise ValueError(f"`seed` must lie in [0, 2**32), got {seed}.")
        self._name = name
        self._load(seed)
        self._observation: dict[str, np.ndarray] = {}

        limits = self._env.action_spec()
        # For actuators without limits (LQR) dm_control reports the largest number that
        # MuJoCo allows; they get the action as it is.
        limited = self._env.physics.model.actuator_ctrllimited.astype(bool)
        self._low = np.where(limited, limits.minimum, -1.0)
        self._high = np.where(limited, limits.maximum, 1.0)

        zeros = {key: array.generate_value() for key, array in self._env.observation_spec().items()}
        self.spec = EnvSpec(
            observation={
                key: ArraySpec(value.shape, value.dtype) for key, value in _convert(zeros).items()
            },
            action_size=limits.shape[0],
            action_repeat=action_repeat,
            episode_steps=math.ceil(self._env._step_limit / action_repeat),
        )

    def reset(self) -> TimeStep:
        """Starts an episode from a newly drawn initial state."""
        self._observation = _convert(self._env.reset().observation)
        return single_timestep(self._observation, is_first=True)

    def step(self, action: Float32[np.ndarray, " action"]) -> TimeStep:
        """Applies `action` for up to `spec.action_repeat` control steps.

        Raises:
            ValueError: If `action` is not finite, which would otherwise pass for
                divergence of the physics.
        """
        if not np.all(np.isfinite(action)):
            raise ValueError(f"`action` must be finite, got {action}.")
        fraction = (np.clip(action, -1, 1).astype(np.float64) + 1) / 2
        control = fraction * (self._high - self._low) + self._low
        try:
            timestep = self._env.step(control)
            reward = np.float32(timestep.reward)
            for _ in range(self.spec.action_repeat - 1):
                if timestep.last():
                    break
                timestep = self._env.step(control)
                reward += np.float32(timestep.reward)
        except PhysicsError:
            return self._truncated()
        observation = _convert(timestep.observation)
        if not all(np.all(np.isfinite(x)) for x in (reward, *observation.values())):
            return self._truncated()
        self._observation = observation
        return single_timestep(
            observation,
            reward=reward,
            is_last=timestep.last(),
            is_terminal=timestep.discount == 0,
        )

    def get_state(self) -> EnvState:
        """The state of simulator and task, and the last observation."""
        observation = {key: value.copy() for key, value in self._observation.items()}
        return {
            "name": self._name,
            "seed": self._seed,
            "observation": observation,
            **self._snapshots.take(),
        }

    def set_state(self, state: EnvState) -> None:
        """Continues where the environment of `state` was.

        Raises:
            ValueError: If the state is one of another task.
        """
        if state["name"] != self._name:
            raise ValueError(f"`state` must be one of {self._name}, got one of {state['name']}.")
        if state["seed"] != self._seed:  # from which LQR draws its springs
            self.close()
            self._load(state["seed"])
        self._observation = {key: value.copy() for key, value in state["observation"].items()}
        self._snapshots.restore(state)

    def close(self) -> None:
        """Frees the simulator."""
        self._env.physics.free()

    def _load(self, seed: int) -> None:
        self._env = suite.load(*TASKS[self._name], task_kwargs={"random": seed})
        # quadruped_escape would send its terrain to a renderer at every reset. It skips
        # that where there is no rendering context, so none is ever made.
        self._env.physics._make_rendering_contexts = lambda: None
        if math.isinf(self._env._step_limit):
            self._env._step_limit = 1000
        self._seed = seed
        self._snapshots = Snapshots(self._env)

    def _truncated(self) -> TimeStep:
        return single_timestep(self._observation, is_last=True)


def _convert(
    observation: Mapping[str, np.ndarray | np.generic],
) -> dict[str, np.ndarray]:
    """Copies an observation of dm_control to our names, dtypes and order."""
    converted = {}
    for key, value in observation.items():
        value = np.asarray(value)
        if value.size:
            dtype = np.float32 if value.dtype == np.float64 else value.dtype
            name = "obs_reward" if key == "reward" else key.replace("/", "_")
            converted[name] = np.array(value, dtype)
    return dict(sorted(converted.items()))
