"""Pictures that compare methods: curves of each task, and of all tasks together.

Arms differ in their line, marker and lightness as well as in their colour, so that a picture in
grey is as good. All positions are in frames.
"""

import itertools
import textwrap
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

from ..config.config import task_defaults
from ..envs.score_range import score_range
from ..machine.files import writing
from .curves import Arm, Curve, arm_scores, by_arm, curve, relative_to
from .plain import plain
from .published import PAPER_FRAMES, paper_table3, published_curves, random_return
from .scores import (
    NORMALISED,
    Interval,
    RunScores,
    ScoreTable,
    interquartile_mean,
    missing_ranges,
    normalised,
    normalised_name,
    performance_profile,
    shared_range,
    stratified_bootstrap,
)

Style = dict[str, Any]
"""Color, line and marker of an arm, as matplotlib takes them."""

_STYLES: tuple[Style, ...] = (
    {"color": "#1b4f9c", "linestyle": "-", "marker": "o"},
    {"color": "#e08a1e", "linestyle": "--", "marker": "s"},
    {"color": "#2d8f6f", "linestyle": "-.", "marker": "^"},
    {"color": "#7a3b8f", "linestyle": ":", "marker": "D"},
    {"color": "#b5b53c", "linestyle": (0, (5, 1, 1, 1, 1, 1)), "marker": "v"},
    {"color": "#c0392b", "linestyle": (0, (1, 1)), "marker": "P"},
)
_PUBLISHED = {"DreamerV3, official": ("0.45", ":"), "TD-MPC2": ("0.65", "-.")}
_MARKERS = 6  # on each curve
_FROM_EDGE = 0.97  # where a mark stands that belongs beyond the right edge
_LABEL = "frames (env steps x action repeat)"


def arm_styles(arms: Sequence[str], baseline: str | None) -> dict[str, Style]:
    """A style for each arm; the baseline's is the same in every picture."""
    others = itertools.cycle(style for i, style in enumerate(_STYLES) if i != 1)
    return {arm: _STYLES[1] if arm == baseline else next(others) for arm in arms}


def draw_task_curves(
    runs: Sequence[RunScores],
    path: Path,
    *,
    baseline: str | None = None,
    smooth: float | None = None,
    published: bool = True,
    stamp: str | None = None,
) -> list[Path]:
    """Draws a panel for each task: mean over seeds with bootstrap intervals.

    Args:
        runs: Evaluations.
        path: The picture, without a suffix.
        baseline: Arm that others are compared with.
        smooth: As for `arm_scores`; stated in the picture.
        published: Whether the paper's table and curves of others are drawn as well.
        stamp: What makes the runs less than they look like, written at the top.

    Returns:
        The files: a PNG and a PDF.

    Raises:
        UsageError: If runs of one arm have no evaluations at the same frames.
        MachineError: If a file cannot be written.
    """
    tasks = sorted({run.task for run in runs})
    styles = arm_styles(sorted({run.arm for run in runs}), baseline)
    rows, columns = _grid(len(tasks))
    # At least as wide as a legend of two columns.
    size = (6.4, 4.4) if len(tasks) == 1 else (max(7.4, 1 + 2.6 * columns), 1.2 + 2.1 * rows)
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).flat
    for task, axes in zip(tasks, panels, strict=False):
        own = [run for run in runs if run.task == task]
        curves = {arm: curve(arm_scores(r, smooth=smooth)) for arm, r in by_arm(own).items()}
        draw_arms(axes, curves, styles)
        axes.set_xlim(0, max(c.frames[-1] for c in curves.values()) * 1.04)
        if published:
            _draw_published(axes, task, styles, pixels=all(run.pixels for run in own))
        whole_range(axes, task, {run.action_repeat for run in own})
        axes.set_title(plain(task), fontsize="medium")
        finish(axes)
    for axes in list(panels):  # those that no task was left for
        axes.remove()
    figure.supxlabel(_LABEL, fontsize="medium")
    figure.supylabel("return of an episode", fontsize="medium")
    what = "line: mean over seeds; band: its 95 % bootstrap interval where there are several"
    legend(figure, f"{what}; {_smoothing(smooth)}", stamp)
    return save(figure, path)


