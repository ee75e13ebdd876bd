"""Initial states of episodes, drawn as dm_control draws them.

Each function takes a simulation and returns what draws a state from a key. The distributions
are dm_control's; the numbers are not, since its generator is another one.
"""

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

Draw = Callable[[PRNGKeyArray], SimulationState]

_MAX_HEIGHT = 3.0  # metres, at which a quadruped cannot touch the floor


def drawing(simulation: Simulation) -> Draw:
    """Return the function that draws the initial states of a task."""
    domain = next(name for name in _DOMAINS if simulation.task.name.startswith(name))
    return _DOMAINS[domain](simulation)


def _uniform(simulation: Simulation) -> Draw:
    """Draw joints within their ranges, any orientations, and no velocities."""
    draw_joints = _joints(simulation)
    return lambda key: simulation.state(draw_joints(key))


def _acrobot(simulation: Simulation) -> Draw:
    """Draw both angles uniformly, also where the model has limits."""
    qpos0 = _qpos0(simulation)

    def draw(key):
        return simulation.state(_uniform_angle(key, qpos0.shape, qpos0.dtype))

    return draw


def _cartpole(simulation: Simulation) -> Draw:
    """Draw poles that are upright for balancing, hanging for swinging up, nearly at rest."""
    swings_up = "balance" not in simulation.task.name
    qpos0 = _qpos0(simulation)

    def draw(key):
        position_key, velocity_key = jr.split(key)
        if swings_up:
            noise = jr.normal(position_key, qpos0.shape, qpos0.dtype)
            scale = jnp.full_like(qpos0, 0.1).at[:2].set(0.01)
            qpos = (scale * noise).at[1].add(jnp.pi)
        else:
            noise = jr.uniform(position_key, qpos0.shape, qpos0.dtype, -1, 1)
            qpos = noise * jnp.full_like(qpos0, 0.034).at[0].set(0.1)
        return simulation.state(qpos, 0.01 * jr.normal(velocity_key, qpos.shape, qpos.dtype))

    return draw


def _reacher(simulation: Simulation) -> Draw:
    """Draw joints uniformly; the target in a ring around the shoulder, denser towards it."""
    draw_joints = _joints(simulation)

    def draw(key):
        joint_key, angle_key, radius_key = jr.split(key, 3)
        qpos = draw_joints(joint_key)
        angle = jr.uniform(angle_key, dtype=qpos.dtype, maxval=2 * jnp.pi)
        radius = jr.uniform(radius_key, dtype=qpos.dtype, minval=0.05, maxval=0.2)
        target = radius * jnp.stack([jnp.sin(angle), jnp.cos(angle)])
        return simulation.state(qpos, target=target)

    return draw


def _cheetah(simulation: Simulation) -> Draw:
    """Draw joints uniformly, then simulate two seconds in which it falls and comes to rest.

    The first of these 200 steps is not that of the drawn state: dm_control has not worked it
    out yet, so that its acceleration is that of the model's own posture, the same each time.
    """
    model = simulation.task.model
    limited = np.flatnonzero(model.jnt_limited)
    low, high = model.jnt_range[limited].T
    data = _mujoco.MjData(model)
    _mujoco.mj_step(model, data)
    first_step = data.qpos - model.qpos0
    velocity, warmstart = data.qvel.copy(), data.qacc_warmstart.copy()

    def draw(key):
        qpos0 = _qpos0(simulation)
        dtype = qpos0.dtype
        joints = jr.uniform(
            key, low.shape, dtype, jnp.asarray(low, dtype), jnp.asarray(high, dtype)
        )
        state = simulation.state(
            qpos0.at[limited].set(joints) + jnp.asarray(first_step, dtype),
            jnp.asarray(velocity, dtype),
            qacc_warmstart=jnp.asarray(warmstart, dtype),
        )
        state, _ = simulation.substeps(state, jnp.zeros(model.nu, dtype), 199)
        return state

    return draw


