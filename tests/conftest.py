"""Fixtures and options of all tests."""

import secrets

import jax
import jax.random as jr
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")


def pytest_addoption(parser):
    parser.addoption(
        "--parity-dir",
        default=None,
        help="folder of further .npz files that tests/parity compares with",
    )


class KeyStream:
    """Gives fresh keys; its seed is shown when a test fails."""

    def __init__(self):
        self.seed = secrets.randbits(31)
        self.key = jr.key(self.seed)

    def __call__(self):
        self.key, key = jr.split(self.key)
        return key

    def __repr__(self):
        return f"getkey(seed={self.seed})"


@pytest.fixture
def getkey():
    return KeyStream()


@pytest.fixture
def x64():
    """Double precision, for comparisons with finite differences."""
    with jax.enable_x64(True):
        yield
