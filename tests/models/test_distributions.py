"""Known answers, gradients and statistics of the distributions."""

import math

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings, strategies as st
from hypothesis.extra.numpy import arrays

from gpld.models import (
    Binary,
    BoundedNormal,
    Categorical,
    OneHotCategorical,
    SymexpTwoHot,
    cross_entropy,
    symexp,
    symexp_bins,
    symlog,
    symlog_mse,
)

FALSE_ALARM = 1e-8
BINS = symexp_bins().astype(np.float64)


pytestmark = pytest.mark.usefixtures("strict_promotion")


def _floats(shape, limit):
    return arrays(np.float32, shape, elements=st.floats(-limit, limit, width=32))


def _softmax(x):
    x = np.exp(np.asarray(x, np.float64) - np.max(x, axis=-1, keepdims=True))
    return x / x.sum(axis=-1, keepdims=True)


def _chi_squared(counts, expected):
    """Fails if the counts are implausible, with a false alarm rate of `FALSE_ALARM`."""
    statistic = np.sum((counts - expected) ** 2 / expected)
    assert statistic < scipy.stats.chi2.isf(FALSE_ALARM, counts.size - 1)


# Numbers


@jax.jit
def _round_trips(x):
    return symexp(symlog(x)), symlog(symexp(x))


@settings(max_examples=50, deadline=None)
@given(_floats(8, 20.0))
def test_symlog_and_symexp_are_inverse(x):
    there, back = _round_trips(x)
    np.testing.assert_allclose(there, x, rtol=2e-6, atol=1e-30)
    np.testing.assert_allclose(back, x, rtol=2e-6, atol=1e-30)


def test_symlog_known_answers():
    x = jnp.array([-(math.e - 1), -1e-9, 0.0, 1e-9, math.e - 1, 999.0])
    expected = [-1.0, -1e-9, 0.0, 1e-9, 1.0, math.log(1000)]
    np.testing.assert_allclose(symlog(x), expected, rtol=1e-6)
    np.testing.assert_allclose(symexp(jnp.array([-2.0, 1e-9])), [1 - math.e**2, 1e-9], rtol=1e-6)


def test_symlog_mse_is_the_plain_square_and_holds_its_target():
    prediction, target = jnp.array([1.0, 0.5]), jnp.array([-(math.e - 1), 0.0])
    np.testing.assert_allclose(symlog_mse(prediction, target), [4.0, 0.25], rtol=1e-6)
    loss = lambda x, y: jnp.sum(symlog_mse(x, y))  # noqa: E731
    by_prediction, by_target = jax.grad(loss, (0, 1))(prediction, target)
    np.testing.assert_allclose(by_prediction, [4.0, 1.0], rtol=1e-6)
    np.testing.assert_array_equal(by_target, [0.0, 0.0])


# One-hot


@jax.jit
def _probs(logits):
    return OneHotCategorical(logits, 0.01).probs


@settings(max_examples=50, deadline=None)
@given(_floats((3, 5), 1000.0))
def test_unimix_probabilities_sum_to_one_and_keep_a_floor(logits):
    probs = _probs(logits)
    np.testing.assert_allclose(probs.sum(-1), 1, rtol=1e-6)
    assert probs.min() >= 0.01 / 5 * (1 - 1e-6)
    np.testing.assert_allclose(probs, 0.99 * _softmax(logits) + 0.01 / 5, rtol=1e-4)


def test_one_hot_is_float32_in_half_precision():
    dist = OneHotCategorical(jnp.array([[0.0, 1.0, 2.0]], jnp.bfloat16), 0.01)
    assert dist.probs.dtype == jnp.float32
    np.testing.assert_allclose(dist.probs, 0.99 * _softmax([0, 1, 2])[None] + 0.01 / 3, rtol=1e-6)


@pytest.mark.parametrize("draw", ["sample", "mode"])
def test_straight_through_gradient_is_that_of_the_mixed_probabilities(getkey, draw):
    logits, key = np.random.default_rng(0).normal(size=(2, 4)).astype(np.float32), getkey()

    def one_hot(logits):
        dist = OneHotCategorical(logits, 0.01)
        return dist.sample(key) if draw == "sample" else dist.mode()

    value = np.asarray(one_hot(jnp.asarray(logits)))
    assert set(value.ravel()) == {0.0, 1.0}
    np.testing.assert_array_equal(value.sum(-1), 1)
    p = _softmax(logits)
    expected = np.zeros((2, 4, 2, 4))  # 0.99 (diag(p) - p p^T) in every row
    for row in range(2):
        expected[row, :, row] = 0.99 * (np.diag(p[row]) - np.outer(p[row], p[row]))
    np.testing.assert_allclose(jax.jit(jax.jacrev(one_hot))(logits), expected, rtol=1e-5, atol=1e-6)


