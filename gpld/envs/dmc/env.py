"""Tasks of the DeepMind Control suite (Tassa et al., 2018), from vectors and images.

Importing this module imports dm_control, which takes about half a second; the registry
does so only when a task of the suite is made.
"""

import logging
import math
import os
from collections.abc import Mapping
from typing import Literal

import numpy as np
from jaxtyping import Float32

from ...errors import UsageError

# Left to itself dm_control searches for an OpenGL library while it is imported, and may
# open a display or a GPU. Who wants images says with what; a value set by the user stands.
os.environ["MUJOCO_GL"] = os.environ.get("MUJOCO_GL") or "off"

try:
    from dm_control import suite
    from dm_control.rl.control import PhysicsError
except (AttributeError, ImportError, RuntimeError) as error:
    if os.environ["MUJOCO_GL"] == "off":
        raise
    raise UsageError(
        f"dm_control does not start with MUJOCO_GL={os.environ['MUJOCO_GL']!r} "
        f"({str(error).rstrip('.')}); unset it."
    ) from error

from ...suite import EPISODE_STEPS, TASKS, canonical_name
from ..timestep import IMAGE, ArraySpec, EnvSpec, EnvState, TimeStep, single_timestep
from .opengl import CAMERAS, draw_with
from .state import Snapshots

# MuJoCo's compiler objects to an attribute in dm_control's own cheetah.
logging.getLogger("absl").addFilter(lambda record: "compiler attribute" not in record.getMessage())


