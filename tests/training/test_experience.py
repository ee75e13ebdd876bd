"""Env steps on their way through replay to batches."""

import dataclasses

import numpy as np
from helpers import CONFIG, DISCRETE_SHAPES, NUM_ACTIONS, NUM_CLASSES

from gpld.envs import ArraySpec, EnvSpec, TimeStep
from gpld.models import StoredLatent
from gpld.training.experience import make_replay, sample, to_batch, to_steps

NUM_ENVS = 2
SPEC = EnvSpec(
    {
        name: ArraySpec(
            shape, np.dtype("int32" if name in NUM_CLASSES else "float32"), NUM_CLASSES.get(name)
        )
        for name, shape in sorted(DISCRETE_SHAPES.items())
    },
    action_size=NUM_ACTIONS,
    action_repeat=1,
    episode_steps=100,
    discrete=True,
)


def test_numbers_of_actions_and_classes_stay_integers():
    rng, model = np.random.default_rng(0), CONFIG.model
    env = dataclasses.replace(CONFIG.env, num_envs=NUM_ENVS)
    replay = make_replay(dataclasses.replace(CONFIG, env=env, env_steps=40), SPEC, None)
    latent = StoredLatent(
        np.zeros((NUM_ENVS, model.deter), np.float32), np.zeros((NUM_ENVS, model.stoch), np.uint8)
    )
    flag, actions, kinds = np.zeros(NUM_ENVS, bool), [], []
    for _ in range(12):
        observation = {
            name: rng.integers(array.num_classes or 9, size=(NUM_ENVS, *array.shape)).astype(
                array.dtype
            )
            for name, array in SPEC.observation.items()
        }
        actions.append(rng.integers(NUM_ACTIONS, size=NUM_ENVS).astype(np.int32))
        kinds.append(observation["kind"])
        step = TimeStep(observation, np.zeros(NUM_ENVS, np.float32), flag, flag, flag)
        replay.add(to_steps(step, actions[-1], latent))
    stored = replay.ring.arrays["action"]
    assert stored.dtype == np.int32
    np.testing.assert_array_equal(stored[:, :12], np.stack(actions, axis=1))
    batch = to_batch(sample(replay, 3).steps, SPEC)
    shape = (3, CONFIG.replay.batch_length)
    assert (batch.prev_action.shape, batch.prev_action.dtype) == (shape, np.int32)
    for name, array in SPEC.observation.items():
        assert batch.observation[name].dtype == array.dtype
    # Each row is a window of one environment: its actions came one step before its classes.
    windows = {
        (
            *(a[e] for a in actions[t : t + shape[1]]),
            *(k[e] for k in kinds[t + 1 : t + 1 + shape[1]]),
        )
        for e in range(NUM_ENVS)
        for t in range(12 - shape[1])
    }
    for previous, kind in zip(batch.prev_action, batch.observation["kind"], strict=True):
        assert (*previous, *kind) in windows