def test_samples_follow_the_probabilities_in_independent_rows(getkey):
    logits = jnp.log(jnp.array([[0.7, 0.2, 0.1], [0.05, 0.35, 0.6]]))
    dist = OneHotCategorical(logits, 0.01)
    keys = jr.split(getkey(), 20_000)
    samples = np.asarray(jax.jit(jax.vmap(dist.sample))(keys))
    joint = np.einsum("na,nb->ab", samples[:, 0], samples[:, 1])
    expected = 20_000 * np.outer(*np.asarray(dist.probs, np.float64))
    _chi_squared(joint, expected)


def test_mode_is_the_likeliest_class():
    dist = OneHotCategorical(jnp.array([[0.0, 3.0, 1.0], [2.0, -1.0, 1.9]]), 0.01)
    np.testing.assert_array_equal(dist.mode(), [[0, 1, 0], [1, 0, 0]])


def test_kl_and_entropy_equal_the_sums_over_rows_and_classes():
    logits = 3 * np.random.default_rng(0).normal(size=(2, 3, 5)).astype(np.float32)
    a, b = (OneHotCategorical(jnp.asarray(x), 0.01) for x in logits)
    p, q = np.asarray(a.probs, np.float64), np.asarray(b.probs, np.float64)
    kl = sum(scipy.stats.entropy(p[i], q[i]) for i in range(3))
    np.testing.assert_allclose(a.kl(b), kl, rtol=1e-5)
    np.testing.assert_allclose(a.entropy(), sum(map(scipy.stats.entropy, p)), rtol=1e-5)
    assert a.kl(a) == 0
    uniform = OneHotCategorical(jnp.zeros((3, 5)), 0.01)
    np.testing.assert_allclose(uniform.entropy(), 3 * math.log(5), rtol=1e-6)


# Bounded normal


def test_bounded_normal_starts_at_the_stated_std():
    dist = BoundedNormal(jnp.zeros(1), jnp.zeros(1))
    np.testing.assert_allclose(dist.std, 0.9 / (1 + math.exp(-2)) + 0.1, rtol=1e-6)
    np.testing.assert_allclose(dist.std, 0.8927, atol=5e-5)
    np.testing.assert_array_equal(dist.mean, [0.0])


@jax.jit
def _bounded(raw_mean, raw_std):
    dist = BoundedNormal(raw_mean, raw_std)
    return dist.mean, dist.std


@settings(max_examples=50, deadline=None)
@given(_floats(3, 1e4), _floats(3, 1e4))
def test_bounded_normal_keeps_its_bounds(raw_mean, raw_std):
    mean, std = _bounded(raw_mean, raw_std)
    np.testing.assert_allclose(mean, np.tanh(raw_mean), rtol=1e-5, atol=1e-6)
    assert np.all((std >= np.float32(0.1)) & (std <= 1))
    assert np.all(np.abs(mean) <= 1)


def test_bounded_normal_density_and_entropy():
    dist = BoundedNormal(jnp.array([0.3, -2.0]), jnp.array([-4.0, 1.0]))
    reference = scipy.stats.norm(np.asarray(dist.mean), np.asarray(dist.std))
    for x in ([0.0, 0.0], [3.0, -5.0]):  # also far outside (-1, 1): nothing is squashed
        expected = reference.logpdf(x).sum()
        np.testing.assert_allclose(dist.log_prob(jnp.array(x)), expected, rtol=1e-5)
    np.testing.assert_allclose(dist.entropy(), reference.entropy().sum(), rtol=1e-5)


def test_bounded_normal_samples_are_neither_clipped_nor_correlated(getkey):
    dist = BoundedNormal(jnp.array([3.0, -0.5]), jnp.array([2.0, -4.0]))
    samples = np.asarray(jax.jit(jax.vmap(dist.sample))(jr.split(getkey(), 20_000)))
    z = (samples - np.asarray(dist.mean)) / np.asarray(dist.std)
    standard_error = 1 / math.sqrt(20_000)
    assert np.all(np.abs(z.mean(0)) < 6 * standard_error)
    assert np.all(np.abs(z.var(0) - 1) < 6 * math.sqrt(2) * standard_error)
    assert abs(np.mean(z[:, 0] * z[:, 1])) < 6 * standard_error
    assert samples[:, 0].max() > 2  # mean 0.995, std 0.984