def _finger(simulation: Simulation) -> Draw:
    """Draw joints such that nothing touches; the target anywhere on the circle of the tip."""
    draw_joints = _free_of_contacts(simulation, _joints(simulation))
    if simulation.target.size == 0:
        return lambda key: simulation.state(draw_joints(key))
    model = simulation.task.model
    data = _mujoco.MjData(model)
    _mujoco.mj_forward(model, data)
    hinge = data.xanchor[model.joint("hinge").id, [0, 2]]
    radius = model.geom("cap1").size.sum()

    def draw(key):
        joint_key, angle_key = jr.split(key)
        qpos = draw_joints(joint_key)
        angle = _uniform_angle(angle_key, (), qpos.dtype)
        direction = jnp.stack([jnp.sin(angle), jnp.cos(angle)])
        return simulation.state(qpos, target=jnp.asarray(hinge, qpos.dtype) + radius * direction)

    return draw


def _fish(simulation: Simulation) -> Draw:
    """Draw any orientation, joints nearly straight, and the target in a box around it."""
    model = simulation.task.model
    joints = model.jnt_qposadr[model.jnt_type == _mujoco.mjtJoint.mjJNT_HINGE.value]
    low, high = np.array([[-0.4, -0.4, 0.1], [0.4, 0.4, 0.3]])

    def draw(key):
        orientation_key, joint_key, target_key = jr.split(key, 3)
        qpos = _qpos0(simulation)
        orientation = jr.normal(orientation_key, (4,), qpos.dtype)
        qpos = qpos.at[3:7].set(orientation / jnp.linalg.norm(orientation))
        qpos = qpos.at[joints].set(jr.uniform(joint_key, joints.shape, qpos.dtype, -0.2, 0.2))
        if simulation.target.size == 0:
            return simulation.state(qpos)
        fractions = jr.uniform(target_key, (3,), qpos.dtype)
        return simulation.state(qpos, target=(low + fractions * (high - low)).astype(qpos.dtype))

    return draw


def _quadruped(simulation: Simulation) -> Draw:
    """Draw any orientation, at the first height at which nothing touches the floor.

    dm_control looks for it from 0 upwards in steps of a centimetre. The distance from the
    floor grows with the height, so that it need be known only once; limbs do not touch each
    other in the model's own posture.
    """
    # Summed up as dm_control does, to the last bit.
    heights = np.cumsum(np.r_[0.0, np.full(round(_MAX_HEIGHT / 0.01), 0.01)])

    def draw(key):
        qpos = _qpos0(simulation)
        orientation = jr.normal(key, (4,), qpos.dtype)
        return simulation.state(lift(simulation, qpos, orientation, heights))

    return draw


def lift(
    simulation: Simulation, qpos: Array, orientation: Array, heights: np.ndarray
) -> Float[Array, " nq"]:
    """Put a free body with an orientation above the origin, at the first of some heights."""
    orientation = orientation / jnp.linalg.norm(orientation)
    qpos = qpos.at[:3].set(0).at[3:7].set(orientation)
    lowest = jnp.min(simulation.clearance(qpos, planes_only=True))
    # A comparison for each height, since rounding may differ from that of a division.
    first = jnp.argmax(jnp.asarray(heights, qpos.dtype) + lowest >= 0)
    return qpos.at[2].set(jnp.asarray(heights, qpos.dtype)[first])


def _ball_in_cup(simulation: Simulation) -> Draw:
    """Draw the ball anywhere above, but not in touch with the cup."""
    model = simulation.task.model
    index = [model.joint(name).qposadr[0] for name in ("ball_x", "ball_z")]
    low, high = np.array([-0.2, 0.2]), np.array([0.2, 0.5])

    def draw_ball(key):
        qpos0 = _qpos0(simulation)
        ball = jr.uniform(key, (2,), qpos0.dtype) * (high - low) + low
        return qpos0.at[np.array(index)].set(ball.astype(qpos0.dtype))

    draw_qpos = _free_of_contacts(simulation, draw_ball)
    return lambda key: simulation.state(draw_qpos(key))


