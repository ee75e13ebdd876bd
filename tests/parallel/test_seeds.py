"""Several seeds in one program are what they would be apart."""

import dataclasses
import json
import shutil

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import ACTION_SIZE, CONFIG as TINY, SHAPES, tiny_batch

import gpld
from gpld import agent
from gpld.checkpoints import checkpoint
from gpld.cli import parse_config
from gpld.config import GPLDConfig
from gpld.config.presets import PRESETS
from gpld.envs import EnvSpec, VectorEnv, WorkerError
from gpld.errors import MachineError, UsageError
from gpld.parallel.seeds import SeedAxis
from gpld.replay import Replay
from gpld.runs.folder import RunFolder
from gpld.training import memory_estimate
from gpld.training.programs import make_programs
from gpld.training.train import train

pytestmark = pytest.mark.slow

DEBUG = PRESETS["debug"]
CONFIG = dataclasses.replace(
    DEBUG,
    task="probe_memory",
    seed=3,
    env_steps=120,
    env=dataclasses.replace(DEBUG.env, action_repeat=1),
    evaluation=dataclasses.replace(DEBUG.evaluation, every=60),
    log=dataclasses.replace(DEBUG.log, every=20, report_every=0, tensorboard=False),
    checkpoint=dataclasses.replace(DEBUG.checkpoint, every=40),
)
TOGETHER = dataclasses.replace(CONFIG, seeds=3)
SEEDS = (3, 4, 5)


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    path = tmp_path_factory.mktemp("together") / "runs"
    train(dataclasses.replace(TOGETHER, run=str(path)), path)
    return path


@pytest.fixture(scope="module")
def apart(tmp_path_factory):
    path = tmp_path_factory.mktemp("apart")
    for seed in SEEDS:
        folder = path / f"seed{seed}"
        train(dataclasses.replace(CONFIG, seed=seed, run=str(folder)), folder)
    return path


@pytest.fixture
def copy(together, tmp_path):
    """The runs, which may be spoiled or gone on with."""
    return shutil.copytree(together, tmp_path / "runs")


def _timeless(run, name="metrics"):
    lines = RunFolder(run).read(name)
    return [{k: v for k, v in line.items() if not k.startswith("time/")} for line in lines]


def _agents(run):
    return {
        path.name: checkpoint.read(path).manifest["files"]["agent.eqx"]["sha256"]
        for path in RunFolder(run).checkpoint_paths()
    }


@pytest.mark.parametrize("seed", SEEDS)
def test_metrics_are_those_of_a_run_of_its_own(together, apart, seed):
    # float32 sums in another order differ by 1e-7; 23 updates, of which each depends on those
    # before, carry that to at most 1e-4 here. Much later a sampled class would be another one.
    run, own = together / f"seed{seed}", apart / f"seed{seed}"
    assert len(_timeless(run)) == 6
    for actual, expected in zip(_timeless(run), _timeless(own), strict=True):
        assert actual.keys() == expected.keys()
        for name, value in expected.items():
            np.testing.assert_allclose(actual[name], value, rtol=1e-3, atol=1e-5, err_msg=name)
    for name in ("episodes", "scores"):
        assert _timeless(run, name) == _timeless(own, name)
        assert len(_timeless(run, name)) > 0
    assert len({str(_timeless(together / f"seed{seed}")) for seed in SEEDS}) == 3


def test_folders_look_like_those_of_runs_of_their_own(together, apart):
    def files(path):
        return {str(file.relative_to(path)) for file in path.rglob("*") if file.is_file()}

    for seed in SEEDS:
        run, own = together / f"seed{seed}", apart / f"seed{seed}"
        assert files(run) == files(own)
        settings = [json.loads((path / "config.json").read_text()) for path in (run, own)]
        assert [values.pop("run") for values in settings] == [str(run), str(own)]
        assert settings[0] == settings[1]
        assert RunFolder(run).record().keys() == RunFolder(own).record().keys()
        assert gpld.load(run).state.update == gpld.load(own).state.update
    with pytest.raises(MachineError, match=r"several seeds; name one, such as .*/seed3\.$"):
        gpld.load(together)


def test_a_kill_between_two_of_their_checkpoints_changes_nothing(together, copy, capsys):
    shutil.rmtree(copy / "seed4" / "checkpoints" / "000000120")
    train(TOGETHER, copy)
    output = capsys.readouterr().out
    assert "resumed     at env step 80" in output
    assert "seed 3: " in output
    assert "000000120 is left out" in output
    for seed in SEEDS:
        run, whole = copy / f"seed{seed}", together / f"seed{seed}"
        for name in ("metrics", "episodes", "scores"):
            assert _timeless(run, name) == _timeless(whole, name)
        assert _agents(run) == _agents(whole)


def test_one_of_them_goes_on_alone_and_leaves_the_others_behind(copy):
    longer = dataclasses.replace(CONFIG, seed=4, env_steps=220, run=None)
    train(longer, copy / "seed4")
    assert RunFolder(copy / "seed4").read("metrics")[-1]["env_step"] == 220
    with pytest.raises(MachineError, match="no checkpoint of the same moment") as error:
        train(TOGETHER, copy)
    assert "seed3 at 120" in str(error.value)
    assert "seed4 at 220" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("seeds", "message"),
    [(1, "seeds is 3 there and 1 here"), (4, "seeds is 3 there and 4 here")],
)
def test_another_number_of_seeds_is_refused(copy, seeds, message):
    before = {path for path in copy.rglob("*")}
    with pytest.raises(UsageError, match=message):
        train(dataclasses.replace(CONFIG, seeds=seeds), copy)
    assert {path for path in copy.rglob("*")} == before