def test_bounded_normal_is_float32_in_half_precision():
    raw = jnp.array([0.3], jnp.bfloat16)
    dist = BoundedNormal(raw, raw)
    assert dist.mean.dtype == dist.std.dtype == jnp.float32


# Categorical


def test_categorical_equals_the_softmax_of_its_logits():
    logits = 3 * np.random.default_rng(0).normal(size=5).astype(np.float32)
    dist, p = Categorical(jnp.asarray(logits)), _softmax(logits.astype(np.float64))
    for action in range(5):
        np.testing.assert_allclose(dist.log_prob(jnp.int32(action)), np.log(p[action]), rtol=1e-5)
    np.testing.assert_allclose(dist.entropy(), scipy.stats.entropy(p), rtol=1e-5)
    np.testing.assert_allclose(
        Categorical(jnp.zeros(7)).entropy(), math.log(7), rtol=1e-6
    )  # and no share of it is mixed into other logits:
    assert Categorical(jnp.array([0.0, 50.0])).entropy() < 1e-18
    assert dist.mode() == np.argmax(logits)


def test_categorical_gradients_equal_finite_differences(x64):
    logits = jnp.asarray(np.random.default_rng(0).normal(size=4))
    for quantity in (lambda d: d.log_prob(jnp.int32(2)), lambda d: d.entropy()):
        fn = lambda x, of=quantity: of(Categorical(x))  # noqa: E731
        step = 1e-6 * np.eye(4)
        expected = [(fn(logits + e) - fn(logits - e)) / 2e-6 for e in step]
        np.testing.assert_allclose(jax.grad(fn)(logits), expected, rtol=1e-8, atol=1e-10)


def test_categorical_samples_follow_the_probabilities(getkey):
    p = np.array([0.6, 0.3, 0.08, 0.02])
    dist = Categorical(jnp.log(jnp.asarray(p)))
    samples = np.asarray(jax.jit(jax.vmap(dist.sample))(jr.split(getkey(), 20_000)))
    assert samples.dtype == np.int32
    _chi_squared(np.bincount(samples, minlength=4), 20_000 * p)


@pytest.mark.parametrize("place", [0, 2])
def test_categorical_of_a_nan_chooses_no_class(getkey, place):
    dist = Categorical(jnp.zeros(3).at[place].set(jnp.nan))
    assert dist.sample(getkey()) == dist.mode() == -1


def test_categorical_is_float32_in_half_precision(getkey):
    dist = Categorical(jnp.array([0.3, 1.0], jnp.bfloat16))
    assert dist.logits.dtype == dist.entropy().dtype == jnp.float32
    assert dist.sample(getkey()).dtype == dist.mode().dtype == jnp.int32


def test_cross_entropy_is_that_of_each_entry():
    rng = np.random.default_rng(0)
    logits, target = rng.normal(size=(2, 3, 5)).astype(np.float32), rng.integers(5, size=(2, 3))
    expected = -np.log(np.take_along_axis(_softmax(logits), target[..., None], -1)[..., 0])
    actual = cross_entropy(jnp.asarray(logits), jnp.asarray(target, jnp.int32))
    np.testing.assert_allclose(actual, expected, rtol=1e-5)


# Two-hot


def test_symexp_bins():
    bins = symexp_bins()
    assert bins.dtype == np.float32
    assert bins.shape == (255,)
    np.testing.assert_array_equal(bins, -bins[::-1])
    assert np.all(np.diff(bins) > 0)
    np.testing.assert_allclose(bins[127:131], [0, 0.17055778, 0.37020543, 0.6039046], rtol=2e-6)
    np.testing.assert_allclose(bins[254], np.expm1(20.0), rtol=1e-6)
    with pytest.raises(ValueError, match="`num_bins` must be odd, got 254"):
        symexp_bins(254)


@jax.jit
def _two_hot(target):
    """The encoding, read off the gradient: softmax minus two-hot, here with equal logits."""
    grad = jax.vmap(jax.grad(lambda x, y: SymexpTwoHot(x).loss(y)), (None, 0))
    return 1 / 255 - grad(jnp.zeros(255), target)


@jax.jit
def _mean(logits):
    return SymexpTwoHot(logits).mean()