class DMControl:
    """One task of the suite, with its default time limit and dm_control's legacy step.

    Episodes of LQR, which dm_control ends only at the goal, are truncated after the 1,000
    control steps that all other tasks have.

    Vectors keep dm_control's names with "/" replaced by "_" ("reward" becomes
    "obs_reward"); float64 becomes float32 and scalars keep the shape (). The picture after
    the last of the repeated control steps is `image`, of shape `[size, size, 3]` in uint8,
    seen by the camera that DreamerV3 takes for the domain. Actions are
    clipped to [-1, 1], then mapped linearly to the limits of each actuator.

    An episode whose physics diverges is truncated: that step returns the observation
    before it, reward 0 and `is_last` without `is_terminal`, since running into the
    limits of the simulator says nothing about the value of the state. What is not finite
    though the physics are sound is returned as it is; a `VectorEnv` deals with it.

    Attributes:
        spec: Shapes and sizes of the task.
        name: The task's name, no short form.
    """

    spec: EnvSpec
    name: str

    def __init__(
        self,
        task: str,
        *,
        action_repeat: int = 2,
        observations: Literal["vectors", "pixels", "both"] = "vectors",
        image_size: int = 64,
        backend: str | None = None,
        seed: int,
    ):
        """Build the task.

        Args:
            task: A key of `TASKS`, or a short form.
            action_repeat: Control steps per environment step, at least 1. Their rewards
                are summed and the observations in between discarded; an episode that
                ends in between cuts the repetition short.
            observations: vectors, pixels (the image alone), or both.
            image_size: Pixels along both sides of the image.
            backend: OpenGL library that draws it, see `find_backend`; None leaves that to
                the environment variable MUJOCO_GL.
            seed: Seeds the initial states and whatever else the task draws, in
                [0, 2**32).

        Raises:
            ValueError: If `task` is unknown, `action_repeat < 1` or `seed` is out of
                range.
        """
        name = canonical_name(task)
        if name not in TASKS:
            raise ValueError(f"`task` must be a task of the DeepMind Control suite, got {task!r}.")
        if action_repeat < 1:
            raise ValueError(f"`action_repeat` must be at least 1, got {action_repeat}.")
        if not 0 <= seed < 2**32:
            raise ValueError(f"`seed` must lie in [0, 2**32), got {seed}.")
        self.name, self._observed, self._image_size = name, observations, image_size
        if observations != "vectors" and backend is not None:
            draw_with(backend)
        self._load(seed)
        self._observation: dict[str, np.ndarray] = {}

        limits = self._env.action_spec()
        # For actuators without limits (LQR) dm_control reports the largest number that
        # MuJoCo allows; they get the action as it is.
        limited = self._env.physics.model.actuator_ctrllimited.astype(bool)
        self._low = np.where(limited, limits.minimum, -1.0)
        self._high = np.where(limited, limits.maximum, 1.0)

        self.spec = EnvSpec(
            observation=self._observation_spec(),
            action_size=limits.shape[0],
            action_repeat=action_repeat,
            episode_steps=math.ceil(self._env._step_limit / action_repeat),
        )

    def reset(self) -> TimeStep:
        """Start an episode from a newly drawn initial state."""
        self._observation = self._observe(self._env.reset().observation)
        return single_timestep(self._observation, is_first=True)

    def step(self, action: Float32[np.ndarray, " action"]) -> TimeStep:
        """Apply `action` for up to `spec.action_repeat` control steps.

        Raises:
            ValueError: If `action` is not finite, which would otherwise pass for
                divergence of the physics.
        """
        if not np.all(np.isfinite(action)):
            raise ValueError(f"`action` must be finite, got {action}.")
        control = self.control(action)
        try:
            timestep = self._env.step(control)
            reward = np.float32(timestep.reward)
            for _ in range(self.spec.action_repeat - 1):
                if timestep.last():
                    break
                timestep = self._env.step(control)
                reward += np.float32(timestep.reward)
        except PhysicsError:
            return single_timestep(self._observation, is_last=True)
        self._observation = self._observe(timestep.observation)
        return single_timestep(
            self._observation,
            reward=reward,
            is_last=timestep.last(),
            is_terminal=timestep.discount == 0,
        )

    def control(self, action: Float32[np.ndarray, "*batch action"]) -> np.ndarray:
        """Return actions in the units of the actuators."""
        fraction = (np.clip(action, -1, 1).astype(np.float64) + 1) / 2
        return fraction * (self._high - self._low) + self._low

    def get_state(self) -> EnvState:
        """Return the state of simulator and task, and the last observation."""
        observation = {key: value.copy() for key, value in self._observation.items()}
        return {
            "name": self.name,
            "seed": self._seed,
            "observation": observation,
            **self._snapshots.take(),
        }

    def set_state(self, state: EnvState) -> None:
        """Continue where the environment of `state` was.

        Raises:
            ValueError: If the state is one of another task.
        """
        self.check_state(state)
        if state["seed"] != self._seed:  # from which LQR draws its springs
            self.close()
            self._load(state["seed"])
        self._observation = {key: value.copy() for key, value in state["observation"].items()}
        self._snapshots.restore(state)
        if self._env.physics._contexts is not None:
            # What was handed over to the renderer (a terrain) is handed over again.
            self._env.physics._free_rendering_contexts()

    def check_state(self, state: EnvState) -> None:
        """Raise a ValueError if `state` is one of another task."""
        if state["name"] != self.name:
            raise ValueError(f"`state` must be one of {self.name}, got one of {state['name']}.")

    def close(self) -> None:
        """Free the simulator."""
        self._env.physics.free()

    def _load(self, seed: int) -> None:
        self._env = suite.load(*TASKS[self.name], task_kwargs={"random": seed})
        if self._observed == "vectors":
            # quadruped_escape would send its terrain to a renderer at every reset. It skips
            # that where there is no rendering context, so none is ever made.
            self._env.physics._make_rendering_contexts = lambda: None
        if math.isinf(self._env._step_limit):
            self._env._step_limit = EPISODE_STEPS
        self._seed = seed
        self._snapshots = Snapshots(self._env)

    def _observation_spec(self) -> dict[str, ArraySpec]:
        zeros = {key: array.generate_value() for key, array in self._env.observation_spec().items()}
        arrays = convert(zeros) if self._observed != "pixels" else {}
        if self._observed != "vectors":
            arrays[IMAGE] = np.zeros((self._image_size, self._image_size, 3), np.uint8)
        return {key: ArraySpec(arrays[key].shape, arrays[key].dtype) for key in sorted(arrays)}

    def _observe(self, vectors: Mapping[str, np.ndarray | np.generic]) -> dict[str, np.ndarray]:
        observation = convert(vectors) if self._observed != "pixels" else {}
        if self._observed != "vectors":
            domain, _ = TASKS[self.name]
            observation[IMAGE] = self._env.physics.render(
                self._image_size, self._image_size, camera_id=CAMERAS.get(domain, 0)
            )
        return dict(sorted(observation.items()))


def convert(observation: Mapping[str, np.ndarray | np.generic]) -> dict[str, np.ndarray]:
    """Copy an observation of dm_control to our names, dtypes and order."""
    converted = {}
    for key, value in observation.items():
        value = np.asarray(value)
        if value.size:
            dtype = np.float32 if value.dtype == np.float64 else value.dtype
            name = "obs_reward" if key == "reward" else key.replace("/", "_")
            converted[name] = np.array(value, dtype)
    return dict(sorted(converted.items()))
