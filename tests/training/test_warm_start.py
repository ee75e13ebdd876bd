"""Runs that begin with networks of others."""

import dataclasses

import equinox as eqx
import jax
import jax.random as jr
import numpy as np
import pytest

import gpld
from gpld import agent
from gpld.config import InitConfig
from gpld.config.presets import PRESETS
from gpld.errors import UsageError
from gpld.evaluation.trained_agent import TrainedAgent
from gpld.models import ContinuousPolicy, DiscretePolicy
from gpld.training.train import train
from gpld.training.warm_start import warm_start

DEBUG = PRESETS["debug"]
CONFIG = dataclasses.replace(
    DEBUG,
    task="probe_picture",
    env_steps=60,
    env=dataclasses.replace(DEBUG.env, action_repeat=1),
    model=dataclasses.replace(DEBUG.model, depth=2),
    log=dataclasses.replace(DEBUG.log, report_every=0, tensorboard=False),
)
OTHERS = ("rssm", "reward", "cont", "policy", "value")


@pytest.fixture(scope="module")
def donor(tmp_path_factory):
    path = tmp_path_factory.mktemp("donor") / "run"
    train(CONFIG, path)
    return path


@pytest.fixture(scope="module")
def fresh():
    """A new agent for the task of the donor."""
    sizes = gpld.make_env(CONFIG.task, seed=0).spec.sizes
    return eqx.filter_jit(agent.init)(CONFIG, **sizes, key=jr.key(1))


@pytest.mark.slow
def test_some_networks_are_taken_and_all_else_is_new(donor, fresh):
    theirs = gpld.load(donor).state
    new = warm_start(fresh, InitConfig(from_=str(donor)))
    assert (new.update, theirs.update) == (0, 8)
    for name in ("encoder", "decoder"):
        assert eqx.tree_equal(getattr(new.model, name), getattr(theirs.model, name))
        assert not eqx.tree_equal(getattr(new.model, name), getattr(fresh.model, name))
    for name in OTHERS:
        assert eqx.tree_equal(getattr(new.model, name), getattr(fresh.model, name))
    rest = lambda state: (state.slow_value, state.return_norm, state.opt_state)  # noqa: E731
    assert eqx.tree_equal(rest(new), rest(fresh))


@pytest.mark.slow
@pytest.mark.parametrize("freeze", [True, False])
def test_networks_stay_as_they_are_only_if_frozen(donor, tmp_path, freeze):
    theirs = gpld.load(donor).state
    init = InitConfig(from_=str(donor), modules=("encoder,rssm",), freeze=freeze)
    train(dataclasses.replace(CONFIG, seed=1, init=init), tmp_path / "run")
    state = gpld.load(tmp_path / "run").state
    assert state.update == 8
    for name in ("encoder", "rssm"):
        kept = eqx.tree_equal(getattr(state.model, name), getattr(theirs.model, name))
        assert bool(kept) == freeze
    assert not eqx.tree_equal(state.model.decoder, theirs.model.decoder)


@pytest.mark.slow
def test_with_the_value_its_slow_copy_is_taken(donor, fresh):
    state = warm_start(fresh, InitConfig(from_=str(donor), modules=("value",)))
    theirs = gpld.load(donor).state.model.value
    assert eqx.tree_equal(state.model.value, theirs)
    assert eqx.tree_equal(state.slow_value, theirs)


