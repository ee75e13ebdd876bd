"""Exporting the agent of a run: a small folder from which it acts, wherever it is taken."""

import dataclasses
from pathlib import Path

from .. import agent
from ..config import to_dict
from ..errors import UsageError
from ..machine.files import check_folder, write_json, writing
from ..runs.folder import RunFolder
from . import checkpoint


def export(run: RunFolder, path: Path, env_step: int | None = None) -> RunFolder:
    """Write the agent of a run, with its settings, its record and its evaluations until then.

    What it writes is a run folder with one checkpoint, in which the optimiser's state is left
    out: it can be loaded, evaluated and taken as `init.from`, but not resumed.

    Args:
        run: The run.
        path: Folder to write, which must be new or empty.
        env_step: Env steps after which the checkpoint was written; None takes the latest.

    Raises:
        UsageError: If there is no such run or checkpoint, or something is in the folder.
        MachineError: If the run has left no checkpoint, this one is damaged, or the folder cannot
            be written.
    """
    config = run.config()
    saved = checkpoint.read(run.find_checkpoint(env_step))
    state = checkpoint.load_agent(saved, agent.abstract_state(config, **run.env_spec().sizes))
    check_folder(path)
    if any(path.iterdir()):
        raise UsageError(f"`folder` must be new or empty, but there is something in {path}.")
    # Where the run and what it began from once were says nothing elsewhere.
    settings = dataclasses.replace(config, run=None, offline=None)
    settings = dataclasses.replace(settings, init=dataclasses.replace(config.init, from_=None))
    exported = RunFolder(path)
    with writing(path):
        write_json(path / "config.json", to_dict(settings))
        write_json(path / "run.json", run.record())
        (path / "checkpoints").mkdir()
        checkpoint.write_agent(exported.checkpoint_path(saved.env_step), state, saved.env_step)
    exported.append(
        "scores", [line for line in run.read("scores") if line["env_step"] <= saved.env_step]
    )
    return exported