def draw_aggregates(
    runs: Sequence[RunScores],
    table: ScoreTable,
    path: Path,
    *,
    baseline: str | None = None,
    smooth: float | None = None,
    stamp: str | None = None,
) -> list[Path]:
    """Draws what all common tasks come to: ratios, interquartile means, performance profiles.

    All of these need a scale: tasks whose lowest or best return is not known are left out, which
    the picture says.

    Args:
        runs: Evaluations.
        table: Scores at one moment, for the profiles.
        path: The picture, without a suffix.
        baseline: Arm whose scores at its end are the references, as in the paper; None leaves
            the ratios out.
        smooth: As for `arm_scores`; stated in the picture.
        stamp: As for `draw_task_curves`.

    Returns:
        The files: a PNG and a PDF; none if arms have no task in common, or none is left.

    Raises:
        MachineError: If a file cannot be written.
    """
    by_name = by_arm(runs)
    names = list(by_name)
    trained = [{run.task for run in own} for own in by_name.values()]
    tasks = [task for task in table.common_tasks(*names) if all(task in own for own in trained)]
    known = [task for task in tasks if score_range(task) is not None]
    if not known:
        return []
    arms = {
        name: arm_scores([run for run in own if run.task in known], smooth=smooth)
        for name, own in by_name.items()
    }
    arms = {name: arm._replace(scores=normalised(arm.scores)) for name, arm in arms.items()}
    styles = arm_styles(names, baseline)
    figure = Figure(figsize=(10.5 if baseline else 7.2, 3.8), layout="constrained")
    *over_time, profiles = figure.subplots(1, 3 if baseline else 2)
    if baseline is not None:
        _draw_ratios(over_time[0], arms, baseline, styles)
    middle = {name: curve(arm, interquartile_mean) for name, arm in arms.items()}
    draw_arms(over_time[-1], middle, styles)
    title = f"{normalised_name(known)},\ninterquartile mean over all runs"
    over_time[-1].set_title(title, fontsize="medium")
    for axes in over_time:
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=0)
        axes.set_xlabel(_LABEL)
        finish(axes)
    _draw_profiles(profiles, table, names, styles)
    of = f"{len(known)} task{'s' * (len(known) > 1)}"
    what = f"{of}; 95 % stratified bootstrap intervals where tasks have several seeds"
    legend(figure, f"{what}; {_smoothing(smooth)}", stamp, missing_ranges(tasks))
    return save(figure, path)


def save(figure: Figure, path: Path) -> list[Path]:
    """Writes a picture as PNG and PDF.

    Raises:
        MachineError: If a file cannot be written.
    """
    files = [path.with_name(f"{path.name}.{suffix}") for suffix in ("png", "pdf")]
    with writing(path, "write"):
        for file in files:
            figure.savefig(file, dpi=150)
    return files


def draw_arms(axes: Axes, curves: Mapping[str, Curve], styles: Mapping[str, Style]) -> None:
    """Draws a line with its interval for each arm."""
    for arm, own in curves.items():
        fewest, most = own.seeds
        seeds = f"{fewest}" if fewest == most else f"{fewest} to {most}"
        label = plain(f"{arm} ({seeds} seed{'s' * (most > 1)})")
        _draw_line(axes, own.frames, own, styles[arm], label)
        if len(own.frames) == 1:  # a band that is no wider than its point
            axes.vlines(own.frames, own.low, own.high, color=styles[arm]["color"])


