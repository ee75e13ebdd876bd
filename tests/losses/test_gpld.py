"""The penalty on an RSSM: which states and rows, which numbers, which gradients."""

import dataclasses

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from helpers import ACTION_SIZE, quick_jit, tiny_model
from hypothesis import given, strategies as st

import gpld.losses.gpld
from gpld.config import GPLDConfig
from gpld.losses import Batch, jacobian_penalty, posterior_penalty, prior_penalty
from gpld.losses.gpld import draw_rows, draw_states, replayed_states
from gpld.models import Latent, Rollout, StoredLatent

BATCH, TIME, STOCH, CLASSES = 2, 5, 3, 4
STATES = BATCH * TIME
NUM_KEYS = 2000
SIGMAS = 6  # one false alarm in 5e8 normal numbers


@pytest.fixture(scope="module")
def model():
    return tiny_model()


@pytest.fixture(scope="module")
def rssm(model):
    return model.rssm


@pytest.fixture(scope="module")
def batch():
    """What penalties read of a batch; the second sequence holds the start of an episode."""
    rng = np.random.default_rng(1)
    flags = jnp.zeros((BATCH, TIME), bool)
    context = StoredLatent(
        jnp.asarray(rng.normal(size=(BATCH, 16)), jnp.float32),
        jnp.asarray(rng.integers(CLASSES, size=(BATCH, STOCH)), jnp.uint8),
    )
    action = jnp.asarray(rng.normal(size=(BATCH, TIME, ACTION_SIZE)), jnp.float32)
    first = flags.at[1, 2].set(True)
    return Batch({}, action, jnp.zeros((BATCH, TIME)), first, flags, flags, context)


@pytest.fixture(scope="module")
def rollout():
    """States that were sampled from nothing; the penalty depends on h and x alone."""
    rng = np.random.default_rng(0)
    normal = lambda size: jnp.asarray(rng.normal(size=(BATCH, TIME, size)), jnp.float32)  # noqa: E731
    table = jnp.zeros((BATCH, TIME, STOCH, CLASSES))
    return Rollout(normal(8), Latent(normal(16), table), table)


# Which states and rows


@pytest.mark.parametrize(
    ("num_states", "rho", "expected"), [(10, 0.39, 3), (8, 0.01, 1), (8, 1, 8)]
)
def test_a_share_of_the_states_is_drawn_without_repeats(getkey, num_states, rho, expected):
    draw = jax.jit(jax.vmap(lambda key: draw_states(key, num_states, rho)))
    states = np.asarray(draw(jr.split(getkey(), NUM_KEYS)))
    assert states.shape == (NUM_KEYS, expected)
    assert all(len(set(row)) == expected for row in states.tolist())
    counts = np.bincount(states.ravel(), minlength=num_states)
    assert counts.size == num_states
    share = expected / num_states
    limit = SIGMAS * np.sqrt(share * (1 - share) / NUM_KEYS)
    np.testing.assert_allclose(counts / NUM_KEYS, share, atol=limit)


@given(
    seed=st.integers(0, 2**31 - 1),
    num_states=st.sampled_from([1, 2, 7, 64]),
    rho=st.sampled_from([0.01, 0.3, 0.5, 1.0]),
)
def test_no_state_is_drawn_twice(seed, num_states, rho):
    states = np.asarray(draw_states(jr.key(seed), num_states, rho))
    assert len(states) == len(set(states.tolist())) == max(1, int(num_states * rho))
    assert set(states.tolist()) <= set(range(num_states))


def test_rows_are_the_first_or_drawn_without_repeats(getkey):
    first = draw_rows(getkey(), 5, GPLDConfig(rows=2))
    np.testing.assert_array_equal(first, [0, 1])
    np.testing.assert_array_equal(draw_rows(getkey(), 5, GPLDConfig()), range(5))
    config = GPLDConfig(rows=2, row_choice="random")
    draw = jax.jit(jax.vmap(lambda key: draw_rows(key, 5, config)))
    rows = np.asarray(draw(jr.split(getkey(), NUM_KEYS)))
    assert np.all(rows[:, 0] != rows[:, 1])
    counts = np.bincount(rows.ravel(), minlength=5)
    np.testing.assert_allclose(counts / NUM_KEYS, 0.4, atol=SIGMAS * np.sqrt(0.24 / NUM_KEYS))


