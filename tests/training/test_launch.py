"""A training process is set up before it trains."""

import pytest

from gpld.config.flags import parse_settings
from gpld.training import launch


@pytest.mark.parametrize(
    ("flags", "kept"),
    [
        ("--preset small", False),
        ("--preset paper", True),
        ("--preset small --model.deter 512", True),
    ],
)
def test_freed_memory_is_kept_for_large_networks_alone(monkeypatch, tmp_path, flags, kept):
    done = []
    for name in ("connect", "choose_platform", "cache_compilations", "keep_freed_memory", "train"):
        monkeypatch.setattr(launch, name, lambda *_, name=name, **__: done.append(name))
    launch.launch(parse_settings(flags.split()), tmp_path)
    assert ("keep_freed_memory" in done) == kept
    assert done[-1] == "train"