def _draw_line(
    axes: Axes, x: np.ndarray, own: Curve | Interval, style: Style, label: str | None = None
) -> None:
    """A line with some markers, in the band of its interval."""
    every = max(1, len(x) // _MARKERS)
    axes.plot(x, own.estimate, **style, markersize=4, markevery=every, label=label)
    axes.fill_between(x, own.low, own.high, color=style["color"], alpha=0.18, linewidth=0)


def _draw_published(axes: Axes, task: str, styles: Mapping[str, Style], *, pixels: bool) -> None:
    """Curves of others as far as ours go, and the paper's means with their deviations."""
    end = axes.get_xlim()[1]
    for other in published_curves(task, pixels=pixels):
        color, line = _PUBLISHED[other.label]
        label = f"{other.label}, published ({other.seeds} seeds)"
        shown = slice(np.searchsorted(other.frames, end) + 1)  # and one more: lines go to the edge
        x, y = other.frames[shown], other.mean[shown]
        axes.plot(x, y, color=color, linestyle=line, linewidth=1.2, label=label)
    if pixels:
        return  # the table's agents saw vectors
    beyond = bool(end < PAPER_FRAMES)
    where = f"at {_frames(PAPER_FRAMES)}{', beyond the right edge' * beyond}"
    x = _FROM_EDGE * end if beyond else PAPER_FRAMES
    for i, (method, scores) in enumerate(paper_table3().items()):
        if task in scores:
            grey = {"color": "0.3", "marker": "s" if method == "DreamerV3" else "o"}
            axes.errorbar(
                [x + (i - 0.5) * 0.02 * end],  # side by side, so that both can be seen
                [scores[task].mean],
                yerr=[scores[task].std],
                **{**styles.get(method, grey), "linestyle": ""},
                markerfacecolor="white",
                capsize=2,
                zorder=3,
                label=f"{method}, table 3 of the paper ({where})",
            )


def _grid(panels: int) -> tuple[int, int]:
    """Rows and columns: a little wider than high, or one column less where that fills the rows."""
    columns = min(panels, 6, int(np.ceil(np.sqrt(1.5 * panels))))
    columns = min(columns, max(columns - 1, 1), key=lambda columns: -panels % columns)
    return -(-panels // columns), columns


def _draw_ratios(
    axes: Axes, arms: Mapping[str, Arm], baseline: str, styles: Mapping[str, Style]
) -> None:
    """The paper's aggregate of normalised scores, over the tasks on which the baseline has any."""
    end = arms[baseline]
    references = {task: float(scores[-1].mean()) for task, scores in end.scores.items()}
    positive = {task: reference for task, reference in references.items() if reference > 0}
    when = _frames(int(end.frames[-1]))
    what = NORMALISED if normalised_name(references) == NORMALISED else "return"
    title = f"{what} over that of {plain(baseline)} at {when},\nmean over tasks"
    if len(positive) < len(references):
        title += f" ({len(positive)}; it has none on {len(references) - len(positive)})"
    if positive:
        curves = {
            name: curve(
                arm._replace(scores={task: arm.scores[task] for task in positive}),
                relative_to(positive),
            )
            for name, arm in arms.items()
        }
        draw_arms(axes, curves, styles)
        axes.axhline(1, color="black", linewidth=0.8)
    axes.set_title(title, fontsize="medium")


def _draw_profiles(
    axes: Axes, table: ScoreTable, arms: Sequence[str], styles: Mapping[str, Style]
) -> None:
    """Share of runs above each return, at the moment of the table."""
    common = table.common(*arms)
    name, own, ends = NORMALISED, [normalised(scores) for scores in common], (0.0, 1.0)
    if shared := shared_range(own[0]):
        name, ends = "return", shared
        own = [{task: scores[task] for task in own[0]} for scores in common]
    thresholds = np.linspace(*ends, 101)
    for arm, scores in zip(arms, own, strict=True):
        profile = stratified_bootstrap(lambda s: performance_profile(s, thresholds), scores)
        _draw_line(axes, thresholds, profile, styles[arm])
    axes.set_title(f"performance profile at {_frames(table.frame)}", fontsize="medium")
    axes.set(xlabel=name, ylabel="share of runs with more", ylim=(0, 1.02))
    axes.spines[["top", "right"]].set_visible(False)


def whole_range(axes: Axes, task: str, action_repeats: Collection[int]) -> None:
    """Shows all returns that a task can have, if that is known, and what random actions have.

    Args:
        axes: The panel.
        task: The task.
        action_repeats: Those of the runs. Others than random actions had are named.
    """
    random, measured = random_return(task), task_defaults(task)["action_repeat"]
    if random is not None:
        dashed = {"color": "black", "linestyle": (0, (6, 4)), "linewidth": 0.8}
        others = "" if {*action_repeats} == {measured} else f" (action repeat {measured})"
        axes.axhline(random, **dashed, label=f"random actions{others}")
    known = score_range(task)
    if known is not None:
        axes.set_ylim(known.lowest, known.best + 0.04 * (known.best - known.lowest))


def finish(axes: Axes) -> None:
    """Frames with their units, and no box."""
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.spines[["top", "right"]].set_visible(False)


def legend(figure: Figure, title: str, stamp: str | None = None, note: str | None = None) -> None:
    """One legend for all panels, with what the lines and bands are, between a stamp and a note."""
    width = int(10 * figure.get_figwidth())  # letters that go into a line
    above, below = (textwrap.wrap(plain(text or ""), width) for text in (stamp, note))
    title = "\n".join([*above, title, *below])
    entries = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    figure.legend(
        entries.values(),
        entries.keys(),
        loc="outside upper center",
        ncols=1 if figure.get_figwidth() < 7 else 2,
        frameon=False,
        fontsize="small",
        title=title,
        title_fontsize="small",
    )


def _smoothing(smooth: float | None) -> str:
    if smooth is None:
        return "not smoothed"
    return f"SMOOTHED: exponential moving average, newest evaluation {smooth:g}"


def _frames(number: int) -> str:
    return f"{EngFormatter(sep='').format_eng(number)} frames"
