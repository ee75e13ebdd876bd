"""Observations of others: names, dtypes, pictures, and what is not as announced."""

import numpy as np
import pytest

from gpld.envs.adapters.arrays import Place, announce, read, resize
from gpld.envs.timestep import ArraySpec
from gpld.errors import UsageError

F32, F64, U8, I64 = (np.dtype(name) for name in ("float32", "float64", "uint8", "int64"))


def specs(*places, image_size=None):
    return {name: array.spec for name, array in announce(places, image_size).items()}


def test_what_arrays_become():
    assert specs(
        Place(("b",), (), F64),
        Place(("a", "x"), (2, 3), np.dtype("int16")),
        Place(("a", 0), (2, 3, 5), F32),
        Place(("c",), (), I64, 7, -3),
        Place(("d",), (4,), np.dtype("bool")),
        Place(("empty",), (0, 3), F32),
    ) == {
        "a/0": ArraySpec((30,), F32),
        "a/x": ArraySpec((2, 3), F32),
        "b": ArraySpec((), F32),
        "c": ArraySpec((), np.dtype("int32"), 7),
        "d": ArraySpec((4,), F32),
    }
    assert list(specs(Place(("z",), (), F32), Place(("a",), (), F32))) == ["a", "z"]
    assert specs(Place((), (3,), F32)) == {"observation": ArraySpec((3,), F32)}


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((32, 48, 3), (32, 48, 3)),
        ((3, 32, 48), (32, 48, 3)),
        ((1, 32, 48), (32, 48, 1)),
        ((4, 4, 4), (4, 4, 4)),
        ((32, 48, 2), (32 * 48 * 2,)),  # no picture
    ],
)
def test_pictures_have_their_channels_last(shape, expected):
    [(name, array)] = announce([Place((), shape, U8)], None).items()
    assert name == ("image" if len(expected) == 3 else "observation")
    assert array.spec.shape == expected
    assert array.spec.dtype == (U8 if len(expected) == 3 else F32)
    given = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    actual = array.convert(given)
    wanted = given if expected in (shape, actual.shape and (np.prod(shape),)) else np.moveaxis(
        given, 0, -1
    )  # fmt: skip
    np.testing.assert_array_equal(actual, wanted.reshape(expected))
    assert not np.shares_memory(actual, given)


def test_a_given_size_resizes_pictures():
    assert specs(Place((), (3, 40, 60), U8), image_size=16) == {"image": ArraySpec((16, 16, 3), U8)}


def test_resized_pixels_are_means_over_their_area():
    image = np.zeros((4, 6, 1), np.uint8)
    image[:2, :3], image[2:, 3:] = 200, 100
    np.testing.assert_array_equal(resize(image, 2)[..., 0], [[200, 0], [0, 100]])
    np.testing.assert_array_equal(resize(image, 12)[::3, ::2, 0], image[..., 0])
    noise = np.random.default_rng(0).integers(0, 256, (30, 42, 3), np.uint8)
    small = resize(noise, 7)
    assert small.dtype == np.uint8
    np.testing.assert_allclose(small.mean((0, 1)), noise.mean((0, 1)), atol=0.5)
    # By hand: 30 rows become 7, so that the first covers 4 rows and 2/7 of the next.
    rows = np.r_[np.ones(4), 2 / 7] / (30 / 7)
    expected = np.einsum("i,j,ijc->c", rows, np.full(6, 1 / 6), noise[:5, :6].astype(float))
    np.testing.assert_array_equal(small[0, 0], np.rint(expected))


@pytest.mark.parametrize("key", ["reward", "policy", "value", "is_first", "rew", "latent"])
def test_names_of_ours_are_prefixed(key):
    assert list(specs(Place((key,), (), F32))) == [f"obs/{key}"]
    assert list(specs(Place((key, "deter"), (), F32))) == [f"obs/{key}/deter"]


@pytest.mark.parametrize(
    ("places", "message"),
    [
        ([], "must have an observation with at least one number"),
        ([Place((), (0,), F32)], "must have an observation with at least one number"),
        ([Place(("a", "b"), (), F32), Place(("a/b",), (), F32)], "two of them are 'a/b'"),
        ([Place(("a",), (), I64, 2**31)], "Observation 'a' must have fewer than 2\\*\\*31 values"),
        ([Place(("a",), (), np.dtype("complex64"))], "observation 'a' is complex64"),
    ],
)
def test_what_is_refused(places, message):
    with pytest.raises(UsageError, match=message):
        announce(places, None)


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (Place((), (3,), F32), np.zeros(2), r"shape \(3,\) and dtype float32.* got \(2,\) and fl"),
        (Place((), (3,), F32), ["a", "b", "c"], "dtype float32"),
        (Place((), (2,), U8), np.zeros(2), "dtype uint8"),
        (Place(("a", "b"), (), F32), {"a": {"c": 1.0}}, "observation 'a/b' is missing"),
        (Place(("a",), (), F32), None, "observation 'a' is missing"),
        (Place((), (), I64, 3, 1), 4, r"must lie in \[1, 4\), as its space says, got 4"),
        (Place((), (), I64, 3, 1), 0, r"must lie in \[1, 4\)"),
    ],
)
def test_what_was_not_announced_raises(place, value, message):
    with pytest.raises(ValueError, match=message):
        read(value, announce([place], None))


@pytest.mark.parametrize(
    ("place", "value", "expected"),
    [
        (Place((), (2,), F32), np.array([1.5, 2]), np.array([1.5, 2], np.float32)),
        (Place((), (2,), F32), [1, 2], np.array([1, 2], np.float32)),
        (Place((), (), F32), 0.1, np.array(0.1, np.float32)),
        (Place((), (), U8, 3, 250), np.uint8(251), np.array(1, np.int32)),
        (Place((), (), I64, 3, -1), np.int64(-1), np.array(0, np.int32)),
        (Place((1, "x"), (), F32), (0, {"x": np.float16(2)}), np.array(2, np.float32)),
    ],
)
def test_what_is_read(place, value, expected):
    [actual] = read(value, announce([place], None)).values()
    np.testing.assert_array_equal(actual, expected)
    assert (actual.dtype, actual.shape) == (expected.dtype, expected.shape)
