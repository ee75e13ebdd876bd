"""Checks of an installation: one line each, which says what to do.

Packages may be missing or wrong here, so that nothing but the standard library is imported
before a check needs it, and what may crash runs in a process of its own.
"""

import importlib.metadata
import math
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from .machine.subprocesses import run_python

# Seconds that a check in a process of its own may take.
_PATIENCE = 600

# GiB below which a run is likely to fail; it says at its start what it needs.
_LEAST_MEMORY, _LEAST_DISK = 2, 2


class Check(NamedTuple):
    """What was found."""

    name: str
    status: Literal["ok", "warning", "failed"]
    text: str

    def __str__(self) -> str:
        """One line, whatever the text holds."""
        return f"{self.status:8} {self.name:16} {' '.join(self.text.split())}"


def examine() -> Iterator[Check]:
    """Makes all checks, one after the other; those that fail by themselves are failed ones."""
    checks: dict[str, Callable[[], Check | list[Check]]] = {
        "python": check_python,
        "packages": check_packages,
        "cuda": check_cuda,
        "device": check_device,
        "fusions": check_fusions,
        "cores": check_cores,
        "memory": check_memory,
        "disk": check_disk,
        "cache": check_cache,
        "update": check_update,
        "episode": check_episode,
        "rendering": check_rendering,
        "video": check_video,
        "wandb": check_wandb,
    }
    for name, check in checks.items():
        try:
            result = check()
        except ImportError as error:
            result = Check(name, "failed", f"{error}: `pip install -e .` in the checkout.")
        except Exception as error:
            result = Check(name, "failed", f"{type(error).__name__}: {error}")
        yield from [result] if isinstance(result, Check) else result


def check_python() -> Check:
    """The interpreter's version."""
    version, least = platform.python_version(), (3, 11)
    if sys.version_info < least:
        return Check("python", "failed", f"{version}, but 3.11 or later is needed.")
    return Check("python", "ok", version)


def check_packages() -> list[Check]:
    """Versions of what the package is built on, against what it asks for."""
    from packaging.requirements import Requirement

    needed = [Requirement(line) for line in _requirements()]
    # Those with exact versions depend on each other's, and are installed together.
    pins = [str(requirement) for requirement in needed if "==" in str(requirement.specifier)]
    if _version("jax") is not None:  # which knows what jaxlib goes with it
        of_jax = [Requirement(line) for line in importlib.metadata.requires("jax") or []]
        needed += [r for r in of_jax if r.name == "jaxlib" and r.marker is None]
    checks = []
    for requirement in needed:
        name, version = requirement.name, _version(requirement.name)
        wanted = pins if str(requirement) in pins else [str(requirement)]
        command = "`pip install " + " ".join(f"'{line}'" for line in wanted) + "`"
        if version is None:
            checks.append(Check(name, "failed", f"is not installed: {command}."))
        elif not requirement.specifier.contains(version, prereleases=True):
            text = f"{version} is installed, but gpld needs {requirement}: {command}."
            checks.append(Check(name, "failed", text))
        else:
            checks.append(Check(name, "ok", version))
    return checks


def check_cuda() -> list[Check]:
    """Whether JAX's plugins for NVIDIA GPUs go with jax."""
    jax, checks = _version("jax"), []
    for name, version in _cuda_plugins().items():
        if version == jax:
            checks.append(Check(name, "ok", version))
        else:
            extra = name.split("-")[1]
            text = f"{version} does not go with jax {jax}: `pip install -U 'jax[{extra}]=={jax}'`."
            checks.append(Check(name, "failed", text))
    return checks


def check_device() -> Check:
    """What JAX computes on, and whether it overlooks a GPU."""
    code = "import gpld, jax; print(jax.default_backend() + ',', jax.devices()[0].device_kind)"
    works, device = run_python(code, timeout=_PATIENCE)
    if not works:
        return Check("device", "failed", f"JAX does not start: {device}.")
    gpus, driver = _nvidia()
    if not gpus or not device.startswith("cpu"):
        return Check("device", "ok", device.removesuffix(", cpu"))
    text = f"JAX uses the processor, although there is a GPU ({gpus[0]}): "
    for variable in ("JAX_PLATFORMS", "CUDA_VISIBLE_DEVICES"):
        if variable in os.environ:
            return Check("device", "warning", f"{text}{variable} is set; unset it to use the GPU.")
    if not _cuda_plugins():
        extra = "cuda13" if driver is None or driver >= 580 else "cuda12"
        text += f"install the extra gpld[{extra}], `pip install -e '.[{extra}]'`."
        return Check("device", "warning", text)
    _, reason = run_python("import jax; jax.devices()", timeout=_PATIENCE, JAX_PLATFORMS="cuda")
    return Check("device", "warning", f"{text}{reason}.")


