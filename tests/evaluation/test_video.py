"""Files of videos, and videos of episodes."""

import re
import subprocess
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import PIL.Image
import pytest

from gpld.envs import make_vector_env
from gpld.errors import Interrupted, MachineError, UsageError
from gpld.evaluation.video import FirstEpisode, _encode, record_video, write_video


def colours(height=48, width=64):
    """Red, green, blue, white."""
    rows = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)]
    return [np.full((height, width, 3), row, np.uint8) for row in rows]


def decoded(path):
    """Frames of a video, and how many there are per second."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-i", path, "-f", "rawvideo", "-pix_fmt", "rgb24"]
    result = subprocess.run([*command, "-"], capture_output=True, check=True)
    video = re.search(rb"Video: h264.* yuv420p.* (\d+)x(\d+),.* ([\d.]+) fps", result.stderr)
    width, height, fps = map(float, video.groups())
    return np.frombuffer(result.stdout, np.uint8).reshape(-1, int(height), int(width), 3), fps


@pytest.mark.parametrize("size", [(48, 64), (35, 51)])
def test_mp4_shows_every_frame_in_order(tmp_path, size):
    path = tmp_path / "new" / "a.mp4"
    assert write_video(path, colours(*size), fps=12.5) == 4
    frames, fps = decoded(path)
    assert fps == 12.5
    assert len(frames) == 4
    height, width = size
    assert frames[0].shape == (height + height % 2, width + width % 2, 3)
    for actual, expected in zip(frames, colours(*size), strict=True):
        # Limited range and subsampled colours cost a few shades.
        np.testing.assert_allclose(actual[:height, :width].mean((0, 1)), expected[0, 0], atol=10)
    assert [p.name for p in path.parent.iterdir()] == ["a.mp4"]


@pytest.mark.parametrize(("fps", "frames", "milliseconds"), [(20, 4, 50), (100, 2, 20)])
def test_gif_keeps_the_time(tmp_path, fps, frames, milliseconds):
    path = tmp_path / "a.gif"
    assert write_video(path, colours(), fps=fps) == 4
    with PIL.Image.open(path) as image:
        assert image.n_frames == frames
        assert image.info["duration"] == milliseconds
        assert image.info["loop"] == 0


def test_other_endings_are_refused(tmp_path):
    with pytest.raises(UsageError, match=r"must end in \.mp4 or \.gif"):
        write_video(tmp_path / "a.avi", colours(), fps=20)


def test_files_that_cannot_be_written_are_one_line(tmp_path):
    blocker = tmp_path / "file"
    blocker.write_text("")
    with pytest.raises(MachineError, match="Cannot write the video"):
        write_video(blocker / "a.mp4", colours(), fps=20)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    # A full disk, as ffmpeg finds it.
    (tmp_path / "a.mp4").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left on device") as error:
        _encode(tmp_path / "a.mp4", iter(colours()), 20)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["a:b.mp4", "http:x/%03d.mp4", "pipe:1/-i.gif"])
def test_names_are_no_protocols_of_ffmpeg(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)  # so that the path has no folder before the colon
    assert write_video(Path(name), colours(), fps=20) == 4
    assert Path(name).stat().st_size > 100
    assert [path.name for path in Path(name).parent.iterdir()] == [Path(name).name]


def test_links_are_replaced_and_not_followed(tmp_path):
    (tmp_path / "own").write_text("mine")
    for name in (".tmp-a.mp4", "a.mp4"):
        (tmp_path / name).symlink_to(tmp_path / "own")
    write_video(tmp_path / "a.mp4", colours(), fps=20)
    assert (tmp_path / "own").read_text() == "mine"
    assert not (tmp_path / "a.mp4").is_symlink()


def test_an_error_while_drawing_leaves_no_file(tmp_path):
    def frames():
        yield from colours()
        raise MachineError("The drawing process died.")

    with pytest.raises(MachineError, match="drawing process died"):
        write_video(tmp_path / "a.mp4", frames(), fps=20)
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def episode():
    """The first of two episodes that began together; dm_control will repeat it."""
    episode, rng = FirstEpisode(), np.random.default_rng(0)
    with make_vector_env(
        "walker_walk", num_envs=2, seed=6, action_repeat=2, backend="batch"
    ) as envs:
        action = np.zeros((2, 6), np.float32)
        for _ in range(12):
            step = envs.step(action)
            action = rng.normal(size=(2, 6)).astype(np.float32)  # not clipped
            episode(step, action)
    return episode


def test_the_episode_on_the_video_is_the_recorded_one(gl, tmp_path, episode):
    path = tmp_path / "a.mp4"
    video = record_video(path, episode, task="walker_walk", seed=6, action_repeat=2)
    assert video.score == video.original_score == episode.score > 0
    assert str(video) == f"wrote {path}: 12 frames, 20 per second"
    frames, fps = decoded(path)
    assert (len(frames), fps, frames[0].shape) == (12, 20, (240, 320, 3))

    other = record_video(path, episode, task="walker_walk", seed=7, action_repeat=2)
    assert "it shows another episode, of return" in str(other)


def test_a_video_can_be_interrupted(gl, tmp_path, episode):
    asked = iter([False, False, True])
    where = {"task": "walker_walk", "seed": 6, "action_repeat": 2}
    with pytest.raises(Interrupted):
        record_video(tmp_path / "a.mp4", episode, **where, should_stop=lambda: next(asked))
    assert not list(tmp_path.iterdir())


def test_only_the_first_episode_is_recorded():
    episode = FirstEpisode()
    with make_vector_env("probe_constant", num_envs=1, seed=0) as envs:
        for i in range(40):
            episode(envs.step(np.zeros((1, 1), np.float32)), np.full((1, 1), i, np.float32))
    assert episode.score == 16
    np.testing.assert_array_equal(episode.actions[:, 0], np.arange(16))