@pytest.mark.slow
def test_a_resumed_run_does_not_begin_again(donor, tmp_path):
    init = InitConfig(from_=str(donor), modules=("encoder",))
    config = dataclasses.replace(CONFIG, seed=1, init=init)
    whole = train(config, tmp_path / "whole")
    half = train(dataclasses.replace(config, env_steps=40), tmp_path / "half")
    moved = donor.rename(donor.with_name("moved"))
    try:
        train(config, half.path)
    finally:
        moved.rename(donor)
    model = lambda folder: jax.tree.leaves(  # noqa: E731
        eqx.filter(gpld.load(folder.path).state.model, eqx.is_array)
    )
    for a, b in zip(model(half), model(whole), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_other_sizes_are_one_line_and_leave_no_run(donor, tmp_path):
    model = dataclasses.replace(CONFIG.model, depth=4)
    config = dataclasses.replace(CONFIG, model=model, init=InitConfig(from_=str(donor)))
    with pytest.raises(UsageError, match=r"encoder.*kernel has shape .* there and .* here"):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def _agent(size, discrete, *, seed=0, dtype="float32"):
    config = dataclasses.replace(CONFIG, precision=dtype)
    shapes = {"joints": (3,), "speed": ()}
    return agent.init(config, shapes, size, discrete=discrete, key=jr.key(seed))


@pytest.fixture
def of_actions(monkeypatch):
    """`of_actions(theirs, ours, *modules)` is an agent that begins with one for other actions."""

    def start(theirs, ours, *modules):
        donor = TrainedAgent(_agent(*theirs), CONFIG)
        monkeypatch.setattr("gpld.training.warm_start.trained_agent.load", lambda run: donor)
        new = warm_start(_agent(*ours, seed=1), InitConfig(from_="donor", modules=modules))
        return new.model, donor.state.model

    return start


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [((2, False), (2, True)), ((2, True), (2, False)), ((2, True), (3, True))],
)
def test_networks_without_actions_are_taken_whatever_the_actions(of_actions, theirs, ours):
    others = ("encoder", "decoder", "reward", "cont", "value")
    new, donor = of_actions(theirs, ours, *others)
    assert all(eqx.tree_equal(getattr(new, name), getattr(donor, name)) for name in others)
    assert type(new.policy) is (DiscretePolicy if ours[1] else ContinuousPolicy)
    assert new.policy.size == ours[0]


@pytest.mark.parametrize(
    ("theirs", "ours", "modules", "message"),
    [
        # Networks of equal shapes, whose inputs mean something else.
        (
            (2, False),
            (2, True),
            ("rssm",),
            "rssm cannot be taken from a run with 2 continuous actions for one with 2 discrete",
        ),
        ((2, True), (2, False), ("encoder", "policy"), "policy cannot .* 2 discrete .* 2 contin"),
        ((2, True), (3, True), ("rssm,policy",), "rssm and policy cannot .* 2 discrete .* 3 disc"),
        ((2, False), (3, False), ("rssm",), "rssm cannot .* 2 continuous .* 3 continuous"),
    ],
)
def test_networks_for_other_actions_are_one_line(of_actions, theirs, ours, modules, message):
    with pytest.raises(UsageError, match=message) as error:
        of_actions(theirs, ours, *modules)
    assert "\n" not in str(error.value)


def test_policies_over_as_many_actions_are_taken(of_actions):
    new, donor = of_actions((3, True), (3, True), "rssm", "policy")
    assert eqx.tree_equal((new.rssm, new.policy), (donor.rssm, donor.policy))


def test_how_networks_are_computed_is_not_taken(monkeypatch):
    donor = TrainedAgent(_agent(2, False, dtype="float32"), CONFIG)
    monkeypatch.setattr("gpld.training.warm_start.trained_agent.load", lambda run: donor)
    new = _agent(2, False, seed=1, dtype="bfloat16")
    state = warm_start(new, InitConfig(from_="donor", modules=("rssm",)))
    assert state.model.rssm.dtype == new.model.rssm.dtype != donor.state.model.rssm.dtype
    arrays = (jax.tree.leaves(x.model.rssm) for x in (state, donor.state))
    for a, b in zip(*arrays, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_folder_without_a_run_is_named(tmp_path):
    config = dataclasses.replace(CONFIG, init=InitConfig(from_=str(tmp_path / "none")))
    with pytest.raises(UsageError, match="none is not a run folder"):
        train(config, tmp_path / "run")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"modules": ("encoder,body",)},
            "`init.modules` must be some of encoder, .*body",
        ),
        ({"modules": ("policy", "policy")}, "each once"),
        ({"modules": ()}, "`init.modules` must be"),
        ({"freeze": True}, "`init.freeze` must be False without `init.from`"),
    ],
)
def test_bad_settings_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        InitConfig(**arguments)
