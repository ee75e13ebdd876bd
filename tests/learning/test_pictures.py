"""What is seen in pictures is learned: from images alone, and of a real task.

In this process, whose programs are compiled quickly: little is computed with them.
"""

import dataclasses

import numpy as np
import pytest
from probe_settings import settings

import gpld
from gpld.config import EnvConfig, EvaluationConfig, LogConfig, OptimizerConfig, ReplayConfig


@pytest.mark.exhaustive
def test_the_answer_is_read_from_a_picture(tmp_path):
    # Short sequences suffice without memory.
    config = settings("probe_picture", 800)
    config = dataclasses.replace(
        config,
        replay=ReplayConfig(batch_size=8, batch_length=4, train_ratio=32),
        model=dataclasses.replace(config.model, depth=2, multipliers=(2, 2), image_blocks=4),
        ac=dataclasses.replace(config.ac, imag_length=3),
        optimizer=dataclasses.replace(config.optimizer, learning_rate=1e-3),
        log=LogConfig(every=500, report_every=0),
    )
    [line] = gpld.train(config, tmp_path / "run").read("scores")
    assert len(line["scores"]) == 32
    # A policy that does not look earns 4 on average, of 8.
    assert np.mean(line["scores"]) > 7


@pytest.mark.exhaustive
def test_the_decoder_learns_what_a_task_looks_like(gl, tmp_path):
    config = dataclasses.replace(
        gpld.PRESETS["debug"],
        task="cartpole_swingup",
        learn="world_model",
        env_steps=200,
        env=EnvConfig(num_envs=2, action_repeat=4, observations="pixels", image_size=32),
        replay=ReplayConfig(batch_size=4, batch_length=8, train_ratio=16),
        optimizer=OptimizerConfig(learning_rate=1e-3, warmup=20),
        log=LogConfig(every=50),
        evaluation=EvaluationConfig(every=10**6, video_every=0, predictions=0),
    )
    model = dataclasses.replace(config.model, depth=4, deter=64, image_blocks=4)
    folder = gpld.train(dataclasses.replace(config, model=model), tmp_path / "run")
    errors = [line["train/loss/image"] for line in folder.read("metrics") if line["update"] > 0]
    assert errors[-1] < errors[0] / 10
