"""Curves over seeds and tasks."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from run_folders import configured, write_run

from gpld.analysis.curve_figures import draw_task_curves
from gpld.analysis.curves import (
    arm_scores,
    curve,
    moving_average,
    relative_to,
)
from gpld.analysis.figures import seed_curves
from gpld.analysis.published import random_return
from gpld.analysis.scores import interquartile_mean, normalised, read_runs
from gpld.errors import UsageError


def runs_of(root, scores, *, task="walker_run"):
    """A run for each seed, with a score at each multiple of 10,000 frames."""
    for seed, values in enumerate(scores):
        config = configured(task, seed, env_steps=5_000 * len(values))
        evaluations = [
            (-(-5_000 * (i + 1) // 16) * 16, [value - 1, value + 1])
            for i, value in enumerate(values)
        ]
        write_run(root / task / f"seed{seed}", config, evaluations)
    return read_runs([root])


def test_mean_and_interval_at_the_moments_that_all_runs_have(tmp_path):
    arm = arm_scores(runs_of(tmp_path, [[0, 10, 20], [4, 20, 30, 99]]))
    np.testing.assert_array_equal(arm.frames, [10_000, 20_000, 30_000])
    np.testing.assert_array_equal(arm.scores["walker_run"], [[0, 4], [10, 20], [20, 30]])
    own = curve(arm)
    np.testing.assert_array_equal(own.estimate, [2, 15, 25])
    # Two seeds: each of them alone is drawn in a quarter of the resamples.
    np.testing.assert_array_equal(own.low, [0, 10, 20])
    np.testing.assert_array_equal(own.high, [4, 20, 30])
    assert own.seeds == (2, 2)


def test_runs_are_drawn_with_all_of_their_curve(tmp_path):
    """The difference between two moments is the same in every run, and so has no width."""
    arm = arm_scores(runs_of(tmp_path, [[0, 10], [100, 110], [7, 17]]))
    gain = curve(arm, lambda scores: np.diff(scores["walker_run"].mean(-1), append=0.0))
    assert gain.low[0] == pytest.approx(10)
    assert gain.high[0] == pytest.approx(10)


def test_aggregates_over_tasks(tmp_path):
    runs_of(tmp_path, [[100, 200], [300, 400]])
    arm = arm_scores(runs_of(tmp_path, [[10, 20]], task="hopper_hop"))
    ratio = curve(arm, relative_to({"walker_run": 400.0, "hopper_hop": 10.0}))
    np.testing.assert_allclose(ratio.estimate, [(0.5 + 1) / 2, (0.75 + 2) / 2])
    assert ratio.seeds == (1, 2)
    # Three runs: none is left out.
    iqm = curve(arm._replace(scores=normalised(arm.scores)), interquartile_mean)
    np.testing.assert_allclose(iqm.estimate, [0.41 / 3, 0.62 / 3])


def test_smoothing_is_the_published_one(tmp_path):
    np.testing.assert_allclose(moving_average(np.array([1.0, 2.0, 0.0]), 0.1), [1, 1.1, 0.99])
    np.testing.assert_array_equal(moving_average(np.array([1.0, 2.0]), 1.0), [1, 2])
    runs = runs_of(tmp_path, [[0, 10], [4, 20]])
    smoothed, raw = arm_scores(runs, smooth=0.25), arm_scores(runs)
    np.testing.assert_allclose(smoothed.scores["walker_run"], [[0, 4], [2.5, 8]])
    # Means of averages are averages of means.
    means = moving_average(curve(raw).estimate, 0.25)
    np.testing.assert_allclose(curve(smoothed).estimate, means)
    with pytest.raises(ValueError, match=r"`smooth` must lie in \(0, 1\], got 0"):
        arm_scores(runs, smooth=0)


def test_nothing_is_interpolated(tmp_path):
    runs = runs_of(tmp_path, [[1.0], [2.0]])
    write_run(tmp_path / "other", configured("walker_run", 7, env_steps=3_008), [(3_008, [1.0])])
    with pytest.raises(UsageError, match="runs of GPLD have no evaluations at the same frames"):
        arm_scores(read_runs([tmp_path]))
    assert len(runs) == 2


@pytest.mark.parametrize(
    ("task", "values", "ends"),
    [
        ("walker_run", [900, 950], (0, 1040)),
        ("probe_delayed", [-0.5, 0.5], (-1, 1.08)),
        ("gymnasium:Pendulum-v1", [-1200, -150], (-1270, -90)),
    ],
)
def test_axes_show_all_returns_that_a_task_can_have_or_else_the_data(
    tmp_path, monkeypatch, task, values, ends
):
    figures = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: figures.append(figure))
    runs = runs_of(tmp_path, [values], task=task)
    draw_task_curves(runs, tmp_path / "x", published=False)
    seed_curves(tmp_path, tmp_path / "y.png", arm="GPLD", task=task)
    random = random_return(task)
    for figure in (figures[0], figures[-1]):
        labels = {line.get_label(): line.get_ydata() for line in figure.axes[0].lines}
        assert ("random actions" in labels) == (random is not None)
        assert random is None or list(labels["random actions"]) == [random] * 2
        low, high = figure.axes[0].get_ylim()
        if task.startswith("gymnasium"):
            assert ends[0] < low < values[0]
        else:
            assert low == ends[0]
            assert high == pytest.approx(ends[1])
        assert values[1] < high <= ends[1] + 1e-9


def test_there_are_no_panels_without_a_task(tmp_path, monkeypatch):
    figures = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: figures.append(figure))
    tasks = ["cartpole_balance", "hopper_hop", "reacher_easy", "walker_run", "walker_walk"]
    runs = [run for task in tasks for run in runs_of(tmp_path / task, [[1, 2]], task=task)]
    draw_task_curves(runs, tmp_path / "x", published=False)
    assert [axes.get_title() for axes in figures[0].axes] == tasks  # of six panels


@pytest.mark.parametrize(("tasks", "columns"), [(1, 1), (2, 2), (3, 3), (4, 2), (5, 3), (18, 6)])
def test_panels_leave_few_gaps(tmp_path, monkeypatch, tasks, columns):
    figures = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: figures.append(figure))
    names = [f"toy_{i}" for i in range(tasks)]
    runs = [run for name in names for run in runs_of(tmp_path / name, [[1, 2]], task=name)]
    draw_task_curves(runs, tmp_path / "x", published=False)
    assert figures[0].axes[0].get_gridspec().ncols == columns
