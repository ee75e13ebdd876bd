"""Initial states of episodes, drawn as dm_control draws them.

Each function takes a simulation and a key. The distributions are dm_control's; the numbers are
not, since its generator is another one.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import mujoco
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from .simulation import Simulation, SimulationState

_mujoco: Any = mujoco  # compiled, and unknown to pyright


def drawing(simulation: Simulation) -> Callable[[PRNGKeyArray], SimulationState]:
    """Return the function that draws the initial states of a task."""
    domain = next(name for name in _DOMAINS if simulation.task.name.startswith(name))
    return functools.partial(_DOMAINS[domain], simulation)


def _uniform(simulation: Simulation, key: PRNGKeyArray) -> SimulationState:
    """Draw joints within their ranges, any orientations, and no velocities."""
    return simulation.state(_joints(simulation, key))


def _acrobot(simulation: Simulation, key: PRNGKeyArray) -> SimulationState:
    """Draw both angles uniformly, also where the model has limits."""
    qpos0 = _qpos0(simulation)
    return simulation.state(_uniform_angle(key, qpos0.shape, qpos0.dtype))


def _cartpole(simulation: Simulation, key: PRNGKeyArray) -> SimulationState:
    """Draw poles that are upright for balancing, hanging for swinging up, nearly at rest."""
    position_key, velocity_key = jr.split(key)
    qpos0 = _qpos0(simulation)
    if "balance" in simulation.task.name:
        noise = jr.uniform(position_key, qpos0.shape, qpos0.dtype, -1, 1)
        qpos = noise * jnp.full_like(qpos0, 0.034).at[0].set(0.1)
    else:
        noise = jr.normal(position_key, qpos0.shape, qpos0.dtype)
        scale = jnp.full_like(qpos0, 0.1).at[:2].set(0.01)
        qpos = (scale * noise).at[1].add(jnp.pi)
    return simulation.state(qpos, 0.01 * jr.normal(velocity_key, qpos.shape, qpos.dtype))


def _reacher(simulation: Simulation, key: PRNGKeyArray) -> SimulationState:
    """Draw joints uniformly; the target in a ring around the shoulder, denser towards it."""
    joint_key, angle_key, radius_key = jr.split(key, 3)
    qpos = _joints(simulation, joint_key)
    angle = jr.uniform(angle_key, dtype=qpos.dtype, maxval=2 * jnp.pi)
    radius = jr.uniform(radius_key, dtype=qpos.dtype, minval=0.05, maxval=0.2)
    target = radius * jnp.stack([jnp.sin(angle), jnp.cos(angle)])
    return simulation.state(qpos, target=target)


def _cheetah(simulation: Simulation, key: PRNGKeyArray) -> SimulationState:
    """Draw joints uniformly, then simulate two seconds in which it falls and comes to rest.

    The first of these 200 steps is not that of the drawn state: dm_control has not worked it
    out yet, so that its acceleration is that of the model's own posture, the same each time.
    """
    model = simulation.task.model
    limited = np.flatnonzero(model.jnt_limited)
    data = _mujoco.MjData(model)
    _mujoco.mj_step(model, data)
    qpos0 = _qpos0(simulation)
    dtype = qpos0.dtype
    low, high = model.jnt_range[limited].T
    joints = _between(key, low, high, dtype)
    state = simulation.state(
        qpos0.at[limited].set(joints) + jnp.asarray(data.qpos - model.qpos0, dtype),
        jnp.array(data.qvel, dtype),
        qacc_warmstart=jnp.array(data.qacc_warmstart, dtype),
    )
    state, _ = simulation.substeps(state, jnp.zeros(model.nu, dtype), 199)
    return state


def _finger(simulation: Simulation, key: PRNGKeyArray) -> SimulationState:
    """Draw joints such that nothing touches; the target anywhere on the circle of the tip."""
    if simulation.target.size == 0:
        return _touching_nothing(simulation, key)
    model = simulation.task.model
    data = _mujoco.MjData(model)
    _mujoco.mj_forward(model, data)
    hinge = data.xanchor[model.joint("hinge").id, [0, 2]]
    radius = model.geom("cap1").size.sum()
    joint_key, angle_key = jr.split(key)
    qpos = _free_of_contacts(simulation, _joints, joint_key)
    angle = _uniform_angle(angle_key, (), qpos.dtype)
    direction = jnp.stack([jnp.sin(angle), jnp.cos(angle)])
    return simulation.state(qpos, target=jnp.asarray(hinge, qpos.dtype) + radius * direction)


def _fish(simulation: Simulation, key: PRNGKeyArray) -> SimulationState:
    """Draw any orientation, joints nearly straight, and the target in a box around it."""
    orientation_key, joint_key, target_key = jr.split(key, 3)
    qpos = _qpos0(simulation)
    orientation = jr.normal(orientation_key, (4,), qpos.dtype)
    qpos = qpos.at[3:7].set(orientation / jnp.linalg.norm(orientation))
    # After the free joint's position and quaternion.
    qpos = qpos.at[7:].set(jr.uniform(joint_key, qpos[7:].shape, qpos.dtype, -0.2, 0.2))
    if simulation.target.size == 0:
        return simulation.state(qpos)
    low, high = np.array([[-0.4, -0.4, 0.1], [0.4, 0.4, 0.3]])
    fractions = jr.uniform(target_key, (3,), qpos.dtype)
    return simulation.state(qpos, target=(low + fractions * (high - low)).astype(qpos.dtype))


def _quadruped(simulation: Simulation, key: PRNGKeyArray) -> SimulationState:
    """Draw any orientation, at the first height at which nothing touches the floor."""
    orientation = jr.normal(key, (4,), _qpos0(simulation).dtype)
    return simulation.state(lift(simulation, orientation))


def lift(simulation: Simulation, orientation: Float[Array, "4"]) -> Float[Array, " nq"]:
    """Put a quadruped above the origin, at the first height at which it does not touch the floor.

    dm_control looks for it from 0 upwards in steps of a centimetre. The distance from the
    floor grows with the height, so that it need be known only once; limbs do not touch each
    other in the model's own posture.
    """
    orientation = orientation / jnp.linalg.norm(orientation)
    qpos = _qpos0(simulation).at[:3].set(0).at[3:7].set(orientation)
    lowest = jnp.min(simulation.clearance(qpos, planes_only=True))
    # Up to 3 m, where it cannot touch. Summed up as dm_control does, to the last bit.
    heights = jnp.asarray(np.cumsum(np.r_[0.0, np.full(300, 0.01)]), qpos.dtype)
    # A comparison for each height, since rounding may differ from that of a division.
    return qpos.at[2].set(heights[jnp.argmax(heights + lowest >= 0)])


def _ball_in_cup(simulation: Simulation, key: PRNGKeyArray) -> SimulationState:
    """Draw the ball anywhere above, but not in touch with the cup."""
    model = simulation.task.model
    index = np.array([model.joint(name).qposadr[0] for name in ("ball_x", "ball_z")])
    low, high = np.array([-0.2, 0.2]), np.array([0.2, 0.5])

    def draw_ball(simulation, key):
        qpos0 = _qpos0(simulation)
        ball = jr.uniform(key, (2,), qpos0.dtype) * (high - low) + low
        return qpos0.at[index].set(ball.astype(qpos0.dtype))

    return simulation.state(_free_of_contacts(simulation, draw_ball, key))


def _point_mass(simulation: Simulation, key: PRNGKeyArray) -> SimulationState:
    """Draw the mass anywhere; hard: two directions of motors that are not nearly parallel."""
    if simulation.target.size == 0:
        return _uniform(simulation, key)
    joint_key, gain_key = jr.split(key)
    qpos = _joints(simulation, joint_key)

    def draw_gains(key):
        gains = jr.normal(key, (2, 2), qpos.dtype)
        return gains / jnp.linalg.norm(gains, axis=1, keepdims=True)

    def are_apart(gains):
        return abs(jnp.vecdot(gains[0], gains[1])) <= 0.9

    # dm_control draws the second direction again until it is apart from the first. The
    # chance of that does not depend on the first, so both may be drawn again.
    return simulation.state(qpos, target=_draw_until(draw_gains, are_apart, gain_key).ravel())


def _swimmer(simulation: Simulation, key: PRNGKeyArray) -> SimulationState:
    """Draw joints uniformly; the target in a square, one time in five in a smaller one."""
    joint_key, choice_key, target_key = jr.split(key, 3)
    qpos = _joints(simulation, joint_key)
    half = jnp.where(jr.bernoulli(choice_key, 0.2), 0.3, 2.0).astype(qpos.dtype)
    target = half * jr.uniform(target_key, (2,), qpos.dtype, -1, 1)
    return simulation.state(qpos, target=target)


def _touching_nothing(simulation: Simulation, key: PRNGKeyArray) -> SimulationState:
    """Draw joints uniformly such that nothing touches."""
    return simulation.state(_free_of_contacts(simulation, _joints, key))


def _joints(simulation: Simulation, key: PRNGKeyArray) -> Float[Array, " nq"]:
    """Draw limited joints in their ranges, and all else uniformly.

    A free joint keeps its position. Its quaternion is drawn from positive numbers, as in
    dm_control, and so is not uniform.
    """
    model, types = simulation.task.model, _mujoco.mjtJoint
    free = np.flatnonzero(model.jnt_type == types.mjJNT_FREE.value)
    limited = np.flatnonzero(model.jnt_limited)
    turning = np.flatnonzero((model.jnt_type == types.mjJNT_HINGE.value) & (model.jnt_limited == 0))
    joints = np.r_[limited, turning]
    low = np.r_[model.jnt_range[limited, 0], np.full(turning.size, -np.pi)]
    high = np.r_[model.jnt_range[limited, 1], np.full(turning.size, np.pi)]
    angle_key, quaternion_key = jr.split(key)
    qpos = _qpos0(simulation)
    values = _between(angle_key, low, high, qpos.dtype)
    qpos = qpos.at[model.jnt_qposadr[joints]].set(values)
    for joint in free:
        quaternion = jr.uniform(quaternion_key, (4,), qpos.dtype)
        begin = int(model.jnt_qposadr[joint]) + 3
        qpos = qpos.at[begin : begin + 4].set(quaternion / jnp.linalg.norm(quaternion))
    return qpos


def _free_of_contacts(
    simulation: Simulation, draw: Callable[[Simulation, PRNGKeyArray], Array], key: PRNGKeyArray
) -> Float[Array, " nq"]:
    """Draw positions, by a function like `_joints`, until nothing touches."""

    def touches_nothing(qpos):
        return jnp.all(simulation.clearance(qpos) >= 0)

    return _draw_until(functools.partial(draw, simulation), touches_nothing, key)


def _draw_until(
    draw: Callable[[PRNGKeyArray], Array],
    accept: Callable[[Array], Bool[Array, ""]],
    key: PRNGKeyArray,
) -> Array:
    """Return the first draw that is accepted."""

    def draw_again(carry):
        key, _ = carry
        key, draw_key = jr.split(key)
        return key, draw(draw_key)

    first = draw_again((key, None))
    _, drawn = jax.lax.while_loop(lambda carry: ~accept(carry[1]), draw_again, first)
    return drawn


def _uniform_angle(key: PRNGKeyArray, shape: tuple[int, ...], dtype: Any) -> Array:
    return jr.uniform(key, shape, dtype, -jnp.pi, jnp.pi)


def _between(key: PRNGKeyArray, low: np.ndarray, high: np.ndarray, dtype: Any) -> Array:
    return jr.uniform(key, low.shape, dtype, jnp.asarray(low, dtype), jnp.asarray(high, dtype))


def _qpos0(simulation: Simulation) -> Float[Array, " nq"]:
    return jnp.asarray(simulation.task.model.qpos0)


_DOMAINS: dict[str, Callable[[Simulation, PRNGKeyArray], SimulationState]] = {
    "acrobot": _acrobot,
    "ball_in_cup": _ball_in_cup,
    "cartpole": _cartpole,
    "cheetah": _cheetah,
    "finger": _finger,
    "fish": _fish,
    "hopper": _uniform,
    "humanoid": _touching_nothing,
    "pendulum": _acrobot,
    "point_mass": _point_mass,
    "quadruped": _quadruped,
    "reacher": _reacher,
    "swimmer": _swimmer,
    "walker": _uniform,
}
