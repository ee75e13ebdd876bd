"""The loop's own promises: one compilation, seeds that mean something, memory as predicted."""

import contextlib
import dataclasses
import gc
import json

import jax
import numpy as np
import pytest

from gpld import agent
from gpld.config.presets import PRESETS
from gpld.envs import make_vector_env
from gpld.parallel.hosts import Processes
from gpld.parallel.seeds import SeedAxis
from gpld.training import experience, memory_estimate, train as module
from gpld.training.programs import make_programs
from gpld.training.train import train


@pytest.fixture
def config():
    probe = PRESETS["debug"]
    return dataclasses.replace(
        probe,
        task="probe_delayed",
        env_steps=100,
        env=dataclasses.replace(probe.env, action_repeat=1),
        log=dataclasses.replace(probe.log, report_every=60),
    )


def _metrics(folder):
    """Metric lines without the timings."""
    lines = [json.loads(line) for line in (folder.path / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if not k.startswith("time/")} for line in lines]


@pytest.mark.slow
def test_same_seed_same_run_and_another_seed_another(config, tmp_path):
    first = train(config, tmp_path / "a")
    again = train(config, tmp_path / "b")
    other = train(dataclasses.replace(config, seed=1), tmp_path / "c")
    assert _metrics(first) == _metrics(again)
    assert first.read("scores") == again.read("scores")
    assert _metrics(first)[-1] != _metrics(other)[-1]
    reported = [{k for k in line if k.startswith("train/smooth/")} for line in _metrics(first)]
    # At env step 60, and so in the line of env step 100 and in no other.
    assert [len(names) for names in reported] == [0, 7]


@pytest.mark.slow
def test_a_second_compilation_is_an_error(config):
    with make_vector_env(config.task, num_envs=2, seed=0) as envs:
        shapes = {k: s.shape for k, s in envs.spec.observation.items()}
        state = agent.init(config, shapes, envs.spec.action_size, key=jax.random.key(0))
        act, *_ = make_programs(config, SeedAxis())
        step = envs.step(np.zeros((2, 1), np.float32))
    for _ in range(2):
        memory = agent.initial_policy_state(state.model, 2)
        act(state.model, memory, step, np.uint32(0), jax.random.key(0))
    one = jax.tree.map(lambda x: x[:1], (memory, step))
    with pytest.raises(RuntimeError, match="can only be traced 1 times"):
        act(state.model, *one, np.uint32(0), jax.random.key(0))


def test_predicted_replay_memory_is_what_is_allocated(config, tmp_path):
    with make_vector_env(config.task, num_envs=2, seed=0) as envs:
        replay = experience.make_replay(config, envs.spec, tmp_path)
        shapes = {k: s.shape for k, s in envs.spec.observation.items()}
        state = agent.init(config, shapes, envs.spec.action_size, key=jax.random.key(0))
        predicted = memory_estimate.predict(config, envs.spec, state)
    assert predicted.replay == replay.nbytes


@pytest.mark.slow
def test_a_resumed_run_does_not_keep_the_agent_that_it_made_first(config, tmp_path):
    path, processes = tmp_path / "run", Processes()
    for _ in range(2):  # the first begins the run, the second resumes it
        gc.collect()
        before = {id(array) for array in jax.live_arrays()}
        with contextlib.ExitStack() as stack:
            loop = module._assemble(config, path, processes, stack)
            gc.collect()
            new = sum(x.nbytes for x in jax.live_arrays() if id(x) not in before)
            agent_bytes = sum(x.nbytes for x in jax.tree.leaves(loop._trainer.state))
            del loop
    assert new < 1.5 * agent_bytes
