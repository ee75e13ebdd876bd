"""Pictures of episodes that MJX has simulated."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from dmc_targets import read_target

from gpld.envs.dmc.drawing import Drawing, Repetition
from gpld.envs.dmc.env import DMControl
from gpld.envs.mjx import MJXEnv
from gpld.envs.mjx.recording import playback
from gpld.evaluation.video import play_video

SEED, REPEAT, NUM_STEPS = 3, 2, 12


@pytest.mark.slow
@pytest.mark.parametrize(
    "task",
    ["reacher_easy", "point_mass_hard", pytest.param("fish_swim", marks=pytest.mark.exhaustive)],
)
def test_pictures_equal_dm_control(gl, task):
    """The same start and actions; what the task has drawn into the model included."""
    env, dmc = MJXEnv(task, action_repeat=REPEAT), DMControl(task, action_repeat=REPEAT, seed=SEED)
    dmc.reset()
    physics = dmc._env.physics
    target = jnp.asarray(read_target(env.simulation.target, physics.model.ptr), jnp.float32)
    qpos = jnp.asarray(physics.data.qpos, jnp.float32)
    states = [env.begin(env.simulation.state(qpos, target=target))]
    action = np.resize(np.array([1, -0.5], np.float32), env.spec.action_size)
    actions = np.tile(action, (NUM_STEPS, 1))
    step = jax.jit(env.step)
    for action in actions:
        states.append(step(states[-1], action))
    simulated = jax.tree.map(lambda *x: np.stack(x), *[state.simulation for state in states])
    with Drawing(playback(env, simulated)._replace(height=120, width=160)) as drawing:
        mine = np.stack(list(drawing))
    with Drawing(Repetition(task, SEED, REPEAT, actions, 0, 120, 160)) as drawing:
        theirs = np.stack(list(drawing))
    # An edge may be on the other side of a pixel's centre.
    assert mine.shape == theirs.shape == (NUM_STEPS + 1, 120, 160, 3)
    assert np.mean(np.any(abs(mine.astype(int) - theirs) > 2, axis=-1)) < 1e-4
    assert np.mean(np.any(abs(mine[-1].astype(int) - mine[0]) > 2, axis=-1)) > 1e-3


@pytest.mark.slow
def test_an_episode_becomes_a_video(gl, tmp_path):
    env = MJXEnv("pendulum_swingup", action_repeat=100)
    reset, step = jax.jit(env.reset), jax.jit(env.step)
    states = [reset(jr.key(0))]
    while not states[-1].timestep.is_last:
        states.append(step(states[-1], jnp.ones(1)))
    simulated = jax.tree.map(lambda *x: np.stack(x), *[state.simulation for state in states])
    score = float(sum(state.timestep.reward for state in states))
    picture = playback(env, simulated, score=score)._replace(height=48, width=64)
    video = play_video(tmp_path / "episode.mp4", picture)
    assert (video.frames, video.score) == (11, score)
    assert (tmp_path / "episode.mp4").stat().st_size > 0
