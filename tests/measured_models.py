"""World models as a study leaves them, with errors that are known."""

import itertools
import json

import numpy as np

from gpld.analysis.prediction_report import BASELINE, RESULT, ROWWISE, read_measured

TASKS = ("walker_walk", "cartpole_swingup")


def write_measured(root, *, factor, noise=0.02, seeds=5):
    """Models whose errors are `factor` times as large with the penalty as without."""
    for task, frames in itertools.product(TASKS, (2_000, 5_000)):
        sweep = root / task / str(frames)
        sweep.mkdir(parents=True)
        (sweep / "arms.json").write_text(json.dumps({"no_penalty": BASELINE, "row-wise": ROWWISE}))
        for arm, seed in itertools.product(("no_penalty", "row-wise"), range(seeds)):
            run = sweep / arm / task / f"seed{seed}"
            run.mkdir(parents=True)
            (run / "config.json").write_text("{}")
            own = factor if arm == "row-wise" else 1.0
            error = (
                own
                * (0.3 if task == "walker_walk" else 0.05)
                * np.exp(noise * np.random.default_rng([seed, frames, len(task)]).normal())
            )
            result = {
                "task": task, "frames": frames, "seed": seed, "update": 10,
                "horizons": [1, 5, 15, 45],
                "observation": [error * scale for scale in (0.1, 0.4, 1, 2)],
                "reward": [error * scale for scale in (0.2, 0.4, 1, 2)],
                "kl": 2.0, "posterior": own * error, "prior": 1 / error,
            }  # fmt: skip
            (run / RESULT).write_text(json.dumps(result))
    return read_measured(root)
