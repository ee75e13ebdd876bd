"""Exporting the agent of a run: a small folder from which it acts, wherever it is taken."""

import os
import shutil
from pathlib import Path

from .. import agent
from ..config import to_dict
from ..errors import UsageError
from ..machine.files import check_folder, remove, write_json, writing
from ..runs.folder import RunFolder
from . import checkpoint


def export(run: RunFolder, path: Path, env_step: int | None = None) -> RunFolder:
    """Write the agent of a run, with its settings, its record and its evaluations until then.

    What it writes is a run folder with one checkpoint, in which the optimiser's state is left
    out: it can be loaded, evaluated and taken as `init.from`, but not resumed.

    Args:
        run: The run.
        path: Folder to write, which must be new.
        env_step: Env steps after which the checkpoint was written; None takes the latest.

    Raises:
        UsageError: If there is no such run or checkpoint, or the folder is there.
        MachineError: If the run has left no checkpoint, this one is damaged, or the folder cannot
            be written.
    """
    config = run.config()
    saved = checkpoint.read(run.find_checkpoint(env_step))
    state = checkpoint.load_agent(saved, agent.abstract_state(config, **run.env_spec().sizes))
    if os.path.lexists(path):
        raise UsageError(f"`folder` must be new, but there is {path}.")
    check_folder(path.parent)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with writing(path):
            remove(temporary)
            temporary.mkdir()
            _write(temporary, run, saved, state)
            temporary.rename(path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return RunFolder(path)


def _write(
    path: Path, run: RunFolder, saved: checkpoint.Checkpoint, state: agent.AgentState
) -> None:
    """Write an exported agent into a folder that is empty."""
    values = to_dict(run.config())
    # Of the folders that a run knew only the names are left; elsewhere they are others.
    for group, name in ((values, "run"), (values, "offline"), (values["init"], "from_")):
        if group[name] is not None:
            group[name] = Path(group[name]).name
    write_json(path / "config.json", values)
    write_json(path / "run.json", run.record())
    exported, env_step = RunFolder(path), saved.env_step
    lines = [line for line in run.read("scores") if line["env_step"] <= env_step]
    exported.append("scores", lines)
    (path / "checkpoints").mkdir()
    checkpoint.write_agent(exported.checkpoint_path(env_step), state, env_step)
