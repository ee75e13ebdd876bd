"""Sensitivities of many runs over frames, one arm beside the other (paper, appendix F)."""

import shlex
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from ..errors import UsageError
from ..machine.files import read_json
from .curve_figures import arm_styles, draw_arms, finish, legend, save
from .curves import Arm, by_arm, curve
from .plain import plain
from .scores import RunScores


def draw_sensitivities(
    runs: Sequence[RunScores],
    path: Path,
    *,
    baseline: str | None = None,
    stamp: str | None = None,
) -> list[Path]:
    """Draws what `scripts/sensitivity.py` has found in each run: KL over norm by frames.

    Args:
        runs: The runs, each with its `sensitivity.json`.
        path: The picture, without a suffix.
        baseline: Arm that others are compared with.
        stamp: As for `draw_task_curves`.

    Returns:
        The files: a PNG and a PDF.

    Raises:
        UsageError: If a run has no such file, or runs of an arm have no checkpoint in common.
        MachineError: If a file cannot be written.
    """
    tasks = sorted({run.task for run in runs})
    styles = arm_styles(sorted({run.arm for run in runs}), baseline)
    figure = Figure(figsize=(9, 1.4 + 2.6 * len(tasks)), layout="constrained")
    for row, task in zip(figure.subplots(len(tasks), 2, squeeze=False), tasks, strict=True):
        own = by_arm(run for run in runs if run.task == task)
        for axes, name in zip(row, ("posterior", "prior"), strict=True):
            arms = {arm: curve(_sensitivities(members, name)) for arm, members in own.items()}
            draw_arms(axes, arms, styles)
            axes.set(yscale="log", xlabel="frames (env steps x action repeat)")
            axes.set_title(plain(f"{task}, {name}"), fontsize="medium")
            finish(axes)
    figure.supylabel("KL / norm of the perturbation (nats per unit)", fontsize="medium")
    bands = "mean over seeds, 95 % bootstrap intervals where there are several"
    legend(figure, f"{bands}; perturbations of 0.1 % to 10 %", stamp)
    return save(figure, path)


def _sensitivities(runs: Sequence[RunScores], name: str) -> Arm:
    """The mean over perturbations at the checkpoints that all runs have."""
    found = [_read(run.path, name) for run in runs]
    frames = sorted(set.intersection(*map(set, found)))
    if not frames:
        raise UsageError(f"The runs of {runs[0].arm} have no checkpoints at the same frames.")
    values = np.array([[own[frame] for own in found] for frame in frames])
    return Arm(np.array(frames), {runs[0].task: values})


def _read(run: Path, name: str) -> dict[int, float]:
    """The means by frame, of posterior or prior."""
    again = f"`python scripts/sensitivity.py {shlex.quote(str(run))}` measures them"
    if not (run / "sensitivity.json").exists():
        raise UsageError(f"{run} has no sensitivities: {again}.")
    values = read_json(run / "sensitivity.json")
    try:
        return {int(c["frame"]): float(c[name]["mean"]) for c in values["checkpoints"]}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{run} has damaged sensitivities ({error!r}): {again}.") from error
