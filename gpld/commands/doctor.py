"""The command `doctor`: checks an installation, one line for each thing.

Any package may be missing or broken here, so only the standard library is imported at the top,
and what may crash runs in a process of its own.
"""

import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ..machine.subprocesses import run_python

_HELP = """Checks an installation, one line for each thing, and says what to do about it.

ok: as it should be. warning: training works without. failed: nothing works before this is
repaired; the exit code is 1 then."""

_INSTALL = "`pip install -e . -c requirements.lock` in the checkout"
_PATIENCE = 600  # seconds that a process may take
_LEAST = 2  # GiB of memory and disk below which a run is likely to fail


class Check(NamedTuple):
    """One line of the report."""

    name: str
    status: str
    """`ok`, `warning` or `failed`."""

    text: str

    def __str__(self) -> str:
        """Return one line, whatever the text holds."""
        return f"{self.status:8} {self.name:18} {' '.join(self.text.split())}"


class Problem(Exception):
    """A warning: training works all the same."""


def main(args: Sequence[str] | None = None) -> None:
    """Print a line for each check; the exit code is 1 if one failed."""
    args = sys.argv[1:] if args is None else args
    if args:  # by hand, because the parser of the other commands may be what is missing
        if args[0] in ("-h", "--help"):
            print(_HELP)
            sys.exit(0)
        print(f"error: Unknown argument {args[0]}; there are none.", file=sys.stderr)
        sys.exit(2)
    failed = False
    for check in examine():
        print(check, flush=True)
        failed |= check.status == "failed"
    sys.exit(failed)


def examine() -> Iterator[Check]:
    """Make all checks, one after the other."""
    yield run_check("python", platform.python_version)
    try:
        needed = requirements()
    except Exception as error:
        needed = []
        yield Check("packages", "failed", f"gpld does not say what it needs ({error}): {_INSTALL}.")
    for name, specifier in needed:
        yield run_check(name, package, name, specifier)
    for name in cuda_plugins():
        yield run_check(name, cuda_plugin, name)
    checks = (device, fusions, cores, memory, disk, cache, update, episode, rendering, video, wandb)
    for check in checks:
        yield run_check(check.__name__, check)


def run_check(name: str, check: Callable[..., str], *args: str) -> Check:
    """Make one check, a function that returns what it found or raises what is wrong."""
    try:
        return Check(name, "ok", check(*args))
    except Problem as problem:
        return Check(name, "warning", str(problem))
    except ImportError as error:
        return Check(name, "failed", f"{error}: {_INSTALL}.")
    except Exception as error:
        kind = "" if type(error) is RuntimeError else f"{type(error).__name__}: "
        return Check(name, "failed", f"{kind}{error}")


def requirements() -> list[tuple[str, str]]:
    """Return the packages that gpld and jax are built on, each with the versions they need.

    In a checkout those are what it asks for now, not when it was installed.
    """
    project = Path(__file__).parents[2] / "pyproject.toml"
    if project.is_file():
        lines = tomllib.loads(project.read_text())["project"]["dependencies"]
    else:
        lines = importlib.metadata.requires("gpld") or []
    if version("jax") is not None:  # which knows what jaxlib goes with it
        of_jax = importlib.metadata.requires("jax") or []
        lines += [line for line in of_jax if line.startswith("jaxlib")]
    # Those with a marker, such as that of an extra, are not needed.
    return re.findall(r"^([\w.-]+) *([^;\n]*)$", "\n".join(lines), re.MULTILINE)


def package(name: str, specifier: str) -> str:
    """Check that a package is installed in a version that gpld works with."""
    from packaging.specifiers import SpecifierSet

    installed = version(name)
    if installed is None:
        raise RuntimeError(f"is not installed: {_INSTALL}.")
    if not SpecifierSet(specifier).contains(installed, prereleases=True):
        needed = f"{name}{specifier}"
        raise RuntimeError(f"{installed} is installed, but gpld needs {needed}: {_INSTALL}.")
    return installed


def cuda_plugin(name: str) -> str:
    """Check that a plugin of JAX for NVIDIA GPUs has the version of jax."""
    own, jax = version(name), version("jax")
    if own != jax:
        command = f"pip install -U 'jax[{name.split('-')[1]}]=={jax}'"
        raise RuntimeError(f"{own} does not go with jax {jax}: `{command}`.")
    return str(own)


def device() -> str:
    """Check that JAX starts, and overlooks no GPU."""
    code = "import gpld, jax; print(jax.default_backend() + ',', jax.devices()[0].device_kind)"
    platforms = os.environ.get("JAX_PLATFORMS")
    setting = f" with JAX_PLATFORMS={platforms}, which can be unset" if platforms else ""
    found = last_line(code, f"JAX does not start{setting}: {{}}.")
    gpu, driver = nvidia()
    if found.startswith("cpu") and not gpu and cuda_plugins() and not platforms:
        raise Problem(
            "JAX uses the processor: its plugin for NVIDIA GPUs is installed, but there is no "
            "driver of NVIDIA, which a GPU needs (`nvidia-smi` then shows it)."
        )
    if not gpu or not found.startswith("cpu"):
        return found.removesuffix(", cpu")
    text = f"JAX uses the processor, although there is a GPU ({gpu}): "
    for variable in ("JAX_PLATFORMS", "CUDA_VISIBLE_DEVICES"):
        if variable in os.environ:
            raise Problem(f"{text}{variable} is set; unset it to use the GPU.")
    if not cuda_plugins():
        extra = "cuda13" if driver >= 580 else "cuda12"
        raise Problem(f"{text}install the extra gpld[{extra}], `pip install -e '.[{extra}]'`.")
    reason = run_python("import jax; jax.devices()", timeout=_PATIENCE, JAX_PLATFORMS="cuda").text
    raise Problem(f"{text}{reason}.")


