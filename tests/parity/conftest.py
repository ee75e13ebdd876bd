"""Chooses the recorded files that every parity test runs on."""

from pathlib import Path

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
        metafunc.parametrize("recording_path", paths, ids=lambda p: p.stem, scope="module")
    if "blocks_path" in metafunc.fixturenames:
        paths = [
            path for path in reference.paths(_folders(metafunc.config)) if reference.is_blocks(path)
        ]
        metafunc.parametrize("blocks_path", paths, ids=lambda p: p.stem, scope="module")