def check_fusions() -> Check:
    """Whether XLA is told not to use fusions that give wrong numbers on CPUs."""
    from .xla import flags

    version = importlib.metadata.version("jaxlib")
    given = [flag for flag in os.environ.get("XLA_FLAGS", "").split() if flags._OPTION in flag]
    if not given:
        text = f"jaxlib {version} is not known here: `pytest tests/xla/test_flags.py` tells "
        return Check("fusions", "warning", f"{text}whether its CPU programs are right.")
    if not given[-1].endswith(("=", f"={flags._PRODUCTS}")):
        text = f"XLA_FLAGS sets {given[-1]}, with which CPU programs give wrong numbers: unset it."
        return Check("fusions", "warning", text)
    return Check("fusions", "ok", "XLA's faulty ones are turned off")


def check_cores() -> Check:
    """Processor cores."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = os.cpu_count() if affinity is None else len(affinity(0))
    return Check("cores", "ok", str(cores))


def check_memory() -> Check:
    """Memory of the machine."""
    import psutil

    memory = psutil.virtual_memory()
    text = f"{memory.available / 2**30:.1f} of {memory.total / 2**30:.1f} GiB are free"
    if memory.available < _LEAST_MEMORY * 2**30:
        return Check("memory", "warning", f"{text}: only runs with a small replay will fit.")
    return Check("memory", "ok", text)


def check_disk() -> Check:
    """Room in the working folder, where runs go by default."""
    folder = Path.cwd()
    free = shutil.disk_usage(folder).free / 2**30
    if not _writable(folder):
        return Check("disk", "warning", f"{folder} is read-only: name another place with `--run`.")
    if free < _LEAST_DISK:
        text = f"only {free:.1f} GiB are free in {folder}: make room, or use another place."
        return Check("disk", "warning", text)
    return Check("disk", "ok", f"{free:.1f} GiB are free in {folder}")


def check_cache() -> Check:
    """Where compiled programs are kept."""
    code = (
        "import jax; from gpld.xla.cache import cache_compilations; cache_compilations(); "
        "print(jax.config.jax_compilation_cache_dir)"
    )
    works, folder = run_python(code, timeout=_PATIENCE)
    if not works:
        return Check("cache", "failed", f"gpld cannot be imported: {folder}.")
    if folder == "None":
        text = "there is no home for them, so every run compiles anew: set HOME or "
        return Check("cache", "warning", f"{text}JAX_COMPILATION_CACHE_DIR to a folder.")
    if not _writable(Path(folder)):
        text = f"{folder} cannot be written, so every run compiles anew: set "
        return Check("cache", "warning", f"{text}JAX_COMPILATION_CACHE_DIR to another folder.")
    return Check("cache", "ok", folder)


def check_update() -> Check:
    """Whether an agent can learn."""
    code = "from gpld.doctor import tiny_update; print(tiny_update())"
    # Without optimisation, which would take most of the time.
    flags = os.environ.get("XLA_FLAGS", "") + " --xla_backend_optimization_level=0"
    works, text = run_python(code, timeout=_PATIENCE, XLA_FLAGS=flags)
    if not works:
        text += ": learning needs jax, equinox and optax in the versions of requirements.lock."
    return Check("update", "ok" if works else "failed", text)


def tiny_update() -> str:
    """Updates an agent of the preset `debug`.

    Raises:
        ValueError: If the loss is not finite.
    """
    import equinox as eqx
    import jax
    import jax.numpy as jnp

    from . import agent
    from .config.presets import PRESETS
    from .losses import Batch
    from .models import StoredLatent
    from .xla.cache import cache_compilations

    cache_compilations()
    config = PRESETS["debug"]
    shape, model = (config.replay.batch_size, config.replay.batch_length), config.model
    batch = Batch(
        observation={"position": jnp.ones((*shape, 3))},
        prev_action=jnp.zeros((*shape, 1)),
        reward=jnp.ones(shape),
        is_first=jnp.zeros(shape, bool),
        is_last=jnp.zeros(shape, bool),
        is_terminal=jnp.zeros(shape, bool),
        context=StoredLatent(
            jnp.zeros((shape[0], model.dims.deter), agent.choices(config).dtype),
            jnp.zeros((shape[0], model.stoch), jnp.uint8),
        ),
    )
    init_key, update_key = jax.random.split(jax.random.key(0))
    began = time.perf_counter()
    state = eqx.filter_jit(agent.init)(config, {"position": (3,)}, 1, key=init_key)
    _, _, metrics = eqx.filter_jit(agent.update)(state, batch, config=config, key=update_key)
    loss = float(metrics["opt/loss"])
    if not math.isfinite(loss):
        raise ValueError(f"the loss is {loss}")
    seconds = time.perf_counter() - began
    return f"loss {loss:.3f} of a tiny agent, {seconds:.0f} s with compilation"


def check_episode() -> Check:
    """Whether a task of dm_control runs."""
    code = "from gpld.doctor import tiny_episode; print(tiny_episode())"
    works, text = run_python(code, timeout=_PATIENCE)
    if not works:
        text += ": tasks need dm_control and mujoco in the versions of pyproject.toml."
    return Check("episode", "ok" if works else "failed", text)


def tiny_episode() -> str:
    """Runs the beginning of an episode."""
    import numpy as np

    from .envs import make_env

    env = make_env("walker_walk", seed=0, action_repeat=2)
    env.reset()
    began = time.perf_counter()
    for _ in range(20):
        env.step(np.zeros(env.spec.action_size, np.float32))
    seconds = (time.perf_counter() - began) / 20
    env.close()
    return f"{1000 * seconds:.1f} ms for an env step of walker_walk"


def check_rendering() -> Check:
    """Whether videos can be drawn, which nothing else depends on."""
    from .envs.dmc.opengl import find_backend
    from .errors import MachineError

    try:
        return Check("rendering", "ok", find_backend())
    except MachineError as error:
        return Check("rendering", "warning", f"no videos: {error}")


def check_video() -> Check:
    """Whether videos can be written."""
    try:
        from imageio_ffmpeg import get_ffmpeg_version

        return Check("video", "ok", f"ffmpeg {get_ffmpeg_version()}")
    except (ImportError, RuntimeError, OSError) as error:
        text = f"no videos: {error}; `pip install --force-reinstall imageio-ffmpeg`."
        return Check("video", "warning", text)


def check_wandb() -> Check:
    """The optional package for Weights & Biases."""
    version = _version("wandb")
    if version is None:
        text = "not installed, and needed only for `--log.wandb`: `pip install -e '.[wandb]'`"
        return Check("wandb", "ok", text)
    return Check("wandb", "ok", version)


def _requirements() -> list[str]:
    """What the package asks for: in a checkout as it is now, not as it was when installed."""
    pyproject = Path(__file__).parents[1] / "pyproject.toml"
    if pyproject.exists():
        import tomllib

        return tomllib.loads(pyproject.read_text())["project"]["dependencies"]
    lines = importlib.metadata.requires("gpld") or []
    return [line for line in lines if "extra ==" not in line]


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cuda_plugins() -> dict[str, str]:
    """JAX's installed plugins for NVIDIA GPUs, with their versions."""
    names = [f"jax-cuda{number}-{part}" for number in (12, 13) for part in ("plugin", "pjrt")]
    return {name: version for name in names if (version := _version(name)) is not None}


def _nvidia() -> tuple[list[str], int | None]:
    """Names of the NVIDIA GPUs in the machine, and the first part of their driver's version."""
    query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        result = subprocess.run(query, capture_output=True, text=True, timeout=60, check=True)
        rows = [line.rsplit(", ", 1) for line in result.stdout.splitlines() if ", " in line]
    except (OSError, subprocess.SubprocessError):
        files = sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
        models = [re.search(r"^Model:\s*(.*)$", f.read_text(), re.MULTILINE) for f in files]
        return [model[1] if model else "NVIDIA" for model in models], None
    return [row[0] for row in rows], int(rows[0][1].partition(".")[0]) if rows else None


def _writable(folder: Path) -> bool:
    """Whether files can be made in a folder, which is made itself if need be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False
