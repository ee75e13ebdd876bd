"""Tables and pictures of what world models predict, with and without the penalty."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..errors import UsageError
from ..machine.files import read_json
from .curve_figures import Style, arm_styles, legend, save
from .plain import plain
from .scores import Interval, find_runs, stratified_bootstrap
from .scores.arms import sweeps_of
from .tables import Table

RESULT = "prediction.json"
"""In the folder of a run: what was measured of its world model."""

BASELINE = "no penalty"
ROWWISE = "row-wise"

_MAIN_HORIZON = 15
_FEWEST = 5  # seeds: with three, equal arms differ in a sixth of all intervals
_AHEAD = f"{_MAIN_HORIZON} env steps ahead"
_BANDS = "mean over seeds, 95 % bootstrap intervals where there are several"


class Measured(NamedTuple):
    """Measurements of one world model."""

    task: str
    frames: int
    """Frames that it has learned from."""

    arm: str
    seed: int
    horizons: tuple[int, ...]
    observation: tuple[float, ...]
    """Error in shares of the variance, for each horizon."""

    reward: tuple[float, ...]
    kl: float
    posterior: float
    """Sensitivity (paper, appendix F)."""

    prior: float

    def at(self, what: str, horizon: int) -> float:
        """Return the error of `observation` or `reward` at a horizon."""
        return getattr(self, what)[self.horizons.index(horizon)]


def read_measured(root: Path) -> list[Measured]:
    """Read what was measured of all runs in a folder.

    Raises:
        UsageError: If there is nothing, or a file was changed.
    """
    found = []
    for run in find_runs(root):
        if not (run / RESULT).exists():
            continue
        values = read_json(run / RESULT)
        arm = next((arm for arm, _ in sweeps_of(run)), None)
        try:
            own: dict[str, Any] = {name: values[name] for name in Measured._fields if name != "arm"}
            for name in ("horizons", "observation", "reward"):
                own[name] = tuple(own[name])
            found.append(Measured(arm=arm or "unnamed", **own))
        except (KeyError, TypeError) as error:
            raise UsageError(f"{run / RESULT} is damaged: {error!r}.") from error
    if not found:
        raise UsageError(f"No world model in {root} has been measured.")
    return sorted(found)


def prediction_tables(measured: Sequence[Measured]) -> list[Table]:
    """Return a table for each number of frames, and one of what smoothness goes with."""
    tables = []
    for frames in sorted({m.frames for m in measured}):
        tables.append(_errors(_only(measured, frames=frames), frames))
    return [*tables, _correlations(measured)]


def answer(measured: Sequence[Measured]) -> list[str]:
    """Say in sentences whether the penalty made predictions better."""
    sentences = []
    for what in ("observation", "reward"):
        for frames in sorted({m.frames for m in measured}):
            own = _only(measured, frames=frames)
            ratio = _ratio(own, ROWWISE, lambda m, what=what: m.at(what, _MAIN_HORIZON))
            if ratio is None:
                continue
            seeds = min(
                len({m.seed for m in own if (m.arm, m.task) == (arm, task)})
                for arm in (BASELINE, ROWWISE)
                for task in {m.task for m in own}
            )
            verdict = "no difference seen"
            if seeds < _FEWEST:
                verdict = f"too few seeds to tell ({_FEWEST} at least)"
            elif np.isnan(ratio.estimate):
                verdict = "nothing to predict, since it never changes"
            elif ratio.high < 1:
                verdict = "better with the penalty"
            elif ratio.low > 1:
                verdict = "worse with the penalty"
            sentences.append(
                f"{what}s {_MAIN_HORIZON} env steps ahead, {frames:,} frames to learn from: "
                f"{verdict} (error {_text(ratio)} times that without, {seeds} seeds)"
            )
    return sentences


def draw_predictions_study(measured: Sequence[Measured], folder: Path) -> list[Path]:
    """Draw errors over horizons, over frames to learn from, and beside the sensitivity.

    Returns:
        The files: a PNG and a PDF of each.

    Raises:
        MachineError: If a file cannot be written.
    """
    return [
        *_draw_horizons(measured, folder / "horizons"),
        *_draw_frames(measured, folder / "frames"),
        *_draw_smoothness(measured, folder / "smoothness"),
    ]


def _errors(measured: Sequence[Measured], frames: int) -> Table:
    """Return errors relative to the baseline, a geometric mean over tasks."""
    arms = _arms(measured)
    tasks = sorted({m.task for m in measured})
    horizons = measured[0].horizons
    columns: dict[str, Callable[[Measured], float]] = {
        **{f"observation, {h} ahead": lambda m, h=h: m.at("observation", h) for h in horizons},
        **{f"reward, {h} ahead": lambda m, h=h: m.at("reward", h) for h in horizons},
        "KL": lambda m: m.kl,
        "sensitivity of the posterior": lambda m: m.posterior,
        "of the prior": lambda m: m.prior,
    }
    rows = []
    for arm in arms:
        cells = []
        for value in columns.values():
            if arm == BASELINE:
                means = [np.mean([value(m) for m in _only(measured, arm=arm, task=task)])
                         for task in tasks]  # fmt: skip
                cells.append(", ".join(f"{mean:.3g}" for mean in means))
            else:
                ratio = _ratio(measured, arm, value)
                cells.append("-" if ratio is None else _text(ratio))
        seeds = len({m.seed for m in measured if m.arm == arm})
        rows.append([f"{arm} ({seeds} seeds)", *cells])
    return Table(
        f"{frames:,} frames to learn from",
        ["arm", *columns],
        rows,
        [
            f"First row: means of {', '.join(tasks)}; errors are squared, in shares of the "
            "variance on held-out episodes, KL in nats, sensitivity in nats per unit. Other rows: "
            "the geometric mean over tasks of the ratio to the first row, with 95 % bootstrap "
            "intervals over seeds, on the same episodes; of errors less than 1 is better."
        ],
    )


def _correlations(measured: Sequence[Measured]) -> Table:
    """Return rank correlations of sensitivity and error over all runs of a task and size."""
    from scipy.stats import spearmanr  # takes half a second

    rows = []
    for task in sorted({m.task for m in measured}):
        for frames in sorted({m.frames for m in measured}):
            own = _only(measured, task=task, frames=frames)
            if len(own) < 4:
                continue
            cells = []
            for what in ("observation", "reward"):
                errors = [m.at(what, _MAIN_HORIZON) for m in own]
                for name in ("posterior", "prior"):
                    correlation, _ = np.asarray(spearmanr([getattr(m, name) for m in own], errors))
                    cells.append(f"{correlation:+.2f}")
            rows.append([task, f"{frames:,}", str(len(own)), *cells])
    return Table(
        f"Rank correlation of sensitivity and error {_MAIN_HORIZON} env steps ahead",
        ["task", "frames", "models", "posterior, observation", "prior, observation",
         "posterior, reward", "prior, reward"],
        rows,
        ["Spearman's correlation over all arms and seeds; positive: smoother models predict "
         "better. It is no test: models of one arm are alike."],
    )  # fmt: skip


def _only(measured: Sequence[Measured], **wanted: object) -> list[Measured]:
    return [m for m in measured if all(getattr(m, k) == v for k, v in wanted.items())]


def _arms(measured: Sequence[Measured]) -> list[str]:
    """Return the names of all arms, the baseline first."""
    names = dict.fromkeys(m.arm for m in measured)
    return sorted(names, key=lambda arm: (arm != BASELINE, arm != ROWWISE, arm))


def _scores(
    measured: Sequence[Measured], arm: str, value: Callable[[Measured], float]
) -> dict[str, np.ndarray]:
    own = [m for m in measured if m.arm == arm]
    return {
        task: np.array([value(m) for m in own if m.task == task])
        for task in sorted({m.task for m in own})
    }


def _ratio(
    measured: Sequence[Measured], arm: str, value: Callable[[Measured], float]
) -> Interval | None:
    """Return the geometric mean over tasks of an arm's mean over the baseline's."""
    own, baseline = _scores(measured, arm, value), _scores(measured, BASELINE, value)
    if not own or own.keys() != baseline.keys():
        return None

    def ratio(own, baseline):
        logs = [np.log(own[t].mean(-1)) - np.log(baseline[t].mean(-1)) for t in own]
        return np.exp(np.mean(logs, axis=0))

    return stratified_bootstrap(ratio, own, baseline)


def _text(interval: Interval) -> str:
    if np.isnan(interval.low):
        return f"{interval.estimate:.3f}"
    return f"{interval.estimate:.3f} [{interval.low:.3f}, {interval.high:.3f}]"


def _interval(values: Sequence[Sequence[float]]) -> Interval:
    """Return means over runs at several places, with their intervals."""
    array = np.array(values, float).T  # places first, runs last
    return stratified_bootstrap(lambda scores: scores["all"].mean(-1), {"all": array})


def _widest(measured: Sequence[Measured]) -> list[Measured]:
    """Return the models at the number of frames at which there are most arms."""
    sizes = sorted({m.frames for m in measured})
    return max((_only(measured, frames=f) for f in sizes), key=lambda own: len(_arms(own)))


def _panels(
    measured: Sequence[Measured],
    draw: Callable[[Axes, Sequence[Measured], str, str, Style], None],
    path: Path,
    *,
    label: str,
    note: str,
    **axis: Any,
) -> list[Path]:
    """Draw a panel for each task, and for observations and rewards; write a PNG and a PDF.

    Args:
        measured: What is drawn.
        draw: Draws the models of one arm and task: on axes, errors of `observation` or `reward`,
            with the arm's name and style.
        path: The picture, without a suffix.
        label: Label of the vertical axis.
        note: Title of the legend.
        **axis: Properties of all axes.
    """
    tasks, arms = sorted({m.task for m in measured}), _arms(measured)
    styles = arm_styles(arms, BASELINE)
    figure = Figure(figsize=(9, 2.4 + 2.7 * len(tasks)), layout="constrained")
    for row, task in zip(figure.subplots(len(tasks), 2, squeeze=False), tasks, strict=True):
        for axes, what in zip(row, ("observation", "reward"), strict=True):
            axes.set_xscale("log")  # which sets ticks
            for arm in arms:
                if runs := _only(measured, task=task, arm=arm):
                    draw(axes, runs, what, plain(arm), styles[arm])
            axes.set(**axis)
            axes.set_title(plain(f"{task}, {what}"), fontsize="medium")
            axes.spines[["top", "right"]].set_visible(False)
    figure.supylabel(f"squared error {label}, shares of the variance", fontsize="medium")
    legend(figure, note)
    return save(figure, path)


def _draw_horizons(measured: Sequence[Measured], path: Path) -> list[Path]:
    """Draw errors over horizons, where there are most arms."""
    own = _widest(measured)

    def draw(axes, runs, what, arm, style):
        horizons, interval = runs[0].horizons, _interval([getattr(m, what) for m in runs])
        axes.plot(horizons, interval.estimate, **style, label=f"{arm} ({len(runs)} seeds)")
        band = {"color": style["color"], "alpha": 0.15, "linewidth": 0}
        axes.fill_between(horizons, interval.low, interval.high, **band)
        axes.set_xticks(horizons, map(str, horizons))
        axes.set_xticks([], minor=True)

    note = f"{own[0].frames:,} frames to learn from; {_BANDS}"
    label, axis = "on held-out episodes", {"xlabel": "env steps ahead", "ylim": (0, None)}
    return _panels(own, draw, path, label=label, note=note, **axis)


def _draw_frames(measured: Sequence[Measured], path: Path) -> list[Path]:
    """Draw errors over the number of frames to learn from, of the arms that have several."""
    sizes = {arm: sorted({m.frames for m in _only(measured, arm=arm)}) for arm in _arms(measured)}
    several = [m for m in measured if len(sizes[m.arm]) > 1]

    def draw(axes, runs, what, arm, style):
        frames = sizes[runs[0].arm]
        at = [[m.at(what, _MAIN_HORIZON) for m in _only(runs, frames=f)] for f in frames]
        intervals = [_interval([[value] for value in own]) for own in at]
        low, estimate, high = np.array([(i.low, i.estimate, i.high) for i in intervals])[..., 0].T
        bars = np.nan_to_num([estimate - low, high - estimate])
        axes.errorbar(frames, estimate, yerr=bars, **style, capsize=3, label=arm)
        axes.set_xticks(frames, [f"{number:,}" for number in frames])
        axes.set_xticks([], minor=True)

    axis = {"xlabel": "frames to learn from", "ylim": (0, None)}
    return _panels(several, draw, path, label=_AHEAD, note=_BANDS, **axis)


def _draw_smoothness(measured: Sequence[Measured], path: Path) -> list[Path]:
    """Draw the error of each model over the sensitivity of its posterior."""
    own = _widest(measured)

    def draw(axes, runs, what, arm, style):
        errors = [m.at(what, _MAIN_HORIZON) for m in runs]
        axes.plot([m.posterior for m in runs], errors, **style | {"linestyle": "none"}, label=arm)

    note = f"{own[0].frames:,} frames to learn from; a mark is a model"
    axis = {"xlabel": "sensitivity of the posterior (nats per unit)"}
    return _panels(own, draw, path, label=_AHEAD, note=note, **axis)