# The numbers

PENALTIES = {"posterior": posterior_penalty, "prior": prior_penalty}
CONFIGS = {
    "all": GPLDConfig(rho=1.0),
    "all, batch": GPLDConfig(rho=1.0, reduction="batch"),
    "half": GPLDConfig(rho=0.5),
    "half, batch": GPLDConfig(rho=0.5, reduction="batch"),
}


@pytest.fixture(scope="module")
def penalties(model, batch, rollout):
    """Both penalties of the same states, under several configurations and many keys."""
    cases = {
        (name, label): (name, config) for name in PENALTIES for label, config in CONFIGS.items()
    }
    cases["posterior", "two rows"] = ("posterior", GPLDConfig(rho=0.5, rows=2))

    def sample(key):
        return {
            case: PENALTIES[name](config)(model, batch, rollout, name=name, key=key)
            for case, (name, config) in cases.items()
        }

    sample = quick_jit(jax.vmap(sample))
    return jax.tree.map(np.asarray, sample(jr.split(jr.key(0), NUM_KEYS)))


@pytest.fixture(scope="module")
def jacobians(rssm, rollout):
    """By state, row, class and input: of 0.99 times the softmax of the logits."""
    embed, deter = (x.reshape(STATES, -1) for x in (rollout.embed, rollout.latent.deter))
    softmax = lambda fn: lambda *args: 0.99 * jax.nn.softmax(fn(*args))  # noqa: E731
    posterior = jax.vmap(jax.jacrev(softmax(rssm.posterior_logits), (0, 1)))
    prior = jax.vmap(jax.jacrev(softmax(rssm.prior_logits), (0,)))
    exact = {"posterior": jax.jit(posterior)(deter, embed), "prior": jax.jit(prior)(deter)}
    return jax.tree.map(lambda x: np.asarray(x, np.float64), exact)


@pytest.fixture(scope="module")
def exact(jacobians):
    """Squared Frobenius norms by state and row."""
    return {
        name: sum(np.sum(x**2, axis=(2, 3)) for x in parts) for name, parts in jacobians.items()
    }


def _assert_mean(samples, expected):
    """The mean over keys, within its own standard error."""
    error = SIGMAS * samples.std(axis=0, ddof=1) / np.sqrt(len(samples))
    assert np.all(error < 0.2 * expected)
    assert np.all(np.abs(samples.mean(axis=0) - expected) < error + 1e-6 * expected)


@pytest.mark.parametrize("name", PENALTIES)
def test_the_penalty_with_given_probes(model, batch, rollout, jacobians, name, monkeypatch):
    """Exactly: the mean over rows of |J_i^T e_i|^2, summed over the inputs."""
    probes = np.sign(np.random.default_rng(3).normal(size=(STOCH, CLASSES)))

    monkeypatch.setattr(
        gpld.losses.gpld,
        "draw_state_probes",
        lambda *_: jnp.asarray(np.broadcast_to(probes, (STATES, 1, STOCH, CLASSES)), jnp.float32),
    )
    penalty = PENALTIES[name](CONFIGS["all, batch"])
    table = jax.jit(lambda key: penalty(model, batch, rollout, name=name, key=key).loss)(jr.key(0))
    products = [np.einsum("rc,srcd->srd", probes, j) for j in jacobians[name]]
    expected = sum(np.sum(x**2, axis=2) for x in products).mean(1)
    np.testing.assert_allclose(np.ravel(table), expected, rtol=1e-3)


@pytest.mark.parametrize("name", PENALTIES)
def test_the_mean_penalty_is_that_of_all_states(penalties, exact, name):
    mean = exact[name].mean()
    for label in CONFIGS.keys() - {"half, batch"}:
        _assert_mean(penalties[name, label].loss.reshape(NUM_KEYS, -1).mean(1), mean)


