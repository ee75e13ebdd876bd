"""Pictures of runs."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..config import Config
from ..errors import UsageError
from ..runs.folder import RunFolder
from ..suite import short_name
from ..units import count
from .curve_figures import whole_range
from .curves import arm_scores
from .packed import unpacked
from .pictures import save_picture
from .plain import plain
from .published import paper_table3
from .scores import read_runs
from .sensitivity import FRACTIONS, CheckpointSensitivity, Sensitivity

_LINE = "#1b4f9c"  # dark in grey, too


def learning_curve(folder: RunFolder) -> None:
    """Draws returns over env steps into the run folder.

    Dots are training episodes; the line is the mean of each evaluation, in the band of its
    lowest and highest episode. Nothing is smoothed. The axis shows all returns that the task can
    have, where that is known, with the returns of random actions and of the paper.

    Raises:
        UsageError: If the folder holds no run any longer.
        MachineError: If the picture cannot be written.
    """
    config = folder.config()
    episodes, evaluations = folder.read("episodes"), folder.read("scores")
    figure, axes = _returns(config)
    steps, scores = ([line[name] for line in episodes] for name in ("env_step", "score"))
    axes.plot(steps, scores, ".", color="0.6", label="episode of training")
    steps, means = ([line[name] for line in evaluations] for name in ("env_step", "mean"))
    number = config.evaluation.episodes
    label = f"evaluation: mean of {count(number, 'episode')}"
    axes.plot(steps, means, "o-", color=_LINE, markersize=5, label=label)
    if number > 1:
        low, high = ([end(line["scores"]) for line in evaluations] for end in (min, max))
        band = {"color": _LINE, "alpha": 0.2, "linewidth": 0}
        axes.fill_between(steps, low, high, **band, label="from their lowest to their highest")
    method = "GPLD" if config.gpld.coefficients else "DreamerV3"
    published = paper_table3()[method].get(config.task)
    if published is not None and config.env.observations == "vectors":
        label = f"{method} in the paper, after 1M frames"
        axes.axhline(published.mean, color="0.3", linestyle=":", label=label)
    _finish(figure, axes, config, _title(config))
    save_picture(figure, folder.learning_curve)


def seed_curves(runs: Path, path: Path, *, arm: str, task: str) -> None:
    """Draws the evaluations of every seed of one arm on one task, and their mean.

    Args:
        runs: A folder of runs, or a file of `scripts/pack.py`.
        path: The picture.
        arm: Name of the arm.
        task: Name of the task.

    Raises:
        UsageError: If there are no such runs.
    """
    with unpacked([runs]) as folders:
        found = [run for run in read_runs(folders) if (run.arm, run.task) == (arm, task)]
        if not found:
            raise UsageError(f"{runs} holds no run of {arm} on {task}.")
        config = RunFolder(found[0].path).config()
    evaluations = f"evaluations of {config.evaluation.episodes} episodes"
    title = plain(f"{task}: {arm}, preset {config.preset}, {evaluations}")
    figure, axes = _returns(config)
    for i, run in enumerate(found):
        label = None if i else f"each of {len(found)} seeds"
        axes.plot(run.env_steps, run.scores, ".-", color="0.65", linewidth=1, label=label)
    seeds = arm_scores(found)
    steps = seeds.frames / config.action_repeat
    means = seeds.scores[task].mean(axis=-1)
    axes.plot(steps, means, "o-", color=_LINE, markersize=5, label="their mean")
    _finish(figure, axes, config, title)
    save_picture(figure, path)


def sensitivity_figure(folder: RunFolder, measured: Sequence[CheckpointSensitivity]) -> None:
    """Draws the sensitivity of prior and posterior into the run folder (paper, appendix F).

    Left: the mean over perturbations of all norms, over env steps. Middle and right: the same
    by the norm of the perturbation, one line per checkpoint, the later the darker.

    Raises:
        MachineError: If the picture cannot be written.
    """
    config = folder.config()
    figure = Figure(figsize=(12, 4), layout="constrained")
    over_time, *by_norm = figure.subplots(1, 3)
    steps = [checkpoint.env_step for checkpoint in measured]
    for name, style in (("posterior", "o-C0"), ("prior", "s--C1")):
        means = [getattr(checkpoint, name).mean for checkpoint in measured]
        over_time.plot(steps, means, style, label=name)
    over_time.set(
        title="mean over perturbations of 0.1 % to 10 %",
        xlabel=_env_steps(config),
        ylabel="KL / norm of the perturbation (nats per unit)",
        yscale="log",
    )
    over_time.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    over_time.xaxis.set_major_formatter("{x:,.0f}")
    over_time.legend(frameon=False)
    for axes, name, symbol in zip(by_norm, ("posterior", "prior"), ("e", "h"), strict=True):
        _by_norm(axes, [getattr(checkpoint, name) for checkpoint in measured], steps)
        axes.set(title=name, xlabel=f"norm of the perturbation (% of the mean |{symbol}|)")
    by_norm[1].sharey(by_norm[0])
    by_norm[1].autoscale()
    entries = by_norm[0].get_legend_handles_labels()
    figure.legend(*entries, loc="outside right center", frameon=False, title="env step")
    for axes in (over_time, *by_norm):
        axes.title.set_fontsize("medium")
    figure.suptitle(_title(config), fontsize="medium")
    save_picture(figure, folder.path / "sensitivity.png")


def _by_norm(axes: Axes, curves: Sequence[Sensitivity], steps: Sequence[int]) -> None:
    """Lines from light to dark, of which at most five are labelled."""
    shades = matplotlib.colormaps["viridis_r"](np.linspace(1, 0.15, len(curves)))[::-1]
    labelled = np.linspace(0, len(curves) - 1, 5).round()
    for i, (curve, step) in enumerate(zip(curves, steps, strict=True)):
        label = f"{step:,}" if i in labelled else None
        axes.plot(100 * np.array(FRACTIONS), curve.kl_per_norm, ".-", color=shades[i], label=label)
    axes.set(xscale="log", yscale="log")
    axes.set_xticks([0.1, 1, 10], ["0.1", "1", "10"])


def _returns(config: Config) -> tuple[Figure, Axes]:
    """An empty picture of returns over env steps, small so that its letters are large."""
    figure = Figure(figsize=(5.6, 4), layout="constrained")
    axes = figure.subplots()
    axes.set(xlabel=_env_steps(config), ylabel="return of an episode")
    return figure, axes


def _finish(figure: Figure, axes: Axes, config: Config, title: str) -> None:
    """The whole range of returns, all env steps, and above them title and legend."""
    whole_range(axes, config.task, {config.action_repeat})
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10], integer=True))
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper center", ncols=2, frameon=False, fontsize="small", title=title)


def _title(config: Config) -> str:
    weights = config.gpld.coefficients.values()
    method = f"GPLD, lambda0 {' and '.join(f'{w:g}' for w in weights)}" if weights else "DreamerV3"
    name = f"{short_name(config.task)}: {method}"
    return plain(f"{name}, preset {config.preset}, seed {config.seed}")


def _env_steps(config: Config) -> str:
    return f"env steps (of {count(config.action_repeat, 'frame')} each)"
