"""`scripts/doctor.py`, on installations with something wrong."""

import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import pytest
from run_script import run

import gpld
from gpld.commands import doctor
from gpld.commands.doctor import Check, run_check
from gpld.machine.subprocesses import Outcome
from gpld.xla import flags

INSTALL = "`pip install -e . -c requirements.lock` in the checkout"


def distribution(folder, name, version):
    """Makes a package of some version look installed."""
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


def before(folder):
    """PYTHONPATH with which the modules of a folder hide others."""
    return os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])


@pytest.mark.slow
def test_a_wrong_mujoco_is_named_and_the_rest_examined(tmp_path):
    distribution(tmp_path, "mujoco", "4.0.0")
    (tmp_path / "dm_control").mkdir()
    (tmp_path / "dm_control" / "__init__.py").write_text(
        "raise AttributeError(\"'MjModel' object has no attribute 'flex_vertedge'\")"
    )
    result = run("doctor.py", PYTHONPATH=before(tmp_path))
    assert (result.returncode, result.stderr) == (1, "")
    lines = result.stdout.splitlines()
    assert all(re.match(r"(ok|warning|failed) +[\w-]+ +\S", line) for line in lines)
    found = {line.split()[1]: " ".join(line.split()) for line in lines}
    assert found["mujoco"] == (
        f"failed mujoco 4.0.0 is installed, but gpld needs mujoco==3.17.0: {INSTALL}."
    )
    assert found["episode"] == (
        "failed episode AttributeError: 'MjModel' object has no attribute 'flex_vertedge': tasks "
        "need dm_control and mujoco in the versions of pyproject.toml."
    )
    assert found["rendering"].startswith("warning rendering no videos: dm_control does not start")
    assert re.fullmatch(r"ok update a tiny agent learns, \d+ s with .*", found["update"])
    assert [line.split()[1] for line in lines if line.startswith("failed")] == ["mujoco", "episode"]


@pytest.mark.slow
def test_without_jaxlib_the_rest_is_examined(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.metadata, sys\n"
        "class NoJaxlib:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] == 'jaxlib':\n"
        "            raise ModuleNotFoundError(name)\n"
        "version = importlib.metadata.version\n"
        "def of_all_but_jaxlib(name):\n"
        "    if name == 'jaxlib':\n"
        "        raise importlib.metadata.PackageNotFoundError(name)\n"
        "    return version(name)\n"
        "importlib.metadata.version = of_all_but_jaxlib\n"
        "sys.meta_path.insert(0, NoJaxlib())\n"
    )
    result = run("doctor.py", PYTHONPATH=before(tmp_path))
    assert (result.returncode, result.stderr) == (1, "")
    failed = {
        line.split()[1]: line for line in result.stdout.splitlines() if line.startswith("failed")
    }
    assert list(failed) == ["jaxlib", "device", "fusions", "cache", "update"]
    assert all("jaxlib" in line for line in failed.values())
    assert failed["jaxlib"].endswith(f" is not installed: {INSTALL}.")


@pytest.mark.parametrize(("args", "code"), [(["--help"], 0), (["--fast"], 2)])
def test_it_has_no_options(args, code):
    result = run("doctor.py", *args)
    assert result.returncode == code
    assert ("exit code is 1" in result.stdout) == (code == 0)
    assert result.stderr == ("error: Unknown argument --fast; there are none.\n" if code else "")


def test_what_is_installed_here_is_right():
    needed = doctor.requirements()
    checks = [run_check(name, doctor.package, name, versions) for name, versions in needed]
    assert {check.status for check in checks} == {"ok"}
    assert Check("jax", "ok", jax.__version__) in checks
    assert {"jaxlib", "equinox", "optax", "mujoco", "mujoco-mjx", "dm_control"} <= {
        check.name for check in checks
    }


def test_missing_and_old_packages():
    missing = run_check("no_such_package", doctor.package, "no_such_package", ">=1.5")
    assert str(missing) == f"failed   no_such_package    is not installed: {INSTALL}."
    old = run_check("numpy", doctor.package, "numpy", ">=99")
    assert old.text.endswith(f" is installed, but gpld needs numpy>=99: {INSTALL}.")


def test_plugins_that_do_not_go_with_jax(tmp_path, monkeypatch):
    distribution(tmp_path, "jax-cuda12-plugin", "0.9.0")
    distribution(tmp_path, "jax-cuda12-pjrt", jax.__version__)
    monkeypatch.syspath_prepend(tmp_path)
    assert doctor.cuda_plugins() == ["jax-cuda12-plugin", "jax-cuda12-pjrt"]
    wrong, right = (run_check(n, doctor.cuda_plugin, n) for n in doctor.cuda_plugins())
    assert wrong == Check(
        "jax-cuda12-plugin",
        "failed",
        f"0.9.0 does not go with jax {jax.__version__}: "
        f"`pip install -U 'jax[cuda12]=={jax.__version__}'`.",
    )
    assert right == Check("jax-cuda12-pjrt", "ok", jax.__version__)


