"""Run folders as training leaves them, with curves that look like those of agents."""

import dataclasses
import json

import numpy as np

from gpld.analysis.scores import CHECKPOINT_SCORES, identity
from gpld.config import to_dict
from gpld.config.presets import PRESETS
from gpld.runs.folder import RunFolder


def configured(task, seed, *, env_steps=500_000, lambda0=0.5, preset="paper", **changes):
    """Settings of a run."""
    config = PRESETS[preset]
    gpld = dataclasses.replace(config.gpld, lambda0=lambda0)
    return dataclasses.replace(
        config, task=task, seed=seed, env_steps=env_steps, gpld=gpld, **changes
    )


def write_run(path, config, evaluations):
    """Writes settings, and evaluations as pairs of an env step and returns of episodes."""
    path.mkdir(parents=True)
    folder = RunFolder(path)
    (path / "config.json").write_text(json.dumps(to_dict(config)))
    record = {"started": f"2026-01-01, {path}", "versions": {"jax": "0"}, "commit": "c0ffee",
              "machine": {"processor": "a processor", "cores": 2, "devices": ["cpu"]},
              "precision": "float32", "parameters": {"total": 1}}  # fmt: skip
    (path / "run.json").write_text(json.dumps(record))
    folder.append(
        "scores",
        [
            {
                "env_step": env_step,
                "frame": env_step * config.action_repeat,
                "update": 0,
                "mean": float(np.mean(scores)),
                "std": float(np.std(scores)),
                "scores": [float(score) for score in scores],
                "lengths": [501] * len(scores),
            }
            for env_step, scores in evaluations
        ],
    )
    return folder


def learning(config, final, *, scale=150_000, noise=0.06):
    """Evaluations that rise to a final return, different for each seed and noisy."""
    rng = np.random.default_rng([config.seed, *config.task.encode()])
    own = final * np.clip(1 + 0.1 * rng.normal(), 0, 1000 / final)
    every, envs = config.evaluation.every, config.env.num_envs
    evaluations = []
    for due in range(every, config.env_steps + 1, every):
        env_step = -(-due // envs) * envs
        mean = own * (1 - np.exp(-(env_step * config.action_repeat) / (2 * scale)))
        scores = mean * (1 + noise * rng.normal(size=config.evaluation.episodes))
        evaluations.append((env_step, np.clip(scores, 0, 1000)))
    return evaluations


def write_learning_run(path, task, seed, *, final, scale=150_000, **options):
    """A run that has learned something."""
    config = configured(task, seed, **options)
    return write_run(path, config, learning(config, final, scale=scale))


def write_evaluation(folder, config, scores, *, actions="sampled", seeds=(0,), env_step=10_000):
    """Writes what `scripts/evaluate.py` makes of one checkpoint, with some returns per seed."""
    evaluations = [{"seed": seed, "scores": list(scores)} for seed in seeds]
    settings = {"episodes": len(scores), "seeds": list(seeds), "num_envs": 4, "actions": actions}
    checkpoint = {
        "run": str(folder.path),
        **identity(folder.path, config),
        "env_step": env_step,
        "evaluations": evaluations,
    }
    record = {"settings": settings, "checkpoints": [checkpoint]}
    (folder.path / CHECKPOINT_SCORES).write_text(json.dumps(record))
