"""The agent solves a task that needs memory."""

import dataclasses

import numpy as np
import pytest
from probe_settings import settings


@pytest.mark.exhaustive
def test_a_cue_is_remembered(train, tmp_path):
    config = settings("probe_memory", 4000)
    config = dataclasses.replace(
        config,
        optimizer=dataclasses.replace(config.optimizer, learning_rate=1e-3),
        evaluation=dataclasses.replace(config.evaluation, every=500),
    )
    folder = train(config, tmp_path / "run")
    scores = np.array([line["scores"] for line in folder.read("scores")])
    assert scores.shape == (8, 32)
    # Without memory the mean is 1/2, and 30 of 32 would be an accident in ten million.
    # Actions are sampled, so that one or two may miss. When it is found depends on the last bit,
    # and so on the processor.
    assert np.max(np.mean(scores, axis=1)) >= 30 / 32
