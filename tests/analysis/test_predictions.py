"""Pictures of predictions."""

import imageio_ffmpeg
import numpy as np
import pytest
from matplotlib.image import imread

from gpld.analysis.predictions import _frames, _rows, draw_predictions
from gpld.errors import MachineError

RNG = np.random.default_rng(0)
TRUTH = {
    "image": RNG.integers(256, size=(3, 6, 16, 16, 3)).astype(np.uint8),
    "depth": RNG.integers(256, size=(3, 6, 8, 8, 1)).astype(np.uint8),
    "speed": RNG.normal(size=(3, 6, 2)).astype(np.float32),
    "height": RNG.normal(size=(3, 6)).astype(np.float32),
}
PREDICTED = {
    name: (x / 255 if x.ndim == 5 else x + 0.1).astype(np.float32) for name, x in TRUTH.items()
}


def test_every_image_has_a_video_and_a_strip_and_vectors_a_plot(tmp_path):
    files = draw_predictions(tmp_path / "new" / "000000042", TRUTH, PREDICTED, 3)
    assert sorted(file.name for file in files) == [
        "000000042-depth.mp4",
        "000000042-depth.png",
        "000000042-image.mp4",
        "000000042-image.png",
        "000000042-vectors.png",
    ]
    assert sorted(file.name for file in (tmp_path / "new").iterdir()) == sorted(
        file.name for file in files
    )
    count, _ = imageio_ffmpeg.count_frames_and_secs(str(tmp_path / "new" / "000000042-image.mp4"))
    assert count == 6
    assert imread(tmp_path / "new" / "000000042-image.png").std() > 0.05


def test_vectors_alone_have_a_plot_alone(tmp_path):
    truth = {name: TRUTH[name] for name in ("speed", "height")}
    (file,) = draw_predictions(tmp_path / "new" / "a", truth, PREDICTED, 3)
    assert file == tmp_path / "new" / "a-vectors.png"
    assert imread(file).std() > 0.05


def test_rows_are_truth_prediction_and_error():
    wrong = PREDICTED["image"].copy()
    wrong[0, 0, 0, 0] = np.clip(wrong[0, 0, 0, 0] + 0.2, 0, 1)
    rows = _rows(TRUTH["image"], wrong)
    np.testing.assert_array_equal(rows[:, :, 0], TRUTH["image"])
    np.testing.assert_array_equal(rows[1, :, 1], TRUTH["image"][1])
    error = rows[:, :, 2].astype(int)
    assert np.all(error[0, 0, 0, 0] >= 128)
    assert np.any(error[0, 0, 0, 0] > 140)
    error[0, 0, 0, 0] = 128
    assert np.all(error == 128)


def test_frames_say_what_was_seen():
    frames = list(_frames(_rows(TRUTH["image"], PREDICTED["image"]), 4))
    assert {frame.shape for frame in frames} == {(3 * 36, 3 * 36, 3)}
    corners = [tuple(frame[0, 0].tolist()) for frame in frames]
    assert len(set(corners[:4])) == len(set(corners[4:])) == 1
    assert corners[3] != corners[4]
    # Inside of the frame the truth of the first sequence, enlarged twice.
    inside = frames[5][2:34:2, 2:34:2]
    np.testing.assert_array_equal(inside, TRUTH["image"][0, 5])


@pytest.mark.parametrize("name", ["image", "speed"])
def test_a_file_in_the_way_is_named(tmp_path, name):
    (tmp_path / "file").write_text("")
    with pytest.raises(MachineError, match=r"Cannot make .*/file: File exists"):
        draw_predictions(tmp_path / "file" / "a", {name: TRUTH[name]}, PREDICTED, 3)
