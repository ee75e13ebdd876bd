"""The collector by itself: what it sends, stores and records, and what failures leave."""

import dataclasses

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from helpers import CONFIG as TINY, build
from seed_runs import seed_run

from gpld.envs import make_vector_env
from gpld.models import Dreamer, Forms, StoredLatent
from gpld.parallel.seeds import SeedAxis
from gpld.runs.clock import Clock
from gpld.training.experience import make_replay
from gpld.training.host.collector import Collector
from gpld.training.seed_run import Failure

NUM_ENVS = 2
CONFIG = dataclasses.replace(
    TINY,
    task="probe_delayed",
    env_steps=100,
    env=dataclasses.replace(TINY.env, num_envs=NUM_ENVS, action_repeat=1, workers=0),
)


class Policy:
    """Acts with the number of the call in all dimensions; later calls may not be finite."""

    def __init__(self, *bad):
        self.calls, self._bad = 0, bad

    def __call__(self, model, policy_state, step, env_step, key):
        self.calls += 1
        size = 1 if not self._bad else len(self._bad)
        model = CONFIG.model
        latents = StoredLatent(
            np.zeros((NUM_ENVS, model.deter), np.float32),
            np.zeros((NUM_ENVS, model.stoch), np.uint8),
        )
        shape = policy_state.action.shape
        action = np.full(shape, self.calls / 100, np.float32)
        for i, at in enumerate(self._bad):
            if self.calls == at:
                action[i] = np.nan
        return policy_state._replace(action=jnp.asarray(action)), [latents] * size


def make_collector(tmp_path, policy, num_runs=1):
    options = {"num_envs": NUM_ENVS, "seed": 0, "action_repeat": 1}
    envs = [make_vector_env(CONFIG.task, **options) for _ in range(num_runs)]
    spec = envs[0].spec
    runs = [
        seed_run(tmp_path / f"seed{i}", CONFIG, replay=make_replay(CONFIG, spec, None))
        for i in range(num_runs)
    ]
    seeds = SeedAxis(num_runs)
    shapes = {name: array.shape for name, array in spec.observation.items()}
    model = build(
        Dreamer,
        CONFIG.model,
        shapes,
        spec.action_size,
        dtype=jnp.dtype("float32"),
        forms=Forms("separate"),
    )
    model = seeds.stack([model] * num_runs)
    keys = list(jr.split(jr.key(0), num_runs))
    return envs, runs, model, Collector(seeds, runs, envs, policy, model, keys=keys)


def test_the_first_step_resets_and_every_step_is_stored_with_the_action_that_answers_it(tmp_path):
    [envs], [run], model, collector = make_collector(tmp_path, Policy())
    assert not envs.pending
    clock = collector.collect(model, Clock())
    assert clock == Clock(NUM_ENVS, 0)
    clock = collector.collect(model, clock)
    arrays = run.replay.ring.arrays
    np.testing.assert_array_equal(arrays["is_first"][:, :2], [[True, False]] * NUM_ENVS)
    np.testing.assert_allclose(arrays["action"][0, :2, 0], [0.01, 0.02])
    assert envs.pending  # the environments step meanwhile
    envs.close()


def test_an_action_that_is_not_finite_leaves_replay_and_clock(tmp_path):
    envs, runs, model, collector = make_collector(tmp_path, Policy(99, 2), num_runs=2)
    clock = collector.collect(model, Clock())
    with pytest.raises(Failure, match=r"^seed1: The policy.s action is not finite") as failure:
        collector.collect(model, clock)
    assert failure.value.run is runs[1]
    assert [run.replay.num_added for run in runs] == [1, 1]
    assert all(one.pending for one in envs)  # nothing that was received is lost
    for one in envs:
        one.close()


def test_a_state_set_elsewhere_goes_on_alike(tmp_path):
    [envs], [run], model, collector = make_collector(tmp_path, Policy())
    clock = Clock()
    for _ in range(3):
        clock = collector.collect(model, clock)
    saved = collector.get_state(0)
    (tmp_path / "other").mkdir()
    [other_envs], [other], _, again = make_collector(tmp_path / "other", Policy())
    again.set_states([saved])
    again._act.calls = collector._act.calls
    for one in (collector, again):
        one.collect(model, clock)
    name = next(iter(envs.spec.observation))
    np.testing.assert_array_equal(
        run.replay.ring.arrays[name][:, 3], other.replay.ring.arrays[name][:, 0]
    )
    for one in (envs, other_envs):
        one.close()
