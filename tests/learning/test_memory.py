"""The agent solves a task that needs memory."""

import dataclasses

import numpy as np
import pytest
from probe_settings import settings


@pytest.mark.slow
def test_a_cue_is_remembered(train, tmp_path):
    config = settings("probe_memory", 6000)
    config = dataclasses.replace(
        config, evaluation=dataclasses.replace(config.evaluation, every=500)
    )
    folder = train(config, tmp_path / "run")
    scores = np.array([line["scores"] for line in folder.read("scores")])
    assert scores.shape == (12, 32)
    # Without memory the mean is 1/2, and 30 of 32 would be an accident in ten million.
    # Actions are sampled, so that one or two may miss. When it is found depends on the last bit,
    # and so on the processor: at env step 1,500 on one, at 5,500 on another.
    assert np.max(np.mean(scores, axis=1)) >= 30 / 32