def fusions() -> str:
    """Check that XLA is told not to use fusions that give wrong numbers on CPUs."""
    from ..xla import flags

    jaxlib = importlib.metadata.version("jaxlib")
    given = [flag for flag in os.environ.get("XLA_FLAGS", "").split() if flags._FUSIONS in flag]
    if not given:
        text = f"jaxlib {jaxlib} is not known here: `pytest tests/xla/test_flags.py` tells "
        raise Problem(f"{text}whether its CPU programs are right.")
    if not given[-1].endswith(("=", f"={flags._PRODUCTS}")):
        text = f"XLA_FLAGS sets {given[-1]}, with which CPU programs give wrong numbers"
        raise Problem(f"{text}: unset it.")
    return "XLA's faulty ones are turned off"


def cores() -> str:
    """Count the processor cores."""
    return str(len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count())


def memory() -> str:
    """Check the free memory."""
    import psutil

    found = psutil.virtual_memory()
    text = f"{found.available / 2**30:.1f} of {found.total / 2**30:.1f} GiB are free"
    if found.available < _LEAST * 2**30:
        raise Problem(f"{text}: only runs with a small replay will fit.")
    return text


def disk() -> str:
    """Check the room in the working folder, where runs go by default."""
    folder = Path.cwd()
    free = shutil.disk_usage(folder).free / 2**30
    if not writable(folder):
        raise Problem(f"{folder} is read-only: name another place with `--run`.")
    if free < _LEAST:
        raise Problem(f"only {free:.1f} GiB are free in {folder}: make room, or use another place.")
    return f"{free:.1f} GiB are free in {folder}"


def cache() -> str:
    """Check the folder of compiled programs."""
    code = (
        "import jax; from gpld.xla.cache import cache_compilations; cache_compilations(); "
        "print(jax.config.jax_compilation_cache_dir)"
    )
    folder = last_line(code, "gpld cannot be imported: {}.")
    if folder != "None" and writable(Path(folder)):
        return folder
    problem = "there is no home for them" if folder == "None" else f"{folder} cannot be written"
    advice = "set JAX_COMPILATION_CACHE_DIR to another folder"
    raise Problem(f"{problem}, so every run compiles anew: {advice}.")


def update() -> str:
    """Check that an agent learns: a run of the preset `debug` on a task without a simulator."""
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        args = ["--preset=debug", "--task=probe_memory", "--env.action_repeat=1"]
        args += ["--env_steps=80", "--log.report_every=0", f"--run={folder}/run"]
        last_line(
            f"from gpld.commands.train import main; main({args})",
            "{}: learning needs jax, equinox and optax in the versions of requirements.lock.",
            # Without optimisation, which would take most of the time.
            XLA_FLAGS=f"{os.environ.get('XLA_FLAGS', '')} --xla_backend_optimization_level=0",
        )
    return f"a tiny agent learns, {time.perf_counter() - began:.0f} s with compilation"


def episode() -> str:
    """Check that a task of dm_control runs."""
    return last_line(
        "import gpld; gpld.make_env('walker_walk', seed=0).reset(); print('walker_walk begins')",
        "{}: tasks need dm_control and mujoco in the versions of pyproject.toml.",
    )


def rendering() -> str:
    """Check that videos can be drawn, which nothing else depends on."""
    from ..envs.dmc.opengl import find_backend
    from ..errors import MachineError

    try:
        return find_backend()
    except MachineError as error:
        raise Problem(f"no videos: {error}") from error


def video() -> str:
    """Check that videos can be written."""
    return last_line(
        "import imageio_ffmpeg as own; print('ffmpeg', own.get_ffmpeg_version())",
        "no videos: {}; `pip install --force-reinstall imageio-ffmpeg`.",
        Problem,
    )


def wandb() -> str:
    """Look for the optional package of Weights & Biases."""
    absent = "not installed, and needed only for `--log.wandb`: `pip install -e '.[wandb]'`"
    return version("wandb") or absent


def last_line(code: str, otherwise: str, kind: type = RuntimeError, **environment: str) -> str:
    """Return what a process printed last; raise what is to be said `otherwise`."""
    works, text = run_python(code, timeout=_PATIENCE, **environment)
    if not works:
        raise kind(otherwise.format(text))
    return text


def version(package: str) -> str | None:
    """Return the installed version of a package; None if there is none."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def cuda_plugins() -> list[str]:
    """Return the installed plugins of JAX for NVIDIA GPUs."""
    names = [f"jax-cuda{number}-{part}" for number in (12, 13) for part in ("plugin", "pjrt")]
    return [name for name in names if version(name) is not None]


def nvidia() -> tuple[str, int]:
    """Return the name of the first NVIDIA GPU and the first part of its driver's version."""
    query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        result = subprocess.run(query, capture_output=True, text=True, timeout=60, check=True)
        name, _, driver = result.stdout.splitlines()[0].rpartition(", ")
        return name, int(driver.partition(".")[0])
    except (OSError, subprocess.SubprocessError, IndexError, ValueError):
        # Without that program, as in some containers, the driver still says that it is there.
        there = Path("/proc/driver/nvidia/version").exists()
        return ("of an unknown kind" if there else ""), 0


def writable(folder: Path) -> bool:
    """Return whether files can be made in a folder, which is made itself if need be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False
