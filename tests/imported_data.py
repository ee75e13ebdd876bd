"""Data that `import-data` has written, as training reads it, and commands that it refuses."""

import numpy as np
import pytest

from gpld.commands.import_data import main
from gpld.datasets import DataFolder
from gpld.replay import Replay, ReplayStore, StepSpec


def imported(source, out, *flags):
    """Import episodes by the command."""
    main([str(source), str(out), *flags])
    return DataFolder.read(out)


def steps_of(data):
    """All steps of imported data, by name, read as training reads them."""
    specs = {n: StepSpec(x.shape, x.dtype) for n, x in data.spec.stored.items()}
    num = data.manifest["state"]["num_added"]
    replay = Replay(
        specs, num_streams=1, window=1, capacity=num, max_steps=num, online=False, seed=3
    )
    ReplayStore(data.files).load(data.manifest, replay)
    return {name: array[0] for name, array in replay.ring.arrays.items()}


def failure(capsys, *args):
    """The one line with which the command ends, its exit code, and what it printed before."""
    with pytest.raises(SystemExit) as stop:
        main(list(map(str, args)))
    out, err = capsys.readouterr()
    assert err.count("\n") == 1
    return err, stop.value.code, out


def write_episodes(folder, *, num_episodes=4, num_actions=20, seed=0):
    """Write `.npz` files with one observation of three numbers and two actions."""
    folder.mkdir()
    rng, num = np.random.default_rng(seed), num_actions
    for number in range(num_episodes):
        np.savez(
            folder / f"{number}.npz",
            observation=rng.normal(size=(num + 1, 3)),
            action=rng.uniform(-1, 1, (num, 2)),
            action_low=-1,
            action_high=1,
            reward=rng.normal(size=num),
            terminated=np.arange(num) == num - 1,
        )
    return folder
