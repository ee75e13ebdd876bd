"""A picture of every task, as an agent sees it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from ..envs import IMAGE, make_env

_COLUMNS = 9


def contact_sheet(
    path: Path, tasks: Sequence[str], *, frames: int = 25, image_size: int = 64, seed: int = 0
) -> None:
    """Draws each task after one random action, side by side and under their names.

    Args:
        path: File to write, in a format that its ending says.
        tasks: Names of tasks of the DeepMind Control suite, at least one.
        frames: Control steps for which the action is repeated.
        image_size: Pixels along both sides of what the agent sees.
        seed: Seeds environments and actions.

    Raises:
        ValueError: If a task is unknown or has no pictures.
        MachineError: If no OpenGL library can draw here.
    """
    rows = -(-len(tasks) // _COLUMNS)
    figure = Figure(figsize=(1.45 * _COLUMNS, 1.6 * rows), layout="constrained")
    axes = figure.subplots(rows, _COLUMNS, squeeze=False).ravel()
    for ax in axes:
        ax.set_axis_off()
    for ax, task in zip(axes, tasks, strict=False):
        env = make_env(
            task, seed=seed, action_repeat=frames, observations="pixels", image_size=image_size
        )
        rng = np.random.default_rng(seed)
        env.reset()
        step = env.step(rng.uniform(-1, 1, env.spec.action_size).astype(np.float32))
        env.close()
        ax.imshow(step.observation[IMAGE], interpolation="nearest")
        ax.set_title(task, fontsize=6)
    figure.savefig(path, dpi=110)
