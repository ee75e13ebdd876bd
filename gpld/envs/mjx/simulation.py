"""One control step of dm_control's physics as a pure function of a small state."""

import contextlib
import threading
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from jaxtyping import Array, Float
from mujoco import mjx
from mujoco.mjx._src import collision_driver, smooth, solver

from ...xla.choices import backend
from ..backend import Implementation
from ..rewards import Physics
from .collisions import CORRECTED, distances
from .elimination import ELIMINATING_JAX, eliminating
from .model import TaskModel
from .solver import search, solve
from .targets import Target

_mujoco: Any = mujoco  # compiled, and unknown to pyright


class SimulationState(NamedTuple):
    """State from which the physics of the next step follow: some hundred bytes."""

    qpos: Float[Array, " nq"]
    qvel: Float[Array, " nv"]
    act: Float[Array, " na"]
    qacc_warmstart: Float[Array, " nv"]
    """Acceleration of the step before, from which the solver of constraints begins."""

    target: Float[Array, " target"]
    """Numbers that the task has drawn for the episode, see `Target`; empty for most."""


class Simulation:
    """Physics of a task in MJX, without its observation and reward.

    A control step is dm_control's: steps of the simulator with the same control, after which
    positions, velocities and sensors of both are worked out for the new state, while sensors
    of forces and accelerations are those of the last of these steps.

    Numbers are float64 if JAX has it enabled when the simulation is made, otherwise float32.

    Attributes:
        task: The task and its model.
        target: What the task draws for an episode.
        dtype: Of all numbers.
    """

    task: TaskModel
    target: Target
    dtype: np.dtype

    def __init__(self, task: TaskModel, impl: Implementation = "jax", max_envs: int = 1):
        """Hand the model over to MJX.

        Args:
            task: The task and its model.
            impl: What takes the steps. All else, such as sensors of the new state, is JAX's.
            max_envs: How many environments at most are stepped together, for which Warp
                reserves memory; contacts beyond it are lost. JAX has no such limit.
        """
        self.task = task
        self.target = Target(task)
        model = self.target.constant_model(task.model)
        with faithful():  # the number of contacts follows from the functions of collisions
            self._model = mjx.put_model(model)
            # Whatever a step does not compute anew is the same for all states.
            self._blank = mjx.make_data(model)
        self.dtype = self._model.qpos0.dtype
        self._stepped = (self._model, self._blank)
        if impl == "warp":
            self._stepped = _warp(model, max_envs)
        self._impl = impl
        self._eliminate = backend() == "gpu"
        passive = model.opt.disableflags | _mujoco.mjtDisableBit.mjDSBL_ACTUATION.value
        self._passive_option = self._model.opt.replace(disableflags=passive)
        needs = model.sensor_needstage
        self._has_forces = bool(np.any(needs == _mujoco.mjtStage.mjSTAGE_ACC.value))

    def state(self, qpos: Array, qvel: Array | None = None, **parts: Array) -> SimulationState:
        """Return a state; what is not given is 0, and `parts` are fields of `SimulationState`."""
        model, dtype = self.task.model, qpos.dtype
        zeros = SimulationState(
            qpos,
            jnp.zeros(model.nv, dtype) if qvel is None else qvel,
            jnp.zeros(model.na, dtype),
            jnp.zeros(model.nv, dtype),
            jnp.zeros(self.target.size, dtype),
        )
        return zeros._replace(**parts)

    def step(
        self, state: SimulationState, ctrl: Float[Array, " action"]
    ) -> tuple[SimulationState, Physics]:
        """Apply controls, in units of the actuators, for one control step."""
        with faithful(eliminate=self._eliminate):
            state, sensors = self.substeps(state, ctrl, self.task.num_substeps)
            return state, self._derive(state, ctrl, sensors)

    def substeps(
        self, state: SimulationState, ctrl: Float[Array, " action"], count: int
    ) -> tuple[SimulationState, Float[Array, " sensordata"]]:
        """Take several steps of the simulator; also return the sensors of the last of them."""
        model, blank = self._stepped
        if self._impl == "jax":
            model = self.target.write(model, state.target)

        def substep(carry, _):
            state, _ = carry
            mixed = self.target.mix(state.target, ctrl)
            data = mjx.step(model, _fill(blank, state, mixed))
            state = SimulationState(
                data.qpos, data.qvel, data.act, data.qacc_warmstart, state.target
            )
            return (state, data.sensordata), None

        with faithful(eliminate=self._eliminate):
            carry = state, jnp.zeros_like(self._blank.sensordata)
            carry, _ = jax.lax.scan(substep, carry, length=count)
        return carry

    def look(self, state: SimulationState) -> Physics:
        """Return the physics that a reset shows, with forces and accelerations without controls."""
        ctrl = jnp.zeros(self.task.model.nu, state.qpos.dtype)
        with faithful(eliminate=self._eliminate):
            if not self._has_forces:
                return self._derive(state, ctrl, jnp.zeros_like(self._blank.sensordata))
            model = self.target.write(self._model, state.target)
            model = model.replace(opt=self._passive_option)
            return _physics(mjx.forward(model, _fill(self._blank, state, ctrl)))

    def clearance(
        self, qpos: Float[Array, " nq"], *, planes_only: bool = False
    ) -> Float[Array, " contacts"]:
        """Return signed distances, beyond margins, of all that could touch, or of planes alone."""
        with faithful():
            data = mjx.kinematics(self._model, self._blank.replace(qpos=qpos))
            return distances(self._model, data, planes_only=planes_only)

    def _derive(
        self,
        state: SimulationState,
        ctrl: Float[Array, " action"],
        sensors: Float[Array, " sensors"],
    ) -> Physics:
        """Work out positions and velocities; of `sensors` those of forces stay."""
        model = self.target.write(self._model, state.target)
        data = _fill(self._blank, state, ctrl).replace(sensordata=sensors)
        for stage in (mjx.kinematics, mjx.com_pos, mjx.sensor_pos, mjx.com_vel, mjx.sensor_vel):
            data = stage(model, data)
        return _physics(data)


