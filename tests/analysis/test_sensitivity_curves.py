"""Sensitivities of many runs in one picture."""

import json

import numpy as np
import pytest
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from run_folders import configured, write_run

from gpld.analysis.scores import read_runs
from gpld.analysis.sensitivity_curves import draw_sensitivities
from gpld.errors import UsageError


def measured(path, seed, lambda0, means):
    config = configured("walker_walk", seed, lambda0=lambda0, env_steps=5_000)
    write_run(path, config, [(5_008, [1.0])])
    checkpoints = [
        {"frame": frame, "posterior": {"mean": mean}, "prior": {"mean": 2 * mean}}
        for frame, mean in means.items()
    ]
    (path / "sensitivity.json").write_text(json.dumps({"checkpoints": checkpoints}))


def test_means_over_seeds_at_common_checkpoints(tmp_path, monkeypatch):
    figures = []
    save = lambda figure, path, **_: figures.append(figure)  # noqa: E731
    monkeypatch.setattr(Figure, "savefig", save)
    for seed, means in enumerate([{100: 1.0, 200: 3.0}, {100: 2.0, 200: 5.0, 300: 9.0}]):
        measured(tmp_path / f"a{seed}", seed, 0.0, means)
    for seed, mean in enumerate((0.25, 0.75)):
        measured(tmp_path / f"b{seed}", seed, 0.5, {100: mean})
    draw_sensitivities(read_runs([tmp_path]), tmp_path / "x", baseline="DreamerV3")
    posterior, prior = figures[0].axes
    assert posterior.get_title() == "walker_walk, posterior"
    lines = {line.get_label(): line for line in prior.get_lines()}
    np.testing.assert_allclose(lines["DreamerV3 (2 seeds)"].get_xydata(), [[100, 3], [200, 8]])
    np.testing.assert_allclose(lines["GPLD (2 seeds)"].get_xydata(), [[100, 1]])
    (interval,) = (c for c in prior.collections if isinstance(c, LineCollection))  # of one point
    np.testing.assert_allclose(interval.get_segments(), [[[100, 0.5], [100, 1.5]]])
    measured(tmp_path / "c", 2, 0.5, {300: 0.5})
    with pytest.raises(UsageError, match="runs of GPLD have no checkpoints at the same frames"):
        draw_sensitivities(read_runs([tmp_path]), tmp_path / "x")
    (tmp_path / "c" / "sensitivity.json").unlink()
    with pytest.raises(UsageError, match="has no sensitivities: `python "):
        draw_sensitivities(read_runs([tmp_path]), tmp_path / "x")
