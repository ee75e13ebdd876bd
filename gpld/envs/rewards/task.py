"""Tasks: observation and reward as functions of the state of a simulation.

Written once for all engines, over NumPy or JAX arrays with any leading batch axes. Names are
resolved to indices when a task is made. In NumPy and float64, results equal dm_control's bit
for bit: the operations are its own, in its order, each on all simulations at once.
"""

import abc
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

Array = Any
"""An array of NumPy or JAX."""

Model = Any
"""A `mujoco.MjModel`: compiled, and unknown to pyright."""


class Physics(NamedTuple):
    """Quantities that a task may use, named as in `mujoco.MjData`, every array after batch axes.

    Positions and velocities, and sensors of them, are those of the newest state; sensors of
    forces and accelerations are those of the last substep, as in dm_control. What a task has
    drawn for its episode, such as a target, was written into the model before.

    Attributes:
        qpos: Generalized positions, `[nq]`.
        qvel: Generalized velocities, `[nv]`.
        act: States of actuators, `[na]`.
        ctrl: Controls that led here, in units of the actuators, `[nu]`.
        xpos: Positions of body frames, `[nbody, 3]`.
        xmat: Orientations of body frames, `[nbody, 3, 3]`.
        xipos: Centres of mass of bodies, `[nbody, 3]`.
        geom_xpos: Positions of geoms, `[ngeom, 3]`.
        geom_xmat: Orientations of geoms, `[ngeom, 3, 3]`.
        site_xpos: Positions of sites, `[nsite, 3]`.
        sensordata: Values of all sensors, `[nsensordata]`.
    """

    qpos: Array
    qvel: Array
    act: Array
    ctrl: Array
    xpos: Array
    xmat: Array
    xipos: Array
    geom_xpos: Array
    geom_xmat: Array
    site_xpos: Array
    sensordata: Array


class Task(abc.ABC):
    """Task of one model. Its methods are pure, and JAX can trace them."""

    drawn: tuple[str, ...] = ()
    """Arrays of the model into which the task draws something for each episode."""

    reads_forces: bool = False
    """True if it reads sensors of forces or accelerations; otherwise they may be left out."""

    @abc.abstractmethod
    def observe(self, physics: Physics) -> dict[str, Array]:
        """Return arrays, sorted by `DMControl`'s names; they may share memory with `physics`."""

    @abc.abstractmethod
    def reward(self, physics: Physics) -> Array:
        """Return one number for each simulation, of the dtype of `physics`."""


def namespace(array: Array) -> Any:
    """Return the module of functions for an array: `numpy` or `jax.numpy`."""
    return array.__array_namespace__()


def norm(vector: Array) -> Array:
    """Return the Euclidean norm over the last axis."""
    xp = namespace(vector)
    return xp.sqrt(xp.vecdot(vector, vector))


def rotate(vector: Array, matrix: Array) -> Array:
    """Return the coordinates of `vector` in the frame whose axes are the columns of `matrix`."""
    return namespace(vector).matmul(vector[..., None, :], matrix)[..., 0, :]


def sensor_index(model: Model, *names: str) -> slice | np.ndarray:
    """Return the indices of sensors in `sensordata`, in the order of `names`."""
    sensors = [model.sensor(name) for name in names]
    return compact([int(s.adr[0]) + i for s in sensors for i in range(model.sensor_dim[s.id])])


def sensor_index_of_types(model: Model, *types: Any) -> slice | np.ndarray:
    """Return the indices of all sensors of some types in `sensordata`, in its order."""
    ids = np.flatnonzero(np.isin(model.sensor_type, types))
    return compact([int(model.sensor_adr[i]) + j for i in ids for j in range(model.sensor_dim[i])])


def compact(indices: Sequence[int]) -> slice | np.ndarray:
    """Return consecutive indices as a slice, which copies nothing; others as an array."""
    first = indices[0]
    if list(indices) == list(range(first, first + len(indices))):
        return slice(first, first + len(indices))
    return np.array(indices)
