"""Files of lines end where a checkpoint left them, with whole lines."""

import pytest

from gpld.runs.folder import RunFolder


def _line(env_step):
    return {"env_step": env_step, "time/seconds": 1.0}


@pytest.fixture
def folder(tmp_path):
    folder = RunFolder(tmp_path)
    folder.append("metrics", [_line(i) for i in range(3)])
    return folder


LINE = len('{"env_step": 0, "time/seconds": 1.0}\n')


def test_lines_after_the_checkpoint_are_cut(folder):
    sizes = folder.log_sizes()
    assert sizes == {"metrics.jsonl": 3 * LINE}
    folder.append("metrics", [_line(3)])
    folder.append("scores", [{"env_step": 3}])
    assert folder.rewind(sizes) == []
    assert folder.log_sizes() == {**sizes, "scores.jsonl": 0}


@pytest.mark.parametrize("lost", [1, 5, LINE, LINE + 3])
def test_a_loss_of_power_leaves_whole_lines_and_is_said(folder, lost):
    sizes = folder.log_sizes()
    path = folder.path / "metrics.jsonl"
    path.write_bytes(path.read_bytes()[:-lost])
    whole = 2 if lost <= LINE else 1
    (said,) = folder.rewind(sizes)
    assert f"has lost {(3 - whole) * LINE} of {3 * LINE} bytes" in said
    folder.append("metrics", [_line(9)])
    assert [line["env_step"] for line in folder.read("metrics")] == [*range(whole), 9]


def test_a_vanished_file_is_said(folder):
    sizes = folder.log_sizes()
    (folder.path / "metrics.jsonl").unlink()
    (said,) = folder.rewind(sizes)
    assert "metrics.jsonl has lost" in said


def test_files_of_others_are_left_alone(folder):
    notes = folder.path / "notes.jsonl"
    notes.write_text("mine")
    folder.rewind({})
    assert notes.read_text() == "mine"
    assert folder.log_sizes() == {"metrics.jsonl": 0}