def _point_mass(simulation: Simulation) -> Draw:
    """Draw the mass anywhere; hard: two directions of motors that are not nearly parallel."""
    draw_joints = _joints(simulation)
    if simulation.target.size == 0:
        return lambda key: simulation.state(draw_joints(key))

    def draw(key):
        joint_key, gain_key = jr.split(key)
        qpos = draw_joints(joint_key)

        def draw_gains(key):
            gains = jr.normal(key, (2, 2), qpos.dtype)
            return gains / jnp.linalg.norm(gains, axis=1, keepdims=True)

        def are_apart(gains):
            return abs(jnp.vecdot(gains[0], gains[1])) <= 0.9

        # dm_control draws the second direction again until it is apart from the first. The
        # chance of that does not depend on the first, so both may be drawn again.
        gains = _draw_until(draw_gains, are_apart, gain_key)
        return simulation.state(qpos, target=gains.ravel())

    return draw


def _swimmer(simulation: Simulation) -> Draw:
    """Draw joints uniformly; the target in a square, one time in five in a smaller one."""
    draw_joints = _joints(simulation)

    def draw(key):
        joint_key, choice_key, target_key = jr.split(key, 3)
        qpos = draw_joints(joint_key)
        half = jnp.where(jr.bernoulli(choice_key, 0.2), 0.3, 2.0).astype(qpos.dtype)
        target = half * jr.uniform(target_key, (2,), qpos.dtype, -1, 1)
        return simulation.state(qpos, target=target)

    return draw


def _humanoid(simulation: Simulation) -> Draw:
    """Draw joints uniformly such that nothing touches."""
    draw_joints = _free_of_contacts(simulation, _joints(simulation))
    return lambda key: simulation.state(draw_joints(key))


def _joints(simulation: Simulation) -> Callable[[PRNGKeyArray], Float[Array, " nq"]]:
    """Return a function that draws limited joints in their ranges, and all else uniformly.

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

    def draw(key):
        angle_key, quaternion_key = jr.split(key)
        qpos = _qpos0(simulation)
        values = jr.uniform(
            angle_key,
            joints.shape,
            qpos.dtype,
            jnp.asarray(low, qpos.dtype),
            jnp.asarray(high, qpos.dtype),
        )
        qpos = qpos.at[model.jnt_qposadr[joints]].set(values)
        for joint in free:
            quaternion = jr.uniform(quaternion_key, (4,), qpos.dtype)
            begin = int(model.jnt_qposadr[joint]) + 3
            qpos = qpos.at[begin : begin + 4].set(quaternion / jnp.linalg.norm(quaternion))
        return qpos

    return draw


def _free_of_contacts(
    simulation: Simulation, draw: Callable[[PRNGKeyArray], Float[Array, " nq"]]
) -> Callable[[PRNGKeyArray], Float[Array, " nq"]]:
    """Return a function that draws until nothing touches."""

    def touches_nothing(qpos):
        return jnp.all(simulation.clearance(qpos) >= 0)

    return lambda key: _draw_until(draw, touches_nothing, key)


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


def _qpos0(simulation: Simulation) -> Float[Array, " nq"]:
    return jnp.asarray(simulation.task.model.qpos0)


_DOMAINS: dict[str, Callable[[Simulation], Draw]] = {
    "acrobot": _acrobot,
    "ball_in_cup": _ball_in_cup,
    "cartpole": _cartpole,
    "cheetah": _cheetah,
    "finger": _finger,
    "fish": _fish,
    "hopper": _uniform,
    "humanoid": _humanoid,
    "pendulum": _acrobot,
    "point_mass": _point_mass,
    "quadruped": _quadruped,
    "reacher": _reacher,
    "swimmer": _swimmer,
    "walker": _uniform,
}