def test_resume_takes_the_settings_of_all(together):
    config = parse_config(["--resume", str(together), "--env_steps", "200"])
    assert (config.seed, config.seeds, config.run) == (3, 3, str(together))


def _plant(monkeypatch, is_bad):
    """NaN in what the second of the seeds observes, at chosen env steps."""
    add, replays = Replay.add, []

    def planted(replay, steps):
        if replay not in replays:
            replays.append(replay)
        if replays.index(replay) == 1 and is_bad(replay.num_added):
            steps = {**steps, "time": np.full_like(steps["time"], np.nan)}
        add(replay, steps)

    monkeypatch.setattr(Replay, "add", planted)


def test_updates_that_are_not_finite_are_skipped_by_one_seed_alone(together, monkeypatch, tmp_path):
    _plant(monkeypatch, lambda step: step == 20)
    optimizer = dataclasses.replace(CONFIG.optimizer, max_skips=10)
    train(dataclasses.replace(TOGETHER, optimizer=optimizer), tmp_path)
    for seed in (3, 5):
        assert _timeless(tmp_path / f"seed{seed}") == _timeless(together / f"seed{seed}")
    last = RunFolder(tmp_path / "seed4").read("metrics")[-1]
    assert 0 < last["faults/skipped_updates"] < last["update"]
    assert np.isfinite(last["train/opt/loss"])


def test_what_ends_one_run_is_said_with_its_seed_and_the_others_are_saved(monkeypatch, tmp_path):
    _plant(monkeypatch, lambda step: step >= 25)
    with pytest.raises(MachineError, match=r"^seed 4: Loss or gradient were not finite") as error:
        train(TOGETHER, tmp_path)
    assert "\n" not in str(error.value)
    assert [path.name for path in tmp_path.rglob("update_*")] != []
    last = [RunFolder(tmp_path / f"seed{seed}").checkpoint_paths()[-1].name for seed in SEEDS]
    # After env step 50 it takes some updates before three in a row have drawn such a step.
    assert last[0] == last[2] > last[1] == "000000080"


@pytest.mark.exhaustive
def test_failed_environments_end_all_with_the_others_saved(monkeypatch, tmp_path):
    wait, waits = VectorEnv.wait, []

    def failing(envs):
        waits.append(envs)
        if len(waits) == 3 * 30 + 2:  # the second seed at its thirty-first step
            raise WorkerError("Worker of environments 0 to 1 died.")
        wait(envs)

    monkeypatch.setattr(VectorEnv, "wait", failing)
    with pytest.raises(WorkerError, match=r"^seed 4: Worker of environments 0 to 1 died\.$"):
        train(TOGETHER, tmp_path)
    last = [RunFolder(tmp_path / f"seed{seed}").checkpoint_paths()[-1].name for seed in SEEDS]
    assert last == ["000000060", "000000040", "000000060"]
    monkeypatch.undo()
    train(dataclasses.replace(CONFIG, seed=3), tmp_path / "seed3")  # goes on


@pytest.mark.exhaustive
def test_a_stacked_update_is_that_of_each_agent():
    # What compiles fast; the whole runs above have all of the losses.
    config = dataclasses.replace(TINY, learn="world_model", gpld=GPLDConfig(lambda0=0))
    init = jax.jit(lambda key: agent.init(config, SHAPES, ACTION_SIZE, key=key))
    states = [init(jax.random.key(i)) for i in range(2)]
    keys = [jax.random.key(i) for i in (7, 8)]
    batch = jax.tree.map(np.asarray, tiny_batch())
    bad = {**batch.observation, "height": np.full_like(batch.observation["height"], np.nan)}
    batches = [batch, batch._replace(observation=bad)]

    two = SeedAxis(2)
    update = make_programs(config, two).update
    stacked = [two.stack(trees) for trees in (states, batches, keys)]
    after, latents, metrics = update(*stacked)
    alone, own_latents, own_metrics = make_programs(config, SeedAxis()).update(
        states[0], batch, keys[0]
    )
    jax.tree.map(
        # The first update of a warm-up moves moments and percentiles; rounding at 1e-7.
        lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-6),
        (two.take(after, 0), latents[0], metrics[0]),
        (alone, own_latents[0], own_metrics[0]),
    )
    skipped = two.take(after, 1)
    assert [float(m["opt/skipped"]) for m in metrics] == [0, 1]
    expected = eqx.tree_at(lambda s: s.update, states[1], jnp.int32(1))
    assert eqx.tree_equal(skipped, expected)


def test_memory_of_all_seeds_is_counted(tmp_path):
    spec = EnvSpec({}, 1, 1, 10)
    state = jax.jit(lambda key: agent.init(TINY, SHAPES, ACTION_SIZE, key=key))(jax.random.key(0))
    one = memory_estimate.predict(CONFIG, spec, state)
    assert memory_estimate.predict(TOGETHER, spec, state) == tuple(3 * size for size in one)
