"""The job script of the documentation, with programs in the place of SLURM's."""

import os
import re
import stat
import subprocess
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "slurm.md"


@pytest.mark.parametrize(("code", "requeued"), [(0, False), (1, False), (2, False), (75, True)])
def test_the_job_ends_with_the_code_of_its_program(tmp_path, code, requeued):
    (block,) = re.findall(r"((?:    .*\n)*    srun .*\n(?:    .*\n)*)", PAGE.read_text())
    script = re.sub("^    ", "", block, flags=re.MULTILINE)
    for name, line in (("srun", f"exit {code}"), ("scontrol", f'echo "$@" > {tmp_path}/asked')):
        (tmp_path / name).write_text(f"#!/bin/sh\n{line}\n")
        (tmp_path / name).chmod(stat.S_IRWXU)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_ID": "7",
                   "SCRATCH": str(tmp_path)}  # fmt: skip
    for shell in (["bash"], ["bash", "-e"]):
        (tmp_path / "asked").unlink(missing_ok=True)
        result = subprocess.run([*shell, "-c", script], env=environment, check=False)
        assert result.returncode == code
        assert (tmp_path / "asked").exists() == requeued
    if requeued:
        assert (tmp_path / "asked").read_text() == "requeue 7\n"
