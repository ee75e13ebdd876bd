"""The refined solver of constraints against MuJoCo's; MJX's own is shown to stop early still.

How much it matters where it matters most is seen in the parity of finger_spin.
"""

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from mujoco import mjx
from mujoco.mjx._src import solver as original

from gpld.envs.mjx.simulation import faithful
from gpld.envs.mjx.solver import search

NUM_STATES = 300


@pytest.mark.slow
def test_accelerations_are_nearer_to_mujoco():
    """A pendulum that hits a ball, in float32; errors are relative to MuJoCo's accelerations."""
    model = mujoco.MjModel.from_xml_string(
        """<mujoco>
          <option timestep="0.01" cone="elliptic" gravity="0 0 0"/>
          <worldbody>
            <body>
              <joint axis="0 1 0"/><geom type="capsule" fromto="0 0 0 0 0 .2" size=".02"/>
            </body>
            <body pos="0 0 .25">
              <joint type="slide" axis="1 0 0"/><joint type="slide" axis="0 0 1"/>
              <geom size=".05"/>
            </body>
          </worldbody>
        </mujoco>"""
    )
    rng, data, rows = np.random.default_rng(0), mujoco.MjData(model), []
    model.opt.tolerance = 0
    while len(rows) < NUM_STATES:
        data.qpos[:] = np.float32(rng.normal(size=3) * (0.3, 0.05, 0.05))
        data.qvel[:] = np.float32(rng.normal(size=3) * (10, 1, 1))
        data.qacc_warmstart[:] = 0
        mujoco.mj_forward(model, data)
        if data.ncon and data.contact[0].dist > -0.01 and abs(data.qacc).max() > 1:
            rows.append((data.qpos.copy(), data.qvel.copy(), data.qacc.copy()))
    qpos, qvel, expected = (np.stack(column) for column in zip(*rows, strict=True))
    model.opt.tolerance = 1e-8
    mjx_model, blank = mjx.put_model(model), mjx.make_data(model)
    stops_early = original.solve

    def accelerations(state):
        with faithful():
            refined = mjx.forward(mjx_model, blank.replace(qpos=state[0], qvel=state[1]))
            return refined.qacc, stops_early(mjx_model, refined).qacc

    state = jnp.float32(qpos), jnp.float32(qvel)
    scale = abs(expected).max(axis=1)
    refined, stopped = (
        abs(qacc - expected).max(axis=1) / scale
        for qacc in jax.jit(lambda x: jax.lax.map(accelerations, x))(state)
    )
    # A third of it, in 300 states. Where errors are large, constraints amplify those of positions.
    assert np.median(refined) < np.median(stopped) / 2
    assert np.mean(refined) < np.mean(stopped)


def test_a_search_that_ends_has_the_numbers_of_one_that_takes_all_steps():
    """Starts end after other numbers of steps: one at once, one at the limit."""

    def goes_on(x):
        return (x[0] > 1) & (x[1] < 50)

    def step(x):
        return 0.7 * x[0] + 1e-3 * jnp.sin(x[0]), x[1] + 1

    starts = (jnp.array([0.5, 3.0, 40.0, 1e9]), jnp.zeros(4, int))
    theirs, ours = (
        jax.jit(jax.vmap(lambda x, function=function: function(goes_on, step, x, 50)))(starts)
        for function in (original._while_loop_scan, search)
    )
    np.testing.assert_array_equal(ours[0], theirs[0])
    assert ours[1].tolist() == theirs[1].tolist() == [0, 4, 11, 50]
