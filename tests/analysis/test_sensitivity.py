import json
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from helpers import ACTION_SIZE, CONFIG, SHAPES, build, tiny_model

from gpld.analysis.figures import sensitivity_figure
from gpld.analysis.sensitivity import (
    FRACTIONS,
    CheckpointSensitivity,
    Sensitivity,
    VisitedStates,
    describe,
    divergence,
    kl_divergence,
    mean_divergences,
    measure,
    save,
    unit_vector,
    visit_states,
)
from gpld.config import to_dict
from gpld.envs import ArraySpec, EnvSpec, VectorEnv
from gpld.envs.timestep import single_timestep
from gpld.envs.vector.group import EnvGroup
from gpld.errors import MachineError
from gpld.models import Dreamer, OneHotCategorical
from gpld.runs.folder import RunFolder

pytestmark = pytest.mark.slow


def linear_softmax(weight):
    """A map whose Fisher information is known."""
    return lambda x: jax.nn.softmax(weight @ x)


def fisher(weight, x):
    """Sum over rows of `W^T (diag(p) - p p^T) W`."""
    probs = linear_softmax(weight)(x)
    covariance = jax.vmap(jnp.diag)(probs) - probs[:, :, None] * probs[:, None, :]
    return jnp.einsum("rci,rcd,rdj->ij", weight, covariance, weight)


def test_divergence_of_small_perturbations_is_half_the_fisher_form(x64, getkey):
    weight, x = jr.normal(getkey(), (3, 4, 5)), jr.normal(getkey(), (5,))
    key = getkey()
    direction = unit_vector(x, key=key)
    expected = direction @ fisher(weight, x) @ direction / 2
    for radius in (1e-4, 1e-5, 1e-6):
        actual = divergence(linear_softmax(weight), x, jnp.array(radius), key=key)
        # The next order is smaller by at most a third of the logits' range, which is below
        # 30 radii here. Rounding adds 1e-16 / radius, though the divergence is about 1e-12.
        np.testing.assert_allclose(actual / radius**2, expected, rtol=10 * radius)


def test_divergence_equals_its_definition(x64, getkey):
    dists = [OneHotCategorical(3 * jr.normal(getkey(), (4, 6)), 0.01) for _ in range(2)]
    actual = kl_divergence(dists[0].probs, dists[1].probs)
    np.testing.assert_allclose(actual, dists[0].kl(dists[1]), rtol=1e-12)


def test_divergence_does_not_cancel(x64):
    d = 1e-10
    actual = kl_divergence(jnp.array([[0.5, 0.5]]), jnp.array([[0.5 - d, 0.5 + d]]))
    # -log(1 - 4 d^2) / 2. As sums of p log(p / q), it would be zero up to rounding of 1e-16.
    np.testing.assert_allclose(actual, 2 * d**2, rtol=1e-4)


def test_constant_map_has_no_sensitivity(getkey):
    x = jr.normal(getkey(), (5,))
    constant = lambda x: jnp.full((2, 3), 1 / 3)  # noqa: E731
    assert divergence(constant, x, jnp.array(0.1), key=getkey()) == 0


def test_directions_have_norm_one_and_none_is_preferred(getkey):
    vectors = jax.vmap(lambda key: unit_vector(jnp.zeros(3), key=key))(jr.split(getkey(), 10_000))
    np.testing.assert_allclose(jnp.linalg.norm(vectors, axis=1), 1, rtol=1e-6)
    # Variance 1/3 along every axis; five standard errors of means and of products.
    np.testing.assert_allclose(vectors.mean(0), 0, atol=5 * np.sqrt(1 / 3 / 1e4))
    np.testing.assert_allclose(vectors.T @ vectors / 1e4, np.eye(3) / 3, atol=5 * 0.3 / 1e2)


def test_perturbations_scale_with_the_mean_norm_of_the_input(x64, getkey):
    """The divergence of this map depends on the norm of the perturbation alone."""
    inputs = jnp.diag(jnp.array([1.0, 2.0, 6.0]))  # mean norm 3

    def fn(anchor, x):
        logit = jnp.linalg.norm(x - anchor)
        return jax.nn.softmax(jnp.stack([jnp.zeros(()), logit]))[None]

    fractions = jnp.array([0.01, 0.1, 1.0])
    norm, actual = mean_divergences(fn, inputs, fractions, inputs, key=getkey())
    assert norm == 3
    np.testing.assert_allclose(actual, jnp.log(jnp.cosh(3 * fractions / 2)), rtol=1e-9)


