"""Targets and gains that tasks draw for an episode and dm_control writes into the model."""

import copy
from typing import Any

import jax.numpy as jnp
import mujoco
import numpy as np
from jaxtyping import Array, Float
from mujoco import mjx

from .model import TaskModel

_mujoco: Any = mujoco  # compiled, and unknown to pyright


class Target:
    """Entries of one array of the model that differ from episode to episode.

    MJX takes coefficients of tendons for constants. Where they are drawn, the motors of its
    model pull one joint each, and controls are mixed before.

    Attributes:
        size: How many there are, 0 for most tasks.
    """

    size: int

    def __init__(self, task: TaskModel):
        """Find the entries of a task."""
        model, name = task.model, task.name
        self._field, self._index = None, (np.zeros(0, int),)
        self._mixes_controls = name == "point_mass_hard"
        self._is_lit = name.startswith("swimmer_")
        self._limits = model.actuator_ctrlrange.T
        if name.startswith(("reacher_", "swimmer_")):
            self._put("geom_pos", model.geom("target").id, (0, 1))
        elif name == "fish_swim":
            self._put("geom_pos", model.geom("target").id, (0, 1, 2))
        elif name.startswith("finger_turn_"):
            self._put("site_pos", model.site("target").id, (0, 2))
        elif self._mixes_controls:
            self._field, self._index = "wrap_prm", (np.arange(4),)
        self.size = self._index[-1].size

    def constant_model(self, model: Any) -> Any:
        """Return the `mujoco.MjModel` for MJX, of which `write` makes an episode's."""
        if not self._mixes_controls:
            return model
        model = copy.copy(model)
        model.wrap_prm[:] = np.eye(2).ravel()
        model.actuator_ctrllimited[:] = 0  # a sum of two may be larger than each can be
        return model

    def mix(
        self, target: Float[Array, " target"], ctrl: Float[Array, " action"]
    ) -> Float[Array, " action"]:
        """Return controls with which that model does what dm_control's does with `ctrl`."""
        if not self._mixes_controls:
            return ctrl
        low, high = (jnp.asarray(limit, ctrl.dtype) for limit in self._limits)
        return jnp.clip(ctrl, low, high) @ target.reshape(2, 2)

    def write(self, model: mjx.Model, target: Float[Array, " target"]) -> mjx.Model:
        """Return the model of an episode."""
        if self._field is None or self._mixes_controls:
            return model
        array = jnp.asarray(getattr(model, self._field))
        return model.replace(**{self._field: array.at[self._index].set(target)})

    def draw_into(self, model: Any, target: Float[np.ndarray, " target"]) -> None:
        """Write the entries into a `mujoco.MjModel`, to be drawn."""
        if self._field is not None:
            getattr(model, self._field)[self._index] = target
        if self._is_lit:
            model.light_pos[model.light("target_light").id, :2] = target

    def _put(self, field: str, row: int, columns: tuple[int, ...]) -> None:
        self._field = field
        self._index = np.full(len(columns), row), np.array(columns)
