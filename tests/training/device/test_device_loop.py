"""The loop on the device does what the loop on the host does."""

import dataclasses
import os
import signal
import threading

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from driven_replay import DrivenReplay
from functional_target import Target

from gpld import agent
from gpld.checkpoints import checkpoint
from gpld.config import ReplayConfig
from gpld.config.presets import PRESETS
from gpld.envs import WorkerError, make_functional_env, own
from gpld.envs.functional import probe
from gpld.errors import Interrupted, MachineError
from gpld.models import StoredLatent
from gpld.parallel.seeds import SeedAxis
from gpld.replay import functional
from gpld.runs.folder import RunFolder
from gpld.training import failed_updates, memory_estimate
from gpld.training.device.program import DeviceProgram
from gpld.training.device.state import Keys, ProgramClock, Request
from gpld.training.experience import make_replay
from gpld.training.programs import init_agents
from gpld.training.train import train

pytestmark = pytest.mark.slow

DEBUG = PRESETS["debug"]
HOST = dataclasses.replace(
    DEBUG,
    task="probe_memory",
    seed=3,
    env_steps=700,
    env=dataclasses.replace(DEBUG.env, num_envs=3, action_repeat=1, backend="mjx"),
    # Rings that overflow, and updates that are due now after none and now after one step.
    replay=dataclasses.replace(DEBUG.replay, capacity=300, train_ratio=8),
    gpld=dataclasses.replace(DEBUG.gpld, lambda0=0.0),  # compiles sooner
    optimizer=dataclasses.replace(DEBUG.optimizer, max_skips=20),
    evaluation=dataclasses.replace(DEBUG.evaluation, every=350),
    log=dataclasses.replace(DEBUG.log, every=25, report_every=100, tensorboard=False),
)
DEVICE = dataclasses.replace(HOST, loop="device")
# What they share is tested on the host; each program of the device takes half a minute to compile.
BOTH_LOOPS = pytest.mark.parametrize(
    "config",
    [HOST, pytest.param(DEVICE, marks=pytest.mark.exhaustive)],
    ids=["host", "device"],
)


def timeless(folder, name):
    lines = folder.read(name)
    return [{k: v for k, v in line.items() if not k.startswith("time/")} for line in lines]


@pytest.fixture
def on_host(monkeypatch):
    """Trains on the host, with the draws from replay of the device loop."""

    def replay(config, *args, **kwargs):
        return make_replay(dataclasses.replace(config, loop="device"), *args, **kwargs)

    monkeypatch.setattr("gpld.training.train.make_replay", replay)
    monkeypatch.setattr("gpld.training.experience.DeviceReplay", DrivenReplay)
    for module in ("experience", "host.collector"):
        monkeypatch.setattr(f"gpld.training.{module}.on_host", lambda replay: replay)
    return train


def plant(monkeypatch, is_bad):
    """NaN in an observation on its way into replay, at chosen steps of each stream."""
    append = functional.append

    def planted(steps, counters, new):
        time = jnp.where(is_bad(counters.num_added), jnp.nan, new["time"])
        return append(steps, counters, {**new, "time": time})

    monkeypatch.setattr(functional, "append", planted)