def test_every_state_and_fraction_has_its_own_direction(x64, getkey):
    """More states than are mapped at once, all alike."""
    weight, x = jr.normal(getkey(), (1, 4, 5)), jr.normal(getkey(), (5,))
    inputs = jnp.broadcast_to(x, (4000, 5))
    fractions = jnp.array([1e-4, 1e-4])
    norm, actual = mean_divergences(linear_softmax(weight), inputs, fractions, key=getkey())
    assert actual[0] != actual[1]
    # The mean of u^T F u over directions u is tr(F) / 5. Its relative standard deviation is
    # below sqrt(2), and 5 standard errors of 4000 states are 11 %.
    expected = jnp.trace(fisher(weight, x)) / 5 / 2 * (1e-4 * norm) ** 2
    np.testing.assert_allclose(actual, jnp.full(2, expected), rtol=0.12)


def random_states(num_states=20):
    rng = np.random.default_rng(0)
    deter = rng.uniform(-1, 1, (num_states, CONFIG.model.deter))
    embed = rng.normal(size=(num_states, CONFIG.model.units))
    return VisitedStates(jnp.asarray(deter, jnp.float32), jnp.asarray(embed, jnp.float32))


def test_posterior_is_perturbed_at_the_embedding_and_prior_at_the_deterministic_state():
    rssm, states, key = tiny_model().rssm, random_states(), jr.key(0)
    posterior, prior = measure(rssm, states, key=key)
    np.testing.assert_allclose(
        [posterior.input_norm, prior.input_norm],
        [np.linalg.norm(x, axis=1).mean() for x in (states.embed, states.deter)],
        rtol=1e-6,
    )
    deter = CONFIG.model.deter
    blind = lambda kernel, rows: kernel.at[rows].set(0)  # noqa: E731
    kernel = rssm.posterior_mlp.layers[0].linear.kernel
    where = lambda rssm: rssm.posterior_mlp.layers[0].linear.kernel  # noqa: E731
    for rows, is_zero in ((slice(deter, None), True), (slice(0, deter), False)):
        changed, same = measure(eqx.tree_at(where, rssm, blind(kernel, rows)), states, key=key)
        assert same == prior
        assert (changed.mean == 0) is is_zero


def test_summaries():
    posterior, prior = measure(tiny_model().rssm, random_states(), key=jr.key(0))
    for result in (posterior, prior):
        radius = np.array(FRACTIONS) * result.input_norm
        np.testing.assert_allclose(result.kl_per_norm, result.kl / radius, rtol=1e-12)
        np.testing.assert_allclose(result.mean, np.mean(result.kl_per_norm), rtol=1e-12)
        # Quadratic from 0.1 % on: at 1 % it is between its neighbours, and the first two
        # divergences differ by the square of their fractions, up to different directions.
        assert result.kl[4] < result.kl_at_1_percent * 1.1 < result.kl[5] * 1.2
        ratio = result.kl[1] / result.kl[0]
        np.testing.assert_allclose(ratio, (FRACTIONS[1] / FRACTIONS[0]) ** 2, rtol=0.5)
    np.testing.assert_allclose([FRACTIONS[0], FRACTIONS[-1]], [1e-3, 1e-1])
    assert len(FRACTIONS) == 10


def test_rougher_map_is_more_sensitive():
    rssm = tiny_model().rssm
    where = lambda rssm: (rssm.posterior_out.kernel, rssm.prior_out.kernel)  # noqa: E731
    rough = eqx.tree_at(where, rssm, [3 * kernel for kernel in where(rssm)])
    states = random_states()
    smooth, rough = (measure(model, states, key=jr.key(0)) for model in (rssm, rough))
    for less, more in zip(smooth, rough, strict=True):
        assert 2 * less.mean < more.mean


class Clock:
    """Episodes of five steps, whose observations tell the time."""

    spec = EnvSpec(
        observation={k: ArraySpec(v, np.dtype("float32")) for k, v in SHAPES.items()},
        action_size=ACTION_SIZE,
        action_repeat=1,
        episode_steps=5,
    )

    def reset(self):
        self.time = -1
        return self.step(None)

    def step(self, action):
        self.time += 1
        observation = {
            "height": np.array(self.time, np.float32),
            "velocity": np.zeros(2, np.float32),
        }
        return single_timestep(observation, is_first=self.time == 0, is_last=self.time == 5)

    def get_state(self):
        return vars(self).copy()

    def set_state(self, state):
        vars(self).update(state)

    def close(self):
        pass