@pytest.fixture
def gpu(tmp_path, monkeypatch):
    """Puts a GPU into the machine, as far as the driver's own program tells."""

    def gpu(driver):
        program = tmp_path / "nvidia-smi"
        program.write_text(f"#!/bin/sh\necho NVIDIA H100 80GB HBM3, {driver}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
        monkeypatch.delenv("JAX_PLATFORMS", raising=False)
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        monkeypatch.setattr(doctor, "run_python", lambda *args, **kwargs: Outcome(True, "cpu, cpu"))

    return gpu


@pytest.mark.parametrize(("driver", "extra"), [("535.161.08", "cuda12"), ("580.65.06", "cuda13")])
def test_a_gpu_that_jax_does_not_use(gpu, driver, extra):
    gpu(driver)
    assert run_check("device", doctor.device) == Check(
        "device",
        "warning",
        "JAX uses the processor, although there is a GPU (NVIDIA H100 80GB HBM3): install the "
        f"extra gpld[{extra}], `pip install -e '.[{extra}]'`.",
    )


def test_a_gpu_that_is_hidden(gpu, monkeypatch):
    gpu("580.65.06")
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    assert (
        "JAX_PLATFORMS is set; unset it to use the GPU." in run_check("device", doctor.device).text
    )


@pytest.fixture
def plugin(monkeypatch):
    """Has JAX's plugin for GPUs installed in a machine without a GPU's driver."""
    monkeypatch.setattr(doctor, "nvidia", lambda: ("", 0))
    monkeypatch.setattr(doctor, "cuda_plugins", lambda: ["jax-cuda12-plugin", "jax-cuda12-pjrt"])
    monkeypatch.setattr(doctor, "run_python", lambda *args, **kwargs: Outcome(True, "cpu, cpu"))
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)


def test_a_plugin_without_a_driver(plugin, monkeypatch):
    check = run_check("device", doctor.device)
    assert check.status == "warning"
    assert "there is no driver of NVIDIA" in check.text
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")  # the processor was chosen
    assert run_check("device", doctor.device) == Check("device", "ok", "cpu")


def test_a_platform_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setattr(
        doctor, "run_python", lambda *args, **kwargs: Outcome(False, "AssertionError")
    )
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    assert run_check("device", doctor.device).text == (
        "JAX does not start with JAX_PLATFORMS=cuda, which can be unset: AssertionError."
    )


def test_a_machine_without_gpu(monkeypatch):
    monkeypatch.setattr(doctor, "nvidia", lambda: ("", 0))
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    assert run_check("device", doctor.device) == Check("device", "ok", "cpu")


@pytest.mark.parametrize(
    ("flags", "status", "text"),
    [
        ("--xla_cpu_experimental_ynn_fusion_type=", "ok", "turned off"),
        ("--a=b --xla_cpu_experimental_ynn_fusion_type= --c=d", "ok", "turned off"),
        (f"--xla_cpu_experimental_ynn_fusion_type={flags._PRODUCTS}", "ok", "turned off"),
        ("--xla_cpu_experimental_ynn_fusion_type=dot", "warning", "unset it"),
        ("", "warning", "pytest tests/xla/test_flags.py"),
    ],
)
def test_faulty_fusions(monkeypatch, flags, status, text):
    monkeypatch.setenv("XLA_FLAGS", flags)
    check = run_check("fusions", doctor.fusions)
    assert check.status == status
    assert text in check.text


def test_folders_that_cannot_be_written(monkeypatch):
    monkeypatch.chdir("/proc")
    assert run_check("disk", doctor.disk) == Check(
        "disk", "warning", "/proc is read-only: name another place with `--run`."
    )
    monkeypatch.setattr(doctor, "run_python", lambda *args, **kwargs: Outcome(True, "/proc/cache"))
    check = run_check("cache", doctor.cache)
    assert check.status == "warning"
    assert check.text.startswith("/proc/cache cannot be written, so every run compiles anew")


def test_a_check_that_breaks_is_a_line_as_well(monkeypatch):
    def broken():
        raise OSError("two\nlines")

    def without_package():
        raise ModuleNotFoundError("No module named 'psutil'")

    assert str(run_check("cores", broken)) == "failed   cores              OSError: two lines"
    text = run_check("memory", without_package).text
    assert text == f"No module named 'psutil': {INSTALL}."


def test_it_needs_the_standard_library_alone():
    code = (
        "import sys, gpld.commands.doctor\n"
        "print(*{name.partition('.')[0] for name in sys.modules} - sys.stdlib_module_names)"
    )
    root = str(Path(gpld.__file__).parents[1])
    command = [sys.executable, "-S", "-c", code]  # without site-packages
    result = subprocess.run(command, env={"PYTHONPATH": root}, capture_output=True, text=True)
    # The last is what multiprocessing calls the first.
    names = {"gpld", "__main__", "__mp_main__"}
    assert result.returncode == 0, result.stderr
    assert set(result.stdout.split()) <= names
