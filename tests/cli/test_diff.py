"""`scripts/diff.py`: settings side by side."""

import dataclasses

import pytest
from run_script import SCRIPTS

from gpld.analysis.packed import pack
from gpld.commands.diff import main
from gpld.config import field_types, to_dict
from gpld.config.meanings import meanings
from gpld.config.presets import PRESETS
from gpld.machine.files import write_json


@pytest.fixture
def sweep(tmp_path):
    """Two runs, of which one has another seed and no penalty."""
    first = dataclasses.replace(PRESETS["small"], task="walker_walk", seed=3)
    penalty = dataclasses.replace(first.gpld, lambda0=0.0)
    for config in (first, dataclasses.replace(first, seed=4, gpld=penalty)):
        folder = tmp_path / "sweep" / f"seed{config.seed}"
        folder.mkdir(parents=True)
        write_json(folder / "config.json", to_dict(config) | {"run": str(folder)})
    return tmp_path / "sweep"


def compare(capsys, *args):
    """Return what is shown about each setting: its values, and its meaning in one line."""
    main(list(map(str, args)))
    rows, name = {}, ""
    for line in capsys.readouterr().out.splitlines()[1:]:
        if line.startswith(" "):
            rows[name][-1] = f"{rows[name][-1]} {line.strip()}".strip()
        else:
            name, *values = line.split("   ")
            rows[name] = [*(value.strip() for value in values if value), ""]
    return rows


def test_the_paper_and_its_authors_script(capsys):
    rows = compare(capsys, "paper", "authors")
    assert {name: values[:2] for name, values in rows.items()} == {
        "env_steps": ["500000", "1000000"],
        "precision": ["auto", "bfloat16"],
        "gpld.reduction": ["sampled", "batch"],
        "gpld.schedule.minimum": ["0.001", "0.1"],
        "evaluation.episodes": ["3", "4"],
        "checkpoint.every": ["50000", "100000"],
    }
    assert rows["gpld.schedule.minimum"][2].startswith("Coefficient below which the decay stops")


@pytest.mark.parametrize("packed", [False, True])
def test_all_values_of_several_runs_are_shown(capsys, sweep, tmp_path, packed):
    runs = tmp_path / "runs.json.gz" if packed else sweep
    if packed:
        pack(sweep, runs)
    rows = compare(capsys, runs, "small")
    assert {name: values[:2] for name, values in rows.items()} == {
        "task": ["walker_walk", "cartpole_balance"],
        "seed": ["3, 4", "0"],
        "gpld.lambda0": ["0.5, 0.0", "0.5"],
    }


def test_a_run_is_compared_with_its_preset(capsys, sweep):
    assert compare(capsys, sweep / "seed3") == compare(capsys, sweep / "seed3", "small")
    main(["debug"])
    assert capsys.readouterr().out == "debug and debug have the same settings.\n"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["papr", "authors"], "no preset, run folder or packed file 'papr'; did you mean paper?"),
        (["paper", "nowhere"], "no preset, run folder or packed file 'nowhere'. Presets are paper"),
        (["paper", "empty"], "empty holds no run folder."),
        (["paper", "text.json.gz"], "text.json.gz does not hold packed runs: "),
        ([], "Missing"),
    ],
)
def test_mistakes_are_one_line(args, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.json.gz").write_text("text")
    with pytest.raises(SystemExit) as exit_info:
        main(args)
    shown = capsys.readouterr()
    assert (exit_info.value.code, shown.out) == (2, "")
    assert message in shown.err
    assert shown.err.count("\n") == 1


def test_every_setting_has_a_meaning():
    explained = meanings()
    assert set(explained) == set(field_types())
    assert explained["seed"] == "Seeds parameters, actions, environments and replay; below 2**32."


def test_the_results_of_the_repository_can_be_compared(capsys):
    results = SCRIPTS.parent / "results"
    rows = compare(capsys, results / "pendulum.json.gz", results / "cartpole.json.gz")
    assert rows["task"][:2] == ["gymnasium:Pendulum-v1", "gymnasium:CartPole-v1"]
