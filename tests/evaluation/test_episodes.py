"""Episodes with an agent that does not learn."""

import os

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from helpers import CONFIG, build

import gpld
from gpld import agent
from gpld.envs import WorkerError, make_vector_env, own
from gpld.envs.probe import ConstantReward, Memory
from gpld.errors import Interrupted, MachineError
from gpld.evaluation import episodes
from gpld.evaluation.episodes import evaluate, run_episodes
from gpld.models import Dreamer


@pytest.fixture(scope="module")
def model():
    shapes = {"signal": (1,), "time": ()}
    return build(Dreamer, CONFIG.model, shapes, 1, dtype=jnp.dtype("float32"))


class Tape:
    """Keeps everything that a `record` is told."""

    def __init__(self):
        self.steps, self.actions = [], []

    def __call__(self, step, action):
        self.steps.append(step)
        self.actions.append(action)


def replayed(model, num_envs, num_steps, key, modes):
    """Actions by the definition: the agent's own function, keys split one after the other."""
    memory = agent.initial_policy_state(model, num_envs)
    action, actions = np.zeros((num_envs, 1), np.float32), []
    with make_vector_env("probe_memory", num_envs=num_envs, seed=3) as envs:
        for _ in range(num_steps):
            step = envs.step(action)
            key, act_key = jr.split(key)
            flags = (jnp.asarray(step.is_first), jnp.asarray(step.is_last))
            observation = jax.tree.map(jnp.asarray, step.observation)
            memory, _ = jax.jit(agent.act)(model, memory, observation, *flags, key=act_key)
            if modes:
                mean = jax.vmap(lambda latent: model.policy(latent.feat()).mean)(memory.latent)
                memory = memory._replace(action=jnp.where(flags[1][:, None], 0.0, mean))
            action = np.asarray(memory.action)
            actions.append(action)
    return np.stack(actions)


@pytest.mark.parametrize("actions", ["sampled", "modes"])
def test_actions_are_those_of_the_agent(model, actions):
    tape, key = Tape(), jr.key(5)
    with make_vector_env("probe_memory", num_envs=3, seed=3) as envs:
        episodes = run_episodes(model, envs, 7, actions=actions, record=tape, key=key)
    # Episodes of 4 time steps, at most 3 in one environment.
    expected = replayed(model, 3, 12, key, actions == "modes")
    np.testing.assert_allclose(tape.actions, expected, rtol=1e-5, atol=1e-6)
    assert [e.env for e in episodes] == [0, 0, 0, 1, 1, 2, 2]
    is_last = np.stack([step.is_last for step in tape.steps])
    assert np.all(np.stack(tape.actions)[is_last] == 0)
    within = np.abs(np.stack(tape.actions)) <= 1
    assert within.all() == (actions == "modes")


@pytest.mark.parametrize("actions", ["sampled", "modes"])
def test_discrete_actions_are_numbers(actions):
    with make_vector_env("probe_discrete", num_envs=3, seed=3) as envs:
        sizes = envs.spec.sizes
        shapes, num_actions = sizes.pop("shapes"), sizes.pop("action_size")
        model = build(Dreamer, CONFIG.model, shapes, num_actions, **sizes)
        # So that all logits but one are small.
        model = eqx.tree_at(lambda m: m.policy.logits.bias, model, jnp.array([0.0, 1.0, 100.0]))
        tape = Tape()
        run_episodes(model, envs, 3, actions=actions, record=tape, key=jr.key(0))
    taken, is_last = np.stack(tape.actions), np.stack([step.is_last for step in tape.steps])
    assert taken.dtype == np.int32
    np.testing.assert_array_equal(taken, np.where(is_last, 0, 2))


def test_modes_depend_on_sampled_latents(model):
    tapes = [Tape(), Tape()]
    for seed, tape in enumerate(tapes):
        with make_vector_env("probe_memory", num_envs=1, seed=0) as envs:
            run_episodes(model, envs, 1, actions="modes", record=tape, key=jr.key(seed))
    assert not np.array_equal(*[tape.actions for tape in tapes])


def test_scores_are_the_sums_of_what_is_recorded(model):
    tape = Tape()
    result = evaluate(
        model, "probe_memory", num_episodes=2, num_envs=9, seed=3, record=tape
    )  # 2 environments are enough
    rewards = np.stack([step.reward for step in tape.steps], dtype=np.float64)
    assert result.scores == rewards.sum(axis=0).tolist()
    assert result.lengths == [4, 4]
    assert (result.mean, result.std) == (np.mean(result.scores), np.std(result.scores))


def test_stops_when_it_should(model):
    tape = Tape()
    with pytest.raises(Interrupted):
        evaluate(
            model,
            "probe_memory",
            num_episodes=10,
            num_envs=2,
            seed=0,
            should_stop=lambda: len(tape.steps) == 5,
            record=tape,
        )
    assert len(tape.steps) == 5


def test_an_agent_that_diverged_is_one_line(model):
    diverged = jax.tree.map(lambda x: x * jnp.nan, model)
    with pytest.raises(MachineError, match="not finite: its training diverged"):
        evaluate(diverged, "probe_memory", num_episodes=1, num_envs=1, seed=0)


class Endless(ConstantReward):
    """Announces no time limit; ends of itself after as many steps, if at all."""

    length = 1000

    @property
    def spec(self):
        return super().spec._replace(episode_steps=0)


def test_episodes_without_an_end_are_cut_and_count(model, monkeypatch):
    monkeypatch.setattr(own, "_registered", {})
    monkeypatch.setattr(episodes, "LONGEST", 5)
    gpld.register("endless", Endless)
    tape = Tape()
    result = evaluate(model, "endless", num_episodes=3, num_envs=2, seed=0, record=tape)
    assert (result.scores, result.lengths) == ([5.0] * 3, [6] * 3)
    assert [step.is_last[0] for step in tape.steps] == 2 * [*5 * [False], True]
    assert [step.is_first[0] for step in tape.steps] == 2 * [True, *5 * [False]]
    assert not any(step.is_terminal.any() for step in tape.steps)
    assert "cut after 5 env steps, since no time limit is known" in result.describe_cut(
        Endless(seed=0).spec
    )
    monkeypatch.setattr(Endless, "length", 3)  # as it does by itself
    short = evaluate(model, "endless", num_episodes=1, num_envs=1, seed=0)
    assert short.lengths == [4]
    assert short.describe_cut(Endless(seed=0).spec) is None


class Dying(ConstantReward):
    """Ends its process."""

    def step(self, action):
        os._exit(3)


def test_environments_of_ones_own_are_stepped_in_processes_and_may_die(model, monkeypatch):
    monkeypatch.setattr(own, "_registered", {})
    gpld.register("mine", Memory)
    options = {"num_episodes": 3, "num_envs": 2, "seed": 0}
    here, there = (evaluate(model, "mine", workers=n, **options) for n in (0, 2))
    assert here == there
    gpld.register("dying", Dying)
    with pytest.raises(WorkerError, match="of dying died with exit code 3"):
        evaluate(model, "dying", workers=2, **options)


def test_episodes_with_a_time_limit_are_not_cut(model, monkeypatch):
    monkeypatch.setattr(episodes, "LONGEST", 5)
    result = evaluate(model, "probe_constant", num_episodes=1, num_envs=1, seed=0)
    assert result.lengths == [17]
    assert result.describe_cut(ConstantReward(seed=0).spec) is None
