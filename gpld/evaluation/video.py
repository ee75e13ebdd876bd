"""Videos of episodes."""

import contextlib
import itertools
import re
import secrets
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, Unpack

import imageio_ffmpeg
import numpy as np
from jaxtyping import Shaped, UInt8

from ..envs import CompleteOptions, EnvOptions, TimeStep, env_factory, env_seed, is_own
from ..envs.dmc.drawing import Drawing, OwnRepetition, Playback, Repetition
from ..errors import Interrupted, MachineError, UsageError
from ..machine.files import create


class FirstEpisode:
    """First episode of the first environment: a `record` of `run_episodes`.

    Attributes:
        score: Its return, so far.
    """

    score: float

    def __init__(self):
        self.score = 0.0
        self._actions: list[np.ndarray] = []
        self._ended = False

    def __call__(self, step: TimeStep, action: Shaped[np.ndarray, "env ..."]) -> None:
        """Take in one time step of every environment, and the actions that answer it."""
        if self._ended:
            return
        self.score += float(step.reward[0])
        self._ended = bool(step.is_last[0])
        self._actions.append(action[0])

    @property
    def actions(self) -> Shaped[np.ndarray, "time ..."]:
        """Return the actions between its time steps."""
        return np.stack(self._actions[:-1])


class Video(NamedTuple):
    """Video of an episode that was written."""

    path: Path
    frames: int
    fps: float
    score: float
    """Return of what was drawn."""

    original_score: float
    """Return of the episode. The same, since tasks are deterministic."""

    def __str__(self) -> str:
        """Describe the video in one line."""
        line = f"wrote {self.path}: {self.frames} frames, {self.fps:g} per second"
        if self.score != self.original_score:
            line += (
                f"; it shows another episode, of return {self.score:.3f} instead of "
                f"{self.original_score:.3f}, because this one could not be repeated"
            )
        return line


def record_video(
    path: Path,
    episode: FirstEpisode,
    *,
    task: str,
    seed: int,
    should_stop: Callable[[], bool] | None = None,
    **options: Unpack[EnvOptions],
) -> Video:
    """Repeat an episode in a process that draws it, and write a video in simulated time.

    Args:
        path: File to write; `.gif` gives a GIF, `.mp4` a video in H.264.
        episode: The episode, or as much of it as was recorded.
        task: Its task.
        seed: Seed that `make_vector_env` was given.
        should_stop: Asked at every frame whether to give up.
        **options: As for `make_env`.

    Raises:
        Interrupted: If it should stop; there is no file then.
        UsageError: If the task cannot be drawn, or the file has another ending.
        MachineError: If nothing can be drawn here, or the file cannot be written.
    """
    seed = env_seed(seed, 0)
    if is_own(task):
        drawn = {**options, "observations": "both", "image_size": None}
        factory = env_factory(task, **drawn)
        repetition = OwnRepetition(task, factory, seed, episode.actions, episode.score)
    else:
        repeat = CompleteOptions(**options).action_repeat
        repetition = Repetition(task, seed, repeat, episode.actions, episode.score)
    return play_video(path, repetition, should_stop=should_stop)


def play_video(
    path: Path,
    episode: Repetition | OwnRepetition | Playback,
    *,
    should_stop: Callable[[], bool] | None = None,
) -> Video:
    """Draw an episode in a process, and write a video in simulated time.

    Args:
        path: As for `record_video`, like the last.
        episode: Actions to repeat, or states to show.
        should_stop: Asked at every frame whether to give up.

    Raises:
        Interrupted: As `record_video`, like the next two.
        UsageError: If the task cannot be drawn, or the file has another ending.
        MachineError: If nothing can be drawn here, or the file cannot be written.
    """

    def frames(drawing):
        for frame in drawing:
            if should_stop is not None and should_stop():
                raise Interrupted("The video was interrupted.")
            yield frame

    with Drawing(episode) as drawing:
        count = write_video(path, frames(drawing), fps=drawing.fps)
        return Video(path, count, drawing.fps, drawing.score, episode.score)


def write_video(
    path: Path, frames: Iterable[UInt8[np.ndarray, "height width 3"]], *, fps: float
) -> int:
    """Write frames as they come; the file is complete or absent.

    Args:
        path: File to write, `.mp4` or `.gif`; its folder is made.
        frames: Pictures of equal size, at least one.
        fps: Frames per second; of a GIF at most 50, which is what programs show.

    Returns:
        The number of frames taken.

    Raises:
        UsageError: If the file has another ending.
        MachineError: If it cannot be written.
    """
    check_name(path)
    temporary = path.with_name(f".{secrets.token_hex(4)}.tmp{path.suffix}")
    try:
        path.parent.mkdir(exist_ok=True)  # without parents: a run may have been moved away
        create(temporary).close()  # else ffmpeg would follow a link of that name
        count = _encode(temporary, iter(frames), fps)
        temporary.replace(path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise MachineError(f"Cannot write the video {path}: {reason}.") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
    return count


def check_name(path: Path) -> None:
    """Check the ending of a file's name.

    Raises:
        UsageError: If it is not one of a video.
    """
    if path.suffix not in (".mp4", ".gif"):
        raise UsageError(f"The name of a video must end in .mp4 or .gif, got {path}.")


def _encode(path: Path, frames: Iterator[np.ndarray], fps: float) -> int:
    """Pipe frames through ffmpeg.

    The writer of imageio-ffmpeg neither looks at ffmpeg's exit code, so that a full disk passes for
    success, nor takes in what ffmpeg says.

    Raises:
        OSError: If ffmpeg is missing or fails, as on a full disk.
    """
    try:
        ffmpeg = imageio_ffmpeg.get_ffmpeg_exe()
    except RuntimeError as error:
        raise OSError("there is no ffmpeg, reinstall imageio-ffmpeg") from error
    first, count = next(frames), 0
    height, width, _ = first.shape
    # Else ffmpeg takes what is before a colon for a protocol.
    target = f"file:{path}"
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", f"{fps}"]
    command = [ffmpeg, "-y", "-loglevel", "error", *source, "-i", "-", *_codec(path), target]
    with tempfile.TemporaryFile() as messages:
        # A pipe that breaks belongs to a process that says why.
        with (
            contextlib.suppress(BrokenPipeError),
            subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=messages,
                start_new_session=True,  # Ctrl-C in the terminal is for the parent
            ) as process,
        ):
            assert process.stdin is not None
            for frame in itertools.chain([first], frames):
                process.stdin.write(frame.tobytes())
                count += 1
        if process.returncode:
            messages.seek(0)
            first_line, *_ = messages.read().decode(errors="replace").splitlines() or [""]
            reason = re.sub(r"^\[[^]]*\] ", "", first_line).rstrip(".")
            raise OSError(reason or f"ffmpeg ended with code {process.returncode}")
    return count


def _codec(path: Path) -> list[str]:
    """Return ffmpeg's options to encode a file of this name."""
    if path.suffix == ".gif":
        colors = "split[a][b];[a]palettegen[colors];[b][colors]paletteuse"
        return ["-vf", f"fps='min(50,source_fps)',{colors}"]
    # The colours of H.264 have half the resolution, so that sizes must be even.
    even = "pad=ceil(iw/2)*2:ceil(ih/2)*2"
    return ["-vf", even, "-c:v", "libx264", "-pix_fmt", "yuv420p", "-movflags", "+faststart"]