@pytest.mark.parametrize(
    ("num_states", "times"),
    [(1, [3]), (5, [1, 1, 3, 3, 5]), (12, np.repeat(np.arange(6), 2))],
)
def test_states_are_spread_evenly_over_whole_episodes(num_states, times):
    model = tiny_model()
    with VectorEnv([EnvGroup([Clock() for _ in range(2)])]) as envs:
        states = visit_states(model, envs, num_states, key=jr.key(0))
    embeds = [
        model.encoder({"height": jnp.array(float(time)), "velocity": jnp.zeros(2)})
        for time in times
    ]
    np.testing.assert_allclose(states.embed, np.array(embeds), rtol=1e-5)
    assert states.deter.shape == (num_states, CONFIG.model.deter)
    if num_states == 12:  # with the first time step, where h is the core's output for zeros
        first = model.rssm.core(*model.rssm.initial(), jnp.zeros(ACTION_SIZE))
        np.testing.assert_allclose(states.deter[:2], np.array([first, first]), rtol=1e-5)
        assert not np.array_equal(states.deter[2], states.deter[3])


def test_more_states_than_an_episode_has_come_from_several():
    with VectorEnv([EnvGroup([Clock()])]) as envs:
        states = visit_states(tiny_model(), envs, 7, key=jr.key(0))
    assert states.embed.shape[0] == 7
    # Of two episodes of 6 time steps: 0, 2, 4, 6, 7, 9 and 11, whose clocks show:
    times = np.array([0, 2, 4, 0, 1, 3, 5])
    same = np.array(times)[:, None] == times
    distance = np.abs(states.embed[:, None] - states.embed[None]).max(-1)
    np.testing.assert_array_equal(distance < 1e-6, same)


def test_states_of_half_precision_are_raised():
    model = build(Dreamer, CONFIG.model, SHAPES, ACTION_SIZE, dtype=jnp.dtype("bfloat16"))
    with VectorEnv([EnvGroup([Clock()])]) as envs:
        states = visit_states(model, envs, 3, key=jr.key(0))
    for x in states:
        assert x.dtype == jnp.float32
        np.testing.assert_array_equal(x, x.astype(jnp.bfloat16).astype(jnp.float32))


def test_diverged_agents_are_refused():
    model = tiny_model()
    model = eqx.tree_at(lambda model: model.policy.mean.bias, model, jnp.full(2, jnp.nan))
    with VectorEnv([EnvGroup([Clock()])]) as envs, pytest.raises(MachineError, match="diverged"):
        visit_states(model, envs, 7, key=jr.key(0))


def made_up(env_step):
    norms = 2.0 * np.array(FRACTIONS)
    ratio = tuple((norms * env_step).tolist())
    result = Sensitivity(2.0, tuple((norms**2 * env_step).tolist()), ratio, 0.0678, 0.00042)
    return CheckpointSensitivity(env_step, 2 * env_step, env_step // 2, result, result)


@pytest.mark.parametrize("num_checkpoints", [1, 2, 7])
def test_figure_and_file_are_written(tmp_path, num_checkpoints):
    folder = RunFolder(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(to_dict(CONFIG)))
    measured = [made_up(1000 * (i + 1)) for i in range(num_checkpoints)]
    sensitivity_figure(folder, measured)
    save(folder, measured, seed=3)
    assert (tmp_path / "sensitivity.png").read_bytes().startswith(b"\x89PNG")
    record = json.loads((tmp_path / "sensitivity.json").read_text())
    assert record["seed"] == 3
    assert record["fractions"] == list(FRACTIONS)
    assert [line["frame"] for line in record["checkpoints"]] == [c.frame for c in measured]
    assert record["checkpoints"][0]["posterior"]["kl_per_norm"] == list(
        measured[0].posterior.kl_per_norm
    )


def test_line_shows_both_numbers():
    line = describe(made_up(1000))
    assert line.startswith("env step     1,000 | posterior 6.78e-02 nats per unit (4.20e-04 nats")
    assert "\n" not in line


def test_unwritable_folder_is_a_machine_error(tmp_path):
    with pytest.raises(MachineError, match="Cannot write to"):
        save(RunFolder(Path(tmp_path / "missing")), [made_up(1)])