@pytest.mark.parametrize("name", PENALTIES)
def test_the_reduction_batch_is_smaller_by_the_share_of_states(penalties, exact, name):
    sampled, batch = penalties[name, "half"], penalties[name, "half, batch"]
    assert sampled.loss.shape == (NUM_KEYS, STATES // 2)
    assert batch.loss.shape == (NUM_KEYS, BATCH, TIME)
    # Exactly the others are zero, save where every row's probe is constant (1 in 512
    # states): rows of probabilities sum to one, and so those have no gradient.
    drawn = np.sum(batch.loss > 0, axis=(1, 2))
    assert drawn.max() == STATES // 2
    assert np.mean(drawn == STATES // 2) > 0.95
    np.testing.assert_array_equal(batch.norms, sampled.norms)
    np.testing.assert_allclose(batch.loss.mean((1, 2)), 0.5 * sampled.loss.mean(1), rtol=1e-5)
    _assert_mean(batch.loss.mean((1, 2)), 0.5 * exact[name].mean())


@pytest.fixture(scope="module")
def reductions(model, batch, rollout):
    def run(key):
        return [
            jnp.mean(
                posterior_penalty(GPLDConfig(rho=rho, reduction=reduction))(
                    model, batch, rollout, name="gp_post", key=key
                ).loss
            )
            for rho in (1.0, 0.5)
            for reduction in ("sampled", "batch")
        ]

    return quick_jit(run)


@given(seed=st.integers(0, 2**31 - 1))
def test_the_reductions_differ_by_rho(reductions, seed):
    sampled, batch, sampled_half, batch_half = reductions(jr.key(seed))
    np.testing.assert_allclose(batch, sampled, rtol=1e-5)
    np.testing.assert_allclose(batch_half, sampled_half / 2, rtol=1e-5)


@pytest.mark.parametrize("name", PENALTIES)
def test_the_reductions_agree_on_all_states(penalties, name):
    sampled, batch = penalties[name, "all"], penalties[name, "all, batch"]
    np.testing.assert_allclose(batch.loss.mean((1, 2)), sampled.loss.mean(1), rtol=1e-5)


@pytest.mark.parametrize("name", PENALTIES)
def test_every_number_of_a_table_belongs_to_its_state(penalties, exact, name):
    """Also a check of the order of batch and time: the mean of every state is its own."""
    table = penalties[name, "all, batch"].loss.reshape(NUM_KEYS, STATES)
    _assert_mean(table, exact[name].mean(1))
    assert exact[name].mean(1).max() > 2 * exact[name].mean(1).min()


def test_rows_that_are_left_out_do_not_count(penalties, exact):
    penalty = penalties["posterior", "two rows"]
    assert penalty.norms.shape == (NUM_KEYS, STATES // 2, 2)
    np.testing.assert_allclose(penalty.loss, penalty.norms.mean(-1), rtol=1e-5)
    _assert_mean(penalty.norms.mean(1), exact["posterior"][:, :2].mean(0))
    _assert_mean(penalty.loss.mean(1), exact["posterior"][:, :2].mean())


def test_both_penalties_are_taken_at_the_same_states(penalties):
    posterior, prior = (
        penalties[name, "half, batch"].loss.reshape(NUM_KEYS, STATES) > 0 for name in PENALTIES
    )
    # Without the few keys at which a drawn state's penalty vanishes, see above.
    full = (posterior.sum(1) == STATES // 2) & (prior.sum(1) == STATES // 2)
    np.testing.assert_array_equal(posterior[full], prior[full])
    assert len(np.unique(prior[full], axis=0)) > 100


def test_probes_of_the_penalties_are_independent(penalties, exact):
    # Deviations from the exact norms are uncorrelated between the maps, and between rows.
    drawn = {
        name: penalties[name, "all, batch"].loss - exact[name].mean(1).reshape(BATCH, TIME)
        for name in PENALTIES
    }
    a, b = (x.reshape(NUM_KEYS, -1) / x.std(0).ravel() for x in drawn.values())
    assert abs(np.mean(a * b)) < SIGMAS / np.sqrt(a.size)
    assert abs(np.mean(a[:, 0] * a[:, 1])) < SIGMAS / np.sqrt(NUM_KEYS)


# Sites and settings


def test_a_site_sees_the_state_before_and_the_action_between(model, batch, rollout):
    states = jax.jit(replayed_states)(model, batch, rollout)
    deter, previous = rollout.latent.deter, states.previous.deter
    np.testing.assert_array_equal(previous[:, 0], batch.context.deter)
    np.testing.assert_array_equal(previous[0, 1:], deter[0, :-1])
    np.testing.assert_array_equal(previous[1, jnp.array([1, 3, 4])], deter[1, jnp.array([0, 2, 3])])
    # An episode begins here: what came before is forgotten.
    assert not np.any(previous[1, 2])
    assert not np.any(states.previous.stoch[1, 2])
    assert not np.any(states.prev_action[1, 2])
    np.testing.assert_array_equal(states.prev_action[0], batch.prev_action[0])


def _transition(model, state):
    """h' by h and a, with z held fixed; one row of all of h'."""
    (h, z), core = state.previous, model.rssm.core
    return lambda h, a: core(h, z, a)[None], (h, state.prev_action)


def _decoder(model, state):
    """All predicted numbers by h, each a row."""
    h, z = state.latent
    predict = lambda h: [jnp.ravel(x) for x in model.decoder(Latent(h, z)).values()]  # noqa: E731
    return lambda h: jnp.concatenate(predict(h))[:, None], (h,)


def _reward(model, state):
    """The predicted reward by the feature: a table of one number."""
    return lambda feat: model.reward(feat).mean()[None, None], (state.latent.feat(),)


@pytest.mark.parametrize("site", [_transition, _decoder, _reward])
def test_penalties_of_other_maps(model, batch, rollout, site):
    penalty = jacobian_penalty(site, GPLDConfig(rho=1.0, estimator="exact"))
    states = jax.tree.map(
        lambda x: x.reshape(STATES, *x.shape[2:]), replayed_states(model, batch, rollout)
    )

    def exact(state):
        fn, inputs = site(model, state)
        jacobians = jax.jacrev(fn, tuple(range(len(inputs))))(*inputs)
        return sum(jnp.sum(x**2, axis=(1, 2)) for x in jacobians)

    @quick_jit
    def run():
        actual = penalty(model, batch, rollout, name="gp_other", key=jr.key(0))
        return actual, jax.vmap(exact)(states)

    actual, expected = run()
    assert actual.norms.shape == expected.shape
    assert np.max(expected) > 1e-6
    # The order of the sampled states is random.
    expected = np.sort(expected.mean(axis=1))
    np.testing.assert_allclose(np.sort(actual.loss), expected, rtol=1e-3, atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("estimator", ["rowwise", "joint", "forward", "exact"])
def test_both_paths_agree_under_every_setting(model, batch, rollout, estimator):
    config = GPLDConfig(
        rho=0.5, rows=2, row_choice="random", num_probes=3, estimator=estimator, reduction="batch"
    )

    def run(path):
        penalty = posterior_penalty(dataclasses.replace(config, path=path))
        return penalty(model, batch, rollout, name="gp_post", key=jr.key(0))

    gram, literal = quick_jit(lambda: (run("gram"), run("literal")))()
    assert gram.norms.shape == (STATES // 2, 2)
    for actual, expected in zip(gram, literal, strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6 * np.max(expected))


def test_estimators_estimate_the_same_number(model, batch, rollout, exact):
    config = GPLDConfig(rho=1.0)

    def sample(key):
        return {
            estimator: posterior_penalty(dataclasses.replace(config, estimator=estimator))(
                model, batch, rollout, name="gp_post", key=key
            ).loss
            for estimator in ("joint", "forward", "exact")
        }

    samples = jax.tree.map(np.asarray, quick_jit(jax.vmap(sample))(jr.split(jr.key(5), NUM_KEYS)))
    for estimator in ("joint", "forward"):
        _assert_mean(samples[estimator].mean(1), exact["posterior"].mean())
    np.testing.assert_allclose(samples["exact"].mean(1), exact["posterior"].mean(), rtol=1e-4)
