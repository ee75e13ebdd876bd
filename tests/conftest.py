"""Fixtures and options of all tests."""

import os
import secrets
import signal

# Compiling is most of the work, and takes a quarter of the time with these. What the user gives
# stands, and is remembered for `real_programs`; workers of xdist inherit both.
os.environ.setdefault("XLA_FLAGS_GIVEN", os.environ.get("XLA_FLAGS", ""))
os.environ["XLA_FLAGS"] = (
    "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true "
    "--xla_cpu_use_fusion_emitters=false " + os.environ["XLA_FLAGS_GIVEN"]
)

import gpld  # noqa: F401  # isort: skip  # before JAX starts, whose flags it sets

import equinox as eqx
import jax
import jax.random as jr
import pytest
from hypothesis import HealthCheck, settings
from jax.experimental.compilation_cache import compilation_cache

jax.config.update("jax_numpy_rank_promotion", "raise")

# Examples take as long as compilations and busy machines make them.
settings.register_profile("gpld", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("gpld")


def pytest_addoption(parser):
    parser.addoption(
        "--parity-dir",
        default=None,
        help="folder of further .npz files that tests/parity compares with",
    )


def pytest_collection_modifyitems(config, items):
    """Leaves out exhaustive tests unless asked for, and puts the modules that take long first.

    So no worker is left with one at the end.
    """
    if "exhaustive" not in config.option.markexpr:
        left_out = [item for item in items if item.get_closest_marker("exhaustive")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
    slow = {item.module for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.module not in slow)


@pytest.fixture(scope="session", autouse=True)
def shared_compilations(tmp_path_factory, worker_id):
    """Programs, also small ones, are compiled once for all tests, subprocesses included."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "jax"
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder)
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    compilation_cache.reset_cache()


@pytest.fixture(scope="session", autouse=True)
def interruptible():
    """Whoever runs the tests may have SIGINT ignored, as scripts have in the background."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="module", autouse=True)
def released_programs():
    """Compiled programs are forgotten after each module.

    Each has memory mappings by the dozen, of which Linux gives a process 65,530; beyond
    them JAX crashes.
    """
    yield
    eqx.clear_caches()
    jax.clear_caches()


@pytest.fixture(scope="session")
def real_programs(shared_compilations):
    """Environment of a process whose programs are compiled as those of users are."""
    return {**os.environ, "XLA_FLAGS": os.environ["XLA_FLAGS_GIVEN"]}


@pytest.fixture(scope="session")
def gl():
    """Skips what draws where no OpenGL library does."""
    from gpld.envs.dmc.opengl import find_backend
    from gpld.errors import MachineError

    try:
        return find_backend()
    except MachineError as error:
        pytest.skip(str(error))


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
def strict_promotion():
    """Mixed dtypes are an error, so that none is raised or rounded unnoticed."""
    with jax.numpy_dtype_promotion("strict"):
        yield


@pytest.fixture
def x64():
    """Double precision, for comparisons with finite differences."""
    with jax.enable_x64(True):
        yield
