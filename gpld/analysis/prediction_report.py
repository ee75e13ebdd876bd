"""Tables and pictures of what world models predict, with and without the penalty."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from ..errors import UsageError
from ..machine.files import read_json
from .curve_figures import arm_styles, legend, save
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


def _draw_horizons(measured: Sequence[Measured], path: Path) -> list[Path]:
    """Draw errors over horizons, with all arms, at the number of frames that has most arms."""
    sizes = sorted({m.frames for m in measured})
    frames = max(sizes, key=lambda f: len(_arms(_only(measured, frames=f))))
    own = _only(measured, frames=frames)
    tasks, arms = sorted({m.task for m in own}), _arms(own)
    styles = arm_styles(arms, BASELINE)
    figure = Figure(figsize=(9, 2.4 + 2.7 * len(tasks)), layout="constrained")
    for row, task in zip(figure.subplots(len(tasks), 2, squeeze=False), tasks, strict=True):
        for axes, what in zip(row, ("observation", "reward"), strict=True):
            for arm in arms:
                runs = _only(own, task=task, arm=arm)
                if not runs:
                    continue
                interval = _interval([getattr(m, what) for m in runs])
                axes.plot(runs[0].horizons, interval.estimate, **styles[arm], markersize=4,
                          label=plain(f"{arm} ({len(runs)} seeds)"))  # fmt: skip
                axes.fill_between(runs[0].horizons, interval.low, interval.high,
                                  color=styles[arm]["color"], alpha=0.15, linewidth=0)  # fmt: skip
            axes.set(xscale="log", xlabel="env steps ahead", ylim=(0, None))
            axes.set_xticks(own[0].horizons, map(str, own[0].horizons), minor=False)
            axes.set_title(plain(f"{task}, {what}"), fontsize="medium")
            axes.spines[["top", "right"]].set_visible(False)
    figure.supylabel("squared error on held-out episodes, shares of the variance",
                     fontsize="medium")  # fmt: skip
    legend(figure, f"{frames:,} frames to learn from; {_BANDS}")
    return save(figure, path)


def _draw_frames(measured: Sequence[Measured], path: Path) -> list[Path]:
    """Draw errors over the number of frames to learn from, of the arms that have several."""
    arms = [arm for arm in _arms(measured) if len({m.frames for m in measured if m.arm == arm}) > 1]
    tasks, styles = sorted({m.task for m in measured}), arm_styles(_arms(measured), BASELINE)
    figure = Figure(figsize=(9, 2.4 + 2.7 * len(tasks)), layout="constrained")
    for row, task in zip(figure.subplots(len(tasks), 2, squeeze=False), tasks, strict=True):
        for axes, what in zip(row, ("observation", "reward"), strict=True):
            for arm in arms:
                runs = _only(measured, task=task, arm=arm)
                sizes = sorted({m.frames for m in runs})
                values = [[m.at(what, _MAIN_HORIZON) for m in runs if m.frames == f] for f in sizes]
                intervals = [_interval([[v] for v in own]) for own in values]
                low, estimate, high = (
                    np.array([float(getattr(i, end)[0]) for i in intervals])
                    for end in ("low", "estimate", "high")
                )
                style = {**styles[arm], "markersize": 5, "capsize": 3}
                error = np.nan_to_num(np.stack([estimate - low, high - estimate]))
                axes.errorbar(sizes, estimate, yerr=error, **style, label=plain(arm))
            axes.set(xscale="log", ylim=(0, None), xlabel="frames to learn from")
            sizes = sorted({m.frames for m in measured})
            axes.set_xticks(sizes, [f"{size:,}" for size in sizes], minor=False)
            axes.set_title(plain(f"{task}, {what}"), fontsize="medium")
            axes.spines[["top", "right"]].set_visible(False)
    figure.supylabel(f"squared error {_MAIN_HORIZON} env steps ahead, shares of the variance",
                     fontsize="medium")  # fmt: skip
    legend(figure, _BANDS)
    return save(figure, path)


def _draw_smoothness(measured: Sequence[Measured], path: Path) -> list[Path]:
    """Draw the error of each model over the sensitivity of its posterior."""
    sizes = sorted({m.frames for m in measured})
    frames = max(sizes, key=lambda f: len(_arms(_only(measured, frames=f))))
    own = _only(measured, frames=frames)
    tasks, arms = sorted({m.task for m in own}), _arms(own)
    styles = arm_styles(arms, BASELINE)
    figure = Figure(figsize=(9, 2.4 + 2.7 * len(tasks)), layout="constrained")
    for row, task in zip(figure.subplots(len(tasks), 2, squeeze=False), tasks, strict=True):
        for axes, what in zip(row, ("observation", "reward"), strict=True):
            for arm in arms:
                runs = _only(own, task=task, arm=arm)
                axes.plot([m.posterior for m in runs], [m.at(what, _MAIN_HORIZON) for m in runs],
                          **styles[arm] | {"linestyle": "none"}, label=plain(arm))  # fmt: skip
            axes.set(xscale="log", xlabel="sensitivity of the posterior (nats per unit)")
            axes.set_title(plain(f"{task}, {what}"), fontsize="medium")
            axes.spines[["top", "right"]].set_visible(False)
    figure.supylabel(f"squared error {_MAIN_HORIZON} env steps ahead, shares of the variance",
                     fontsize="medium")  # fmt: skip
    legend(figure, f"{frames:,} frames to learn from; a mark is a model")
    return save(figure, path)
