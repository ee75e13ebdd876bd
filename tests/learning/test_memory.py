"""The agent solves a task that needs memory."""

import numpy as np
from probe_settings import settings

import gpld


def test_a_cue_is_remembered(tmp_path):
    folder = gpld.train(settings("probe_memory", 3000), tmp_path / "run")
    [line] = folder.read("scores")
    assert len(line["scores"]) == 32
    # Without memory the mean is 1/2. Actions are sampled, so that one in 32 may miss.
    assert np.mean(line["scores"]) >= 31 / 32
