"""State with which an environment of dm_control continues bit for bit."""

from collections.abc import Iterator
from typing import Any

import mujoco
import numpy as np
from dm_control.rl import control

from ..timestep import EnvState

_mujoco: Any = mujoco  # compiled, and unknown to pyright
PHYSICS = _mujoco.mjtState.mjSTATE_INTEGRATION.value
"""Parts of MuJoCo's data that decide how a simulation continues."""

# Textures, meshes and what is derived from them: most of a model, and changed by no task.
_ASSETS = ("tex_", "mesh_", "skin_", "bvh_", "oct_")


class Snapshots:
    """State of one environment, taken and restored.

    Tasks draw targets, terrain and gains into the arrays of MuJoCo's model. Those that
    differ from the model as it was built belong to the state, so tasks are not told apart.

    Attributes:
        built: Arrays of the model as it was built, by name.
    """

    built: dict[str, np.ndarray]

    def __init__(self, env: control.Environment):
        """Note the model of `env`, which was just built and never reset."""
        self._env = env
        self.built = {name: array.copy() for name, array in self._model_arrays()}

    def take(self) -> EnvState:
        """Return the state of the environment, its random numbers included."""
        physics, task = self._env.physics, self._env.task
        return {
            "physics": physics.get_state(sig=PHYSICS),
            "model": {
                name: array.copy()
                for name, array in self._model_arrays()
                if not same_bits(array, self.built[name])
            },
            "task": task_state(task),
            "random": task.random.get_state(legacy=False),
            "step_count": self._env._step_count,
            "reset_next_step": self._env._reset_next_step,
        }

    def restore(self, state: EnvState) -> None:
        """Put the environment into a state that was taken from one built like it."""
        physics, task = self._env.physics, self._env.task
        for name, array in self._model_arrays():
            value = state["model"].get(name, self.built[name])
            if not same_bits(array, value):
                array[...] = value
        physics.set_state(state["physics"], sig=PHYSICS)
        # dm_control's legacy step begins with the second half of MuJoCo's and ends with
        # the first half of the next, so positions and velocities must be worked through.
        _mujoco.mj_step1(physics.model.ptr, physics.data.ptr)
        for name, value in state["task"].items():
            # NumPy's scalars were stored as arrays without axes, which keeps their dtype.
            setattr(task, name, value.copy()[()] if isinstance(value, np.ndarray) else value)
        task.random.set_state(state["random"])
        self._env._step_count = state["step_count"]
        self._env._reset_next_step = state["reset_next_step"]

    def _model_arrays(self) -> Iterator[tuple[str, np.ndarray]]:
        model = self._env.physics.model.ptr
        for name in dir(model):
            if not name.startswith(("_", *_ASSETS)):
                value = getattr(model, name)
                if isinstance(value, np.ndarray):
                    yield name, value


def task_state(task: control.Task) -> EnvState:
    """Return the state of dm_control's task, without its random numbers."""
    return {
        name: np.array(value) if isinstance(value, np.generic | np.ndarray) else value
        for name, value in vars(task).items()
        if isinstance(value, np.generic | np.ndarray | bool | int | float | str | None)
    }


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    """Return whether arrays are equal bit by bit, which tells 0 from -0 and equates NaN."""
    return a.tobytes() == b.tobytes()
