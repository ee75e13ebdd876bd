"""Updates on the host: when latent states go back to replay, and what skipped ones do."""

import dataclasses

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from helpers import ACTION_SIZE, CONFIG as TINY, SHAPES
from seed_runs import seed_run

from gpld import agent
from gpld.config import OptimizerConfig
from gpld.envs import ArraySpec, EnvSpec
from gpld.models import StoredLatent
from gpld.parallel.seeds import SeedAxis
from gpld.runs.clock import Clock
from gpld.training.experience import make_replay
from gpld.training.host.trainer import HostTrainer
from gpld.training.seed_run import Failure

CONFIG = dataclasses.replace(TINY, env_steps=1000, optimizer=OptimizerConfig(max_skips=2))
SPEC = EnvSpec(
    {name: ArraySpec(shape, np.dtype(np.float32)) for name, shape in SHAPES.items()},
    action_size=ACTION_SIZE,
    action_repeat=1,
    episode_steps=100,
)


@pytest.fixture(scope="module")
def state():
    return eqx.filter_jit(agent.init)(CONFIG, SHAPES, ACTION_SIZE, key=jr.key(0))


def filled_replay():
    replay = make_replay(CONFIG, SPEC, None)
    arrays = replay.ring.arrays.items()
    for _ in range(40):
        replay.add({name: np.zeros((len(x), *x.shape[2:]), x.dtype) for name, x in arrays})
    return replay


def latents_in(run):
    """Numbers of the updates whose latent states are in replay."""
    return set(np.unique(run.replay.ring.arrays["latent/deter"][:, :40]).tolist()) - {0.0}


class Updates:
    """Updates whose latent states are their number; some are skipped, by seed."""

    def __init__(self, *skipped):
        self._skipped, self.made = skipped, 0

    def __call__(self, state, batch, key):
        self.made += 1
        shape = batch.reward.shape[-2:]
        latents = StoredLatent(
            jnp.full((*shape, CONFIG.model.deter), float(self.made)),
            jnp.zeros((*shape, CONFIG.model.stoch), jnp.uint8),
        )
        skips = [jnp.float32(self.made in own) for own in self._skipped]
        return state, [latents] * len(skips), [{"opt/skipped": skip} for skip in skips]


def make_trainer(tmp_path, state, *skipped):
    runs = [
        seed_run(tmp_path / f"seed{i}", CONFIG, replay=filled_replay()) for i in range(len(skipped))
    ]
    seeds = SeedAxis(len(runs))
    keys = list(jr.split(jr.key(1), len(runs)))
    stacked = seeds.stack([state] * len(runs))
    trainer = HostTrainer(seeds, runs, stacked, SPEC, Updates(*skipped), None, keys=keys)
    trainer.clock = Clock(40, 0)
    return runs, trainer


def test_latent_states_are_written_back_during_the_next_update(tmp_path, state):
    [run], trainer = make_trainer(tmp_path, state, ())
    trainer.update()
    assert trainer.clock == Clock(40, 1)
    assert latents_in(run) == set()
    trainer.update()
    assert latents_in(run) == {1.0}


def test_a_skipped_update_writes_nothing_and_the_next_is_waited_for(tmp_path, state):
    [run], trainer = make_trainer(tmp_path, state, {1})
    trainer.update()
    assert trainer.get_state(0)["learner"]["skipped"] == 1.0
    assert run.recorder.skipped == 0  # it is noticed one update late
    trainer.update()
    assert latents_in(run) == {2.0}
    assert run.recorder.skipped == 1
    assert trainer.get_state(0)["learner"]["skips_in_a_row"] == 0


def test_what_is_left_to_do_goes_on_where_the_state_is_set(tmp_path, state):
    [run], trainer = make_trainer(tmp_path, state, ())
    trainer.update()
    other = HostTrainer(SeedAxis(), [run], state, SPEC, Updates(()), None, keys=[jr.key(1)])
    assert other.batch is None
    other.set_states(trainer.clock, [trainer.get_state(0)])
    assert other.batch is not None
    other.update()
    assert latents_in(run) == {1.0}


def test_the_seed_that_does_not_learn_is_named_and_the_others_stay_whole(tmp_path, state):
    [first, second], trainer = make_trainer(tmp_path, state, (), {2, 3})
    for _ in range(2):
        trainer.update()
    with pytest.raises(Failure, match=r"^seed1: Loss or gradient .* 2 updates in a row") as failure:
        trainer.update()
    assert failure.value.run is second
    assert latents_in(first) == {1.0, 2.0}
    assert (second.folder.path / "faults").is_dir()
    assert not (first.folder.path / "faults").exists()