def assert_close(actual, expected):
    """Lines agree but for the rounding of sums that were compiled in another order."""
    assert len(actual) == len(expected) > 0
    for line, other in zip(actual, expected, strict=True):
        assert line.keys() == other.keys()
        for name, value in other.items():
            np.testing.assert_allclose(line[name], value, rtol=1e-3, atol=1e-5, err_msg=name)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing interrupts."""
    return train(DEVICE, tmp_path_factory.mktemp("device") / "run")


def test_the_same_metrics_over_hundreds_of_updates(on_host, monkeypatch, tmp_path):
    """Also where updates are skipped, and what they left to be done comes early or not at all."""
    plant(monkeypatch, lambda step: (step == 40) | (step == 90))
    host = on_host(HOST, tmp_path / "host")
    device = train(DEVICE, tmp_path / "device")
    last = timeless(device, "metrics")[-1]
    assert last["update"] > 300
    assert last["faults/skipped_updates"] > 10
    assert timeless(device, "episodes") == timeless(host, "episodes")
    for name in ("metrics", "scores"):
        assert_close(timeless(device, name), timeless(host, name))


@pytest.mark.exhaustive
def test_seeds_that_are_interrupted_are_those_that_are_trained_apart(whole, tmp_path):
    path, settings = tmp_path / "runs", dataclasses.replace(DEVICE, seeds=2)
    with pytest.raises(Interrupted, match="SIGTERM ended the run at env step"):
        terminated_after(300, path / "seed3", lambda: train(settings, path))
    stopped_at = RunFolder(path / "seed3").latest_checkpoint()
    assert 300 < int(stopped_at.name) < DEVICE.env_steps
    train(settings, path)
    assert timeless(RunFolder(path / "seed3"), "episodes") == timeless(whole, "episodes")
    for name in ("metrics", "scores"):
        # Much later a class is sampled that is another one after rounding.
        actual, expected = (timeless(run, name) for run in (RunFolder(path / "seed3"), whole))
        assert_close(actual[:10], expected[:10])
    seeds = [timeless(RunFolder(path / name), "metrics") for name in ("seed3", "seed4")]
    assert [line["update"] for line in seeds[0]] == [line["update"] for line in seeds[1]]
    assert seeds[0] != seeds[1]


def terminated_after(env_step, path, train):
    """Trains until metrics of an env step are there, then sends SIGTERM."""

    def watch():
        while not ended.wait(0.01):
            lines = RunFolder(path).read("metrics") if (path / "metrics.jsonl").exists() else []
            if lines and lines[-1]["env_step"] > env_step:
                os.kill(os.getpid(), signal.SIGTERM)
                return

    ended = threading.Event()
    thread = threading.Thread(target=watch)
    thread.start()
    try:
        train()
    finally:
        ended.set()
        thread.join()


def check_resumes(config, whole, path, *, stopped_after):
    """Trains with an interruption, and expects the lines of the run that had none."""
    with pytest.raises(Interrupted):
        terminated_after(stopped_after, path, lambda: train(config, path))
    train(config, path)
    for name in ("metrics", "episodes", "scores"):
        assert timeless(RunFolder(path), name) == timeless(whole, name)


def test_a_run_that_is_resumed_is_the_one_that_never_stopped(whole, tmp_path):
    """Bit for bit, and wherever the calls of the program end."""
    path = tmp_path / "run"
    check_resumes(DEVICE, whole, path, stopped_after=200)
    final = [checkpoint.read(run.latest_checkpoint()) for run in (RunFolder(path), whole)]
    agents = [found.manifest["files"]["agent.eqx"]["sha256"] for found in final]
    assert agents[0] == agents[1]
    replays = [sorted(f["sha256"] for f in found.manifest["replay"]["files"]) for found in final]
    assert replays[0] == replays[1]


@pytest.mark.exhaustive
@pytest.mark.parametrize("task", ["probe_discrete", "target"])
def test_discrete_actions_on_host_and_device(task, on_host, monkeypatch, tmp_path):
    """Both loops have the same episodes and metrics.

    Also in an environment of one's own, with repeated actions and a time limit of ours; that run
    is interrupted and resumed besides, bit for bit.
    """
    monkeypatch.setattr(own, "_registered", {"target": Target})
    env = HOST.env
    if task == "target":
        env = dataclasses.replace(env, action_repeat=2, episode_steps=7, kwargs='{"size": 9}')
    host, device = (
        dataclasses.replace(config, task=task, env=env, env_steps=360, log=log)
        for config in (HOST, DEVICE)
        for log in [dataclasses.replace(HOST.log, report_every=0)]
    )
    whole = train(device, tmp_path / "device")
    apart = on_host(host, tmp_path / "host")
    assert timeless(whole, "episodes") == timeless(apart, "episodes")
    assert_close(timeless(whole, "metrics"), timeless(apart, "metrics"))
    if task == "target":
        check_resumes(device, whole, tmp_path / "resumed", stopped_after=100)


@pytest.mark.exhaustive
def test_many_skips_in_a_row_stop_the_run_and_can_be_repeated(monkeypatch, tmp_path):
    plant(monkeypatch, lambda step: step >= 25)
    config = dataclasses.replace(DEVICE, optimizer=DEBUG.optimizer)
    with pytest.raises(MachineError, match="not finite in 3 updates in a row") as error:
        train(config, tmp_path / "run")
    [path] = (tmp_path / "run" / "faults").iterdir()
    assert f"python scripts/replay_update.py {path}" in str(error.value)
    lines = failed_updates.examine(path)
    bad = {tuple(line.split()[:2]) for line in lines if "not finite" in line}
    assert ("batch", "observation/time") in bad
    assert not any(kind == "parameters" for kind, _ in bad)


@pytest.mark.exhaustive
def test_an_action_that_is_not_finite_stops_the_run(monkeypatch, tmp_path):
    act = agent.act

    def bad_act(model, memory, observation, is_first, is_last, *, key):
        memory, latent = act(model, memory, observation, is_first, is_last, key=key)
        bad = observation["time"][:, None] >= 0.5  # the third time step of every episode
        return memory._replace(action=jnp.where(bad, jnp.nan, memory.action)), latent

    monkeypatch.setattr(agent, "act", bad_act)
    message = r"action is not finite at env step 6, in environments \[0, 1, 2\]"
    with pytest.raises(MachineError, match=message):
        train(DEVICE, tmp_path / "run")


class Spoilt(probe.Memory):
    """Its first observation after the reset is not finite, in one of 64 episodes or so."""

    def _begin(self, key):
        cue = super()._begin(key)
        return jnp.where(jr.uniform(jr.fold_in(key, 1)) < 1 / 64, 2 * cue, cue)

    def _state(self, memory, signal, reward, elapsed, *, is_terminal):
        bad = (abs(memory) > 1) & (elapsed == 1)
        signal = jnp.where(bad, jnp.nan, signal)
        return super()._state(memory, signal, reward, elapsed, is_terminal=is_terminal)


@BOTH_LOOPS
def test_observations_that_are_not_finite_are_counted_up_to_a_limit(
    config, monkeypatch, tmp_path, capsys
):
    monkeypatch.setitem(probe.TASKS, "probe_memory", Spoilt)
    env = dataclasses.replace(config.env, max_restarts=100)
    # Truncating repeats, so that `deterministic` allows it.
    settings = dataclasses.replace(config, env=env, deterministic=True)
    folder = train(settings, tmp_path / "run")
    line = "of probe_memory gave an observation `signal` that is not finite. Its episode is trunc"
    count = capsys.readouterr().out.count(line)
    metrics, episodes = folder.read("metrics"), folder.read("episodes")
    assert metrics[-1]["faults/env_restarts"] == count > 0
    assert metrics[-1]["faults/skipped_updates"] == 0
    # A truncated episode, of two time steps, has no score.
    assert {line["length"] for line in episodes} == {4}
    assert all(np.isfinite(line["score"]) for line in episodes)

    again = dataclasses.replace(config, env=dataclasses.replace(env, max_restarts=0))
    with pytest.raises(
        WorkerError, match=r"of probe_memory gave an observation `signal`.* than the 0"
    ):
        train(again, tmp_path / "none")


@BOTH_LOOPS
def test_first_episodes_that_are_cut_short_have_no_score(config, monkeypatch, tmp_path):
    """Nor have they in a run that is stopped and goes on before they end."""
    env = dataclasses.replace(config.env, stagger=True, num_envs=6)
    config = dataclasses.replace(config, task="probe_delayed", env=env, env_steps=240)
    whole = train(config, tmp_path / "whole")
    # Episodes take 9 time steps; staggered ones are over after 54 env steps at the latest.
    lengths = [line["length"] for line in whole.read("episodes")]
    assert set(lengths) == {9}
    assert len(lengths) >= 6
    stopped = dataclasses.replace(config, env_steps=12)
    # A run that makes no update is refused; this one goes on.
    monkeypatch.setattr(memory_estimate, "check_settings", lambda *_: None)
    train(stopped, tmp_path / "stopped")
    again = train(config, tmp_path / "stopped")
    assert timeless(again, "episodes") == timeless(whole, "episodes")


@pytest.mark.parametrize("seeds", [1, 2])
def test_the_program_copies_no_replay(seeds, monkeypatch):
    """What it takes beside its arguments has nothing to do with how long the replay is."""

    def update(state, batch, *, config, key):
        """No networks: XLA compiles this a hundred times faster, and orders it as freely."""
        del config, key
        latents = StoredLatent(
            *(jnp.repeat(x[:, None], batch.reward.shape[1], axis=1) for x in batch.context)
        )
        bad = jnp.isnan(jnp.sum(batch.context.deter))
        return state, latents, {"opt/skipped": bad.astype(jnp.float32)}

    monkeypatch.setattr(agent, "update", update)
    config = dataclasses.replace(DEVICE, env_steps=300_000, replay=ReplayConfig())
    env = make_functional_env(config.task, num_envs=config.env.num_envs)
    replay, axis = make_replay(config, env.spec, None), SeedAxis(seeds)
    [state] = init_agents(config, env.spec, keys=[jr.key(0)])
    program = DeviceProgram(config, axis, env, replay.layout, max_steps=4)
    train = program.begin(axis.stack([state] * seeds), [jr.key(0)] * seeds)
    keys = Keys(*(axis.stack([jr.key(0)] * seeds) for _ in Keys._fields))
    sums = [program.metrics(train, keys)] * seeds
    steps = {k: axis.stack([jnp.asarray(x)] * seeds) for k, x in replay.ring.arrays.items()}
    clock = ProgramClock(jnp.uint32(0), jnp.int32(0), replay.counters)
    request = Request(jnp.int32(4), jnp.zeros(5, jnp.int32), jnp.int32(4))
    planned = (
        program.advance.lower(steps, train, sums, clock, keys, request).compile().memory_analysis()
    )
    assert planned.alias_size_in_bytes >= seeds * replay.nbytes
    assert planned.temp_size_in_bytes < seeds * replay.nbytes / 20
