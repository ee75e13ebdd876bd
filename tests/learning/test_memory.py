"""The agent solves a task that needs memory."""

import dataclasses

import numpy as np
import pytest
from probe_settings import settings


@pytest.mark.slow
def test_a_cue_is_remembered(train, tmp_path):
    config = settings("probe_memory", 6000)
    config = dataclasses.replace(
        config,
        optimizer=dataclasses.replace(config.optimizer, learning_rate=1e-3),
        evaluation=dataclasses.replace(config.evaluation, every=250),
    )

    def is_found(run):
        # Without memory the mean is 1/2, and 30 of 32 would be an accident in ten million.
        # Actions are sampled, so that one or two may miss.
        scores = [line["scores"] for line in run.read("scores")]
        assert all(len(of_evaluation) == 32 for of_evaluation in scores)
        return any(np.mean(of_evaluation) >= 30 / 32 for of_evaluation in scores)

    assert is_found(train(config, tmp_path / "run", until=is_found))
