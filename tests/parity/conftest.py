"""Chooses the recorded files that every parity test runs on."""

from pathlib import Path

import pytest
import reference

FIXTURES = Path(__file__).parents[1] / "fixtures"


def _folders(config) -> list[Path]:
    extra = config.getoption("--parity-dir")
    return [FIXTURES] if extra is None else [FIXTURES, Path(extra)]


def pytest_generate_tests(metafunc):
    if "recording_path" in metafunc.fixturenames:
        paths = [
            path for path in reference.paths(_folders(metafunc.config)) if reference.is_agent(path)
        ]
        # Each is compiled by itself, which takes long.
        quick = ("proprio",)
        marked = [
            pytest.param(path, marks=[] if path.stem in quick else pytest.mark.slow)
            for path in paths
        ]
        metafunc.parametrize("recording_path", marked, ids=[p.stem for p in paths], scope="module")
    if "blocks_path" in metafunc.fixturenames:
        paths = [
            path for path in reference.paths(_folders(metafunc.config)) if reference.is_blocks(path)
        ]
        metafunc.parametrize("blocks_path", paths, ids=lambda p: p.stem, scope="module")