def _fill(blank: mjx.Data, state: SimulationState, ctrl: Float[Array, " action"]) -> mjx.Data:
    qpos, qvel, act, warmstart, _ = state
    return blank.replace(qpos=qpos, qvel=qvel, act=act, ctrl=ctrl, qacc_warmstart=warmstart)


def _warp(model: Any, max_envs: int) -> tuple[mjx.Model, mjx.Data]:
    """Return model and data for Warp, with room for all contacts that can be."""
    possible: Any = mjx.make_data(model)._impl
    contacts = max(1, possible.contact.dist.size * max_envs)
    constraints = max(1, possible.efc_J.shape[0])
    data = mjx.make_data(model, impl="warp", naconmax=contacts, njmax=constraints)
    return mjx.put_model(model, impl="warp"), data


def _physics(data: mjx.Data) -> Physics:
    return Physics(*(getattr(data, name) for name in Physics._fields))


# MJX's tables are global, so that one thread traces at a time. `step` enters the context again in
# `substeps`.
_tracing = threading.RLock()


@contextlib.contextmanager
def faithful(*, eliminate: bool = False) -> Iterator[None]:
    """Trace MJX with corrected collisions, refined solver and no product rounded to TF32.

    MJX relies on JAX's own rules for ranks and dtypes, whatever they are outside. Outside of the
    context it is left as it was.

    Args:
        eliminate: Whether systems of equations are solved without a library.
    """
    solutions = {"jax": ELIMINATING_JAX} if eliminate else {}
    with (
        _tracing,
        eliminating() if eliminate else contextlib.nullcontext(),
        _replaced(collision_driver._COLLISION_FUNC, CORRECTED),
        _replaced(solver.__dict__, solutions | {"solve": solve, "_while_loop_scan": search}),
        _replaced(smooth.__dict__, solutions),
        jax.default_matmul_precision("highest"),
        jax.numpy_rank_promotion("allow"),
        jax.numpy_dtype_promotion("standard"),
    ):
        yield


@contextlib.contextmanager
def _replaced(table: dict[Any, Any], entries: dict[Any, Any]) -> Iterator[None]:
    """Put entries in place of those that a table has under their names, for a while."""
    before = {name: table[name] for name in entries}
    table.update(entries)
    try:
        yield
    finally:
        table.update(before)
