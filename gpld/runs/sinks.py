"""Sinks for metrics besides the run folder: TensorBoard and Weights & Biases."""

import contextlib
import functools
import importlib.util
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..config import Config, to_dict
from ..errors import UsageError
from ..machine.files import read_json, write_json


class _TensorBoard:
    """Writes event files, which TensorBoard shows over env steps."""

    def __init__(self, folder: Path, resumed_at: int | None):
        """Begins a file.

        Args:
            folder: Where the event files of the run are.
            resumed_at: Env step after which what other files say no longer holds; None if
                nothing of it does.
        """
        # Not its `SummaryWriter`, which writes from a thread: where that dies of a full
        # disk nobody is told, and the next call after the queue is full never returns.
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto import event_pb2, summary_pb2

        # Their classes are made at run time.
        self._events: Any = event_pb2
        self._summaries: Any = summary_pb2
        folder.mkdir(parents=True, exist_ok=True)
        self._writer = EventsWriter(str(folder / "events"), f".{time.time_ns()}")
        # Also of a new run: one that was killed before its first checkpoint begins once more.
        log, first = self._events.SessionLog, 0 if resumed_at is None else resumed_at + 1
        self._write(step=first, session_log=log(status=log.START))
        self._writer.flush()

    def write(self, clocks: Mapping[str, int], values: Mapping[str, float]) -> None:
        """Takes a line, and leaves nothing in a buffer that a kill could take."""
        summary = self._summaries.Summary
        scalars = [summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
        self._write(step=clocks["env_step"], summary=summary(value=scalars))
        self._writer.flush()

    def close(self) -> None:
        """Closes the file."""
        self._writer.close()

    def _write(self, **contents: Any) -> None:
        self._writer.write_event(self._events.Event(wall_time=time.time(), **contents))


class _Wandb:
    """Sends metrics to Weights & Biases, or keeps them there as WANDB_MODE says.

    Everything is shown over `env_step`. The run folder remembers the identity of the run, so
    that a resumed run goes on in the same place.
    """

    def __init__(self, folder: Path, config: Config):
        """Begins or continues a run in the project that the settings name."""
        import wandb  # pyright: ignore[reportMissingImports] (an extra)

        self._run = wandb.init(
            project=config.log.wandb,
            id=_identity(folder / "wandb.json", config.log.wandb),
            resume="allow",
            reinit="create_new",  # one for each of several seeds
            name=folder.resolve().name,
            dir=folder,
            config=to_dict(config),
            settings=wandb.Settings(console="off"),  # the progress display is no log
        )
        # A resumed run repeats some env steps; the service's own steps may not go back.
        self._run.define_metric("env_step")
        self._run.define_metric("*", step_metric="env_step")

    def write(self, clocks: Mapping[str, int], values: Mapping[str, float]) -> None:
        """Takes a line; sending it does not wait for the network."""
        self._run.log({**values, **clocks})

    def close(self) -> None:
        """Waits until everything has been sent."""
        self._run.finish()


class Sink:
    """A receiver of lines of metrics, whose failure costs one warning and the receiver."""

    def __init__(
        self,
        name: str,
        make: Callable[[], _TensorBoard | _Wandb],
        warn: Callable[[str], None],
    ):
        """Open the receiver, which messages call by a name."""
        self._name, self._warn = name, warn
        self._receiver: _TensorBoard | _Wandb | None = None
        with self._warning():
            self._receiver = make()

    def write(self, name: str, clocks: Mapping[str, int], values: Mapping[str, float]) -> None:
        """Takes a line.

        Args:
            name: The kind of line, as its file is called.
            clocks: `env_step`, `frame` and `update`.
            values: Numbers by name.
        """
        with self._warning():
            if self._receiver is not None:
                self._receiver.write(clocks, _tagged(name, values))

    def close(self) -> None:
        """Writes what is left; nothing comes afterwards."""
        with self._warning():
            if self._receiver is not None:
                self._receiver.close()
        self._receiver = None

    @contextlib.contextmanager
    def _warning(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self._receiver = None
            reason = str(error).strip().partition("\n")[0] or type(error).__name__
            self._warn(f"{self._name} gets no more metrics: {reason}")


def make_sinks(
    config: Config,
    folder: Path,
    *,
    resumed_at: int | None,
    wandb: bool = True,
    warn: Callable[[str], None],
) -> list[Sink]:
    """Open the sinks that the settings ask for.

    One that fails, now or later, warns once and is silent from then on: a network or a full
    disk must not stop the training.

    Args:
        config: Settings.
        folder: Folder of the run.
        resumed_at: Env step that the run goes on from; None if it is new.
        wandb: Whether Weights & Biases may be one: of several processes the first sends.
        warn: Takes the warnings, one line each.

    Raises:
        UsageError: If Weights & Biases is asked for and not installed.
    """
    wandb = wandb and config.log.wandb is not None
    if wandb and importlib.util.find_spec("wandb") is None:
        raise UsageError("`--log.wandb` needs wandb: `pip install 'gpld[wandb]'`.")
    sinks = []
    if config.log.tensorboard:
        make = functools.partial(_TensorBoard, folder / "tensorboard", resumed_at)
        sinks.append(Sink("TensorBoard", make, warn))
    if wandb:
        sinks.append(Sink("Weights & Biases", functools.partial(_Wandb, folder, config), warn))
    return sinks


def _tagged(name: str, values: Mapping[str, float]) -> dict[str, float]:
    """Prefix names by the kind of line; those of metrics are complete."""
    return dict(values) if name == "metrics" else {f"{name}/{k}": v for k, v in values.items()}


def _identity(path: Path, project: str | None) -> str:
    """Return the run's identity in a W&B project, new if the folder has none."""
    if path.exists():
        stored = read_json(path)
        if stored.get("project") == project and isinstance(stored.get("id"), str):
            return stored["id"]
    identity = secrets.token_hex(4)
    write_json(path, {"project": project, "id": identity})
    return identity
