"""Observations that are pictures, of real tasks; skipped where no OpenGL library draws."""

import itertools

import numpy as np
import pytest

from gpld.envs import ArraySpec, make_env, make_vector_env
from gpld.envs.dmc.env import DMControl

UINT8 = np.dtype(np.uint8)


def moved(env, num_steps=2):
    """Time steps of an episode under changing actions."""
    rng = np.random.default_rng(0)
    steps = [env.reset()]
    for _ in range(num_steps):
        steps.append(env.step(rng.uniform(-1, 1, env.spec.action_size).astype(np.float32)))
    return steps


@pytest.mark.parametrize(
    ("task", "camera"),
    [("walker_walk", 0), ("quadruped_run", 2), ("cartpole_swingup", 0), ("finger_spin", 0)],
)
def test_pictures_are_those_of_the_domain_s_camera(gl, task, camera):
    env = make_env(task, seed=3, action_repeat=2, observations="pixels")
    assert env.spec.observation == {"image": ArraySpec((64, 64, 3), UINT8)}
    images = [step.observation["image"] for step in moved(env)]
    for image, following in itertools.pairwise(images):
        assert (image.shape, image.dtype) == ((64, 64, 3), UINT8)
        assert np.any(image != following)
    physics = env._env.physics
    np.testing.assert_array_equal(images[-1], physics.render(64, 64, camera_id=camera))
    other = 1 if camera == 0 else 0
    assert np.any(images[-1] != physics.render(64, 64, camera_id=other))
    env.close()


def test_pictures_do_not_change_the_task(gl):
    vectors = DMControl("walker_walk", seed=5)
    both = make_env("walker_walk", seed=5, action_repeat=2, observations="both", image_size=32)
    assert list(both.spec.observation) == ["height", "image", "orientations", "velocity"]
    assert both.spec.observation["image"].shape == (32, 32, 3)
    for plain, mixed in zip(moved(vectors), moved(both), strict=True):
        seen = dict(mixed.observation)
        assert seen.pop("image").shape == (32, 32, 3)
        np.testing.assert_equal(seen, plain.observation)
        assert mixed.reward == plain.reward
    both.close()


@pytest.mark.slow
def test_workers_draw_what_this_process_draws(gl):
    def images(workers):
        with make_vector_env(
            "cartpole_balance", num_envs=2, seed=1, observations="pixels", workers=workers
        ) as envs:
            action = np.ones((2, 1), np.float32)
            return [envs.step(action).observation["image"] for _ in range(3)]

    here, there = images(0), images(2)
    np.testing.assert_array_equal(here, there)
    assert np.any(here[0][0] != here[0][1])
