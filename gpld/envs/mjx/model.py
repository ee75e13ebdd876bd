"""Models of dm_control's tasks, in the form that MJX takes."""

import copy
from typing import Any, NamedTuple

import mujoco
import numpy as np
from jaxtyping import Float

from ..dmc.env import DMControl
from ..rewards import make_task
from ..timestep import EnvSpec

_mujoco: Any = mujoco  # compiled, and unknown to pyright


class TaskModel(NamedTuple):
    """Model and sizes of a task, for an engine."""

    name: str
    """Name of the task, a key of `gpld.suite.TASKS`."""

    spec: EnvSpec
    model: Any
    """A `mujoco.MjModel`."""

    num_substeps: int
    """Steps of the simulator per control step."""

    control_steps: int
    """Control steps of an episode."""

    low: Float[np.ndarray, " action"]
    """Control that action -1 stands for."""

    high: Float[np.ndarray, " action"]
    """Control that action 1 stands for."""


def load_model(task: str, action_repeat: int) -> TaskModel:
    """Take the model of a task from dm_control.

    Three changes leave the physics as they are. Energies, which MJX refuses to compute, are
    not computed, nor are sensors of forces if the task reads none. What can touch nothing does not
    look for contacts: decorations, and all where the model has no contacts or no constraints,
    since MJX refuses pairs of shapes also there.

    Args:
        task: One of `gpld.envs.rewards.COVERED`, or a short form.
        action_repeat: Control steps per environment step, at least 1.

    Raises:
        ValueError: As `DMControl` and `make_task`.
    """
    env = DMControl(task, action_repeat=action_repeat, seed=0)
    env.reset()  # tasks write sizes and dampings into their model
    model = copy.copy(env._env.physics.model.ptr)
    model.opt.enableflags &= ~_mujoco.mjtEnableBit.mjENBL_ENERGY.value
    if not make_task(env.name, model).reads_forces:
        of_forces = model.sensor_needstage == _mujoco.mjtStage.mjSTAGE_ACC.value
        model.sensor_needstage[of_forces] = _mujoco.mjtStage.mjSTAGE_NONE.value
    disable = _mujoco.mjtDisableBit
    without_contacts = disable.mjDSBL_CONTACT.value | disable.mjDSBL_CONSTRAINT.value
    touchless = model.opt.disableflags & without_contacts
    for geom in range(model.ngeom):
        if touchless or model.geom(geom).name.endswith("_decoration"):
            model.geom_contype[geom] = model.geom_conaffinity[geom] = 0
    return TaskModel(
        name=env.name,
        spec=env.spec,
        model=model,
        num_substeps=env._env._n_sub_steps,
        control_steps=int(env._env._step_limit),
        low=env._low,
        high=env._high,
    )