@settings(max_examples=50, deadline=None)
@given(_floats(8, 20.0))
def test_two_hot_is_linear_in_raw_values(exponents):
    y = np.sign(exponents) * np.expm1(np.abs(exponents))
    two_hot = np.asarray(_two_hot(y), np.float64)
    assert two_hot.shape == (8, 255)
    np.testing.assert_allclose(two_hot.sum(-1), 1, rtol=1e-5)
    for weights, value in zip(two_hot, y.astype(np.float64), strict=True):
        k = min(np.searchsorted(BINS, value, side="right") - 1, 253)
        expected = np.zeros(255)
        expected[k + 1] = (value - BINS[k]) / (BINS[k + 1] - BINS[k])
        expected[k] = 1 - expected[k + 1]
        np.testing.assert_allclose(weights, expected, atol=3e-6)


@settings(max_examples=50, deadline=None)
@given(_floats(4, 19.875))
def test_two_hot_decodes_what_it_encodes(exponents):
    y = np.sign(exponents) * np.expm1(np.abs(exponents))
    # Rounding of the gradient is cut off; it would be multiplied by bins of 5e8.
    two_hot = np.asarray(_two_hot(y))
    two_hot = np.where(two_hot > 1e-6, two_hot, 1e-37).astype(np.float32)
    # float32 weights times the bins beside the value, which are 17 % or 0.17 apart.
    decoded = [_mean(logits) for logits in np.log(two_hot)]
    np.testing.assert_allclose(decoded, y, rtol=1e-5, atol=1e-5)


def test_two_hot_at_bins_and_beyond_the_ends():
    bins = symexp_bins()
    targets = np.array([bins[0], bins[100], 0.0, bins[200], bins[-1], -1e30, 1e30], np.float32)
    two_hot = np.asarray(_two_hot(targets))
    np.testing.assert_array_equal(two_hot.argmax(-1), [0, 100, 127, 200, 254, 0, 254])
    np.testing.assert_allclose(two_hot.max(-1), 1, rtol=1e-6)


def test_two_hot_loss_is_the_cross_entropy():
    logits = np.random.default_rng(0).normal(size=255).astype(np.float32)
    loss = jax.jit(lambda x, y: SymexpTwoHot(x).loss(y))(logits, np.float32(0.1))
    log_probs = np.log(_softmax(logits))
    upper = 0.1 / BINS[128]
    expected = -((1 - upper) * log_probs[127] + upper * log_probs[128])
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


@pytest.mark.parametrize("compiled", [False, True])
def test_two_hot_mean_of_equal_logits_is_exactly_zero(compiled):
    mean = _mean if compiled else lambda x: SymexpTwoHot(jnp.asarray(x)).mean()
    assert mean(np.full(255, 0.3, np.float32)) == 0


@pytest.mark.parametrize("compiled", [False, True])
def test_two_hot_mean_is_not_swamped_by_the_largest_bins(compiled):
    mean = _mean if compiled else lambda x: SymexpTwoHot(jnp.asarray(x)).mean()
    logits = np.zeros(255, np.float32)
    logits[128] = 1.0
    # All pairs but one cancel; a plain sum has rounding errors of the order of ten.
    expected = (math.e - 1) / (254 + math.e) * BINS[128]
    np.testing.assert_allclose(mean(logits), expected, rtol=1e-4)


def test_two_hot_gives_no_gradient_to_its_target():
    loss = lambda y: SymexpTwoHot(jnp.arange(255.0)).loss(y)  # noqa: E731
    assert jax.jit(jax.grad(loss))(1.3) == 0


# Binary


def test_binary_takes_soft_targets():
    logit, target = jnp.array(0.7), jnp.array(0.9)
    p = 1 / (1 + math.exp(-0.7))
    np.testing.assert_allclose(Binary(logit).prob(), p, rtol=1e-6)
    loss = jax.jit(lambda x, y: Binary(x).loss(y))
    expected = -(0.9 * math.log(p) + 0.1 * math.log(1 - p))
    np.testing.assert_allclose(loss(logit, target), expected, rtol=1e-6)
    by_logit, by_target = jax.grad(loss, (0, 1))(logit, target)
    np.testing.assert_allclose(by_logit, p - 0.9, rtol=1e-5)
    assert by_target == 0
    np.testing.assert_allclose(loss(logit, jnp.array(True)), -math.log(p), rtol=1e-6)


def test_binary_stays_finite_when_it_is_sure_and_wrong():
    np.testing.assert_allclose(Binary(jnp.array(200.0)).loss(jnp.array(0.0)), 200.0, rtol=1e-6)
    np.testing.assert_allclose(Binary(jnp.array(-200.0)).loss(jnp.array(1.0)), 200.0, rtol=1e-6)
