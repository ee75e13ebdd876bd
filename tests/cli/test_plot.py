"""`scripts/plot.py`, on run folders as training leaves them."""

import csv
import dataclasses
import json
import urllib.parse
from html.parser import HTMLParser

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image
from run_folders import configured, write_evaluation, write_learning_run, write_run

from gpld.commands.plot import main as plot

FINAL = {"walker_run": (459, 627), "cartpole_balance_sparse": (1000, 990)}
QUICK = {"env_steps": 60_000, "scale": 30_000}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    for arm, lambda0 in (("base", 0.0), ("gpld", 0.5)):
        for task, final in FINAL.items():
            for seed in range(3):
                path = root / arm / task / f"seed{seed}"
                own = final[arm == "gpld"]
                write_learning_run(path, task, seed, final=own, lambda0=lambda0, **QUICK)
    return root


@pytest.fixture
def texts(monkeypatch):
    """Everything that is written in pictures, by file name."""
    return recorded(monkeypatch, Figure.savefig)


@pytest.fixture
def undrawn(monkeypatch):
    """The same of pictures that are not drawn, which is most of the time."""
    return recorded(monkeypatch, lambda figure, path, **options: path.write_bytes(b""))


def recorded(monkeypatch, save):
    found = {}

    def record(figure, path, **options):
        words = [t.get_text() for t in figure.findobj(lambda x: hasattr(x, "get_text"))]
        found[path.name] = "\n".join(words)
        save(figure, path, **options)

    monkeypatch.setattr(Figure, "savefig", record)
    return found


def test_pictures_tables_and_csv(runs, tmp_path, capsys, texts):
    out = tmp_path / "new" / "figures"
    plot([str(runs), "--out", str(out)])
    printed = capsys.readouterr().out
    assert printed.endswith(
        "wrote scores.csv, scores.md, curves.png, curves.pdf, aggregates.png, aggregates.pdf, "
        f"report.html in {out}\n"
    )
    with (out / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 12 * 12
    last = [row for row in rows if row["frame"] == "120000"]
    ours = [float(row["score"]) for row in last
            if (row["arm"], row["task"]) == ("GPLD", "walker_run")]  # fmt: skip
    expected = f"{np.mean(ours):.1f} ± {np.std(ours):.1f}; {np.median(ours):.1f}; 3"
    (line,) = [line for line in printed.splitlines() if line.startswith("| walker_run")]
    assert expected in line
    assert "458.5 ± 122.8 | 627.1 ± 77.2 |" in line
    assert "The paper's columns are at 1,000,000 frames, ours at 120,000: they cannot" in printed
    assert "| mean of ratios (the paper's), over DreamerV3 | - |" in printed
    assert (out / "scores.md").read_text() in printed
    page = (out / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 2
    for text in (expected, "<td>gpld.lambda0</td><td>0.0</td><td>0.5</td><td>0.5</td>", "c0ffee"):
        assert text in page
    assert "http" not in page  # nothing is loaded from elsewhere

    for name in ("curves", "aggregates"):
        assert (out / f"{name}.pdf").read_bytes().startswith(b"%PDF")
        with Image.open(out / f"{name}.png") as image:
            assert image.convert("L").getextrema() == (0, 255)
        assert "not smoothed" in texts[f"{name}.png"]
        assert "frames (env steps x action repeat)" in texts[f"{name}.png"]
    for text in ("DreamerV3 (3 seeds)", "GPLD (3 seeds)", "DreamerV3, official, published",
                 "TD-MPC2, published (3 seeds)", "walker_run",
                 "GPLD, table 3 of the paper (at 1M frames, beyond the right edge)"):  # fmt: skip
        assert text in texts["curves.png"]
    assert "return over that of DreamerV3 at 120k frames" in texts["aggregates.png"]


PENDULUM = "gymnasium:Pendulum-v1"
LEFT_OUT = (
    "Left out of interquartile means, optimality gaps, ratios and performance profiles, since no "
    f"lowest and best return is known: {PENDULUM}."
)


def plot_two_arms(root, tasks, capsys):
    """Printed tables of DreamerV3 and GPLD: returns of each, for two seeds, by task."""
    for task, arms in tasks.items():
        for lambda0, returns in zip((0.0, 0.5), arms, strict=True):
            for seed, score in enumerate(returns):
                config = configured(task, seed, env_steps=10_000, lambda0=lambda0)
                env = dataclasses.replace(config.env, action_repeat=2)  # also where 1 is usual
                config = dataclasses.replace(config, env=env)
                evaluations = [(5_008, [score]), (10_000, [score])]
                write_run(root / "runs" / task / f"{lambda0}-{seed}", config, evaluations)
    plot([str(root / "runs"), "--out", str(root / "out"), "--no_published"])
    return capsys.readouterr().out


@pytest.mark.filterwarnings("error")
def test_returns_of_no_known_scale_stay_raw(tmp_path, capsys, texts):
    printed = plot_two_arms(tmp_path, {PENDULUM: ([-1200, -1000], [-300, -100])}, capsys)
    assert f"| {PENDULUM} | -1100.0 ± 100.0; -1100.0; 2 | -200.0 ± 100.0; -200.0; 2 |" in printed
    assert "| mean return | -1100.0 [-1200.0, -1000.0] | -200.0 [-300.0, -100.0] |\n" in printed
    assert "| chance of a better run than DreamerV3 | - | 1.000 [1.000, 1.000] |\n" in printed
    for scaled in ("interquartile mean of", "optimality gap of", "of ratios", "ratio of"):
        assert f"| {scaled}" not in printed
    assert "Ratios have" not in printed
    assert printed.count(LEFT_OUT) == 1
    assert "wrote scores.csv, scores.md, curves.png, curves.pdf, report.html in" in printed
    assert LEFT_OUT in (tmp_path / "out" / "report.html").read_text()
    assert set(texts) == {"curves.png", "curves.pdf"}


def test_what_is_left_out_is_said_without_a_baseline_too(tmp_path, capsys, undrawn):
    config = configured("my_package.envs:make", 0, env_steps=5_000)
    write_run(tmp_path / "a", config, [(5_008, [-2.0])])
    plot([str(tmp_path), "--out", str(tmp_path / "out")])
    printed = capsys.readouterr().out
    assert "| my_package.envs:make | -2.0 ± -; -2.0; 1 |" in printed
    assert printed.count("lowest and best return is known: my_package.envs:make.") == 1
    assert "aggregates.png" not in undrawn


def test_tables_and_titles_name_a_file_of_ones_own_without_its_folders(tmp_path, capsys, undrawn):
    task = f"{tmp_path / 'with' / 'many' / 'folders' / 'my_env.py'}:make"
    write_run(tmp_path / "a", configured(task, 0, env_steps=5_000), [(5_008, [2.0])])
    plot([str(tmp_path), "--out", str(tmp_path / "out")])
    assert "| my_env.py:make | 2.0" in capsys.readouterr().out
    assert "my_env.py:make" in undrawn["curves.png"].split("\n")


def test_arms_without_a_task_in_common_are_shown_beside_each_other(tmp_path, capsys, undrawn):
    pairs = ((0.5, "walker_run"), (0.0, "walker_walk"), (2.0, "walker_walk"))
    for lambda0, task in pairs:
        config = configured(task, 0, env_steps=5_000, lambda0=lambda0)
        write_run(tmp_path / f"lambda{lambda0}", config, [(5_008, [2.0])])
    args = [str(tmp_path), "--out", str(tmp_path / "out")]
    plot(args)
    printed = capsys.readouterr().out
    assert "No task is common to DreamerV3 and " in printed
    assert {"scores.md", "scores.csv", "report.html"} <= {
        f.name for f in (tmp_path / "out").iterdir()
    }
    assert "curves.png" in undrawn
    assert "aggregates.png" not in undrawn
    with pytest.raises(SystemExit):
        plot([*args, "--baseline", "DreamerV3"])
    assert "no task in common" in capsys.readouterr().err


def test_tasks_of_known_and_unknown_scales_together(tmp_path, capsys, texts):
    tasks = {
        "walker_run": ([200, 400], [600, 600]),
        PENDULUM: ([-1200, -1000], [-300, -100]),
    }
    printed = plot_two_arms(tmp_path, tasks, capsys)
    assert "## Over 2 tasks at 20,000 frames" in printed
    assert "| mean return" not in printed
    assert "The mean return is left out, since these tasks have no scale in common.\n" in printed
    # What has a scale is that of walker_run alone.
    assert "| interquartile mean of return / 1000 | 0.300 [0.200, 0.400] | 0.600 [" in printed
    assert "| mean of ratios (the paper's), over DreamerV3 | - | 2.000 [1.500, 3.000] |" in printed
    assert "| chance of a better run than DreamerV3 | - | 1.000 [1.000, 1.000] |\n" in printed
    assert printed.count(LEFT_OUT) == 1
    words = " ".join(texts["aggregates.png"].split())
    assert LEFT_OUT in words
    assert "1 task; 95 %" in words
    assert "return over that of DreamerV3 at 20k frames" in words


def test_tasks_of_different_known_scales_are_normalised(tmp_path, capsys, texts):
    tasks = {
        "walker_run": ([200, 400], [600, 600]),  # 0.3 and 0.6
        "probe_delayed": ([-1.0, 0.6], [0.6, 0.6]),  # 0.4 and 0.8
        "gymnasium:CartPole-v1": ([100, 100], [500, 500]),  # 0.2 and 1
    }
    printed = plot_two_arms(tmp_path, tasks, capsys)
    assert "| mean return" not in printed
    assert "| interquartile mean of normalised return |" in printed
    assert "| optimality gap of normalised return | 0.700 [" in printed
    # Ratios of 2, 2 and 5.
    assert "| mean of ratios (the paper's), over DreamerV3 | - | 3.000 [" in printed
    assert "| median of ratios, over DreamerV3 | - | 2.000 [" in printed
    assert "| ratio of means, over DreamerV3 | - | 2.667 [" in printed
    assert "Ratios are of normalised returns: 0 is a task's lowest, 1 its best.\n" in printed
    assert "Left out" not in printed
    words = " ".join(texts["aggregates.png"].split())
    assert "normalised return over that of DreamerV3 at 20k frames" in words
    assert "normalised return, interquartile mean over all runs" in words
    assert "Left out" not in words


def test_smoothing_is_said_and_changes_no_table(runs, tmp_path, capsys, undrawn):
    only = [str(runs / arm / "walker_run") for arm in ("base", "gpld")]
    plot([*only, "--out", str(tmp_path / "raw"), "--no_published"])
    raw = (tmp_path / "raw" / "scores.md").read_text()
    assert "official" not in undrawn["curves.png"]
    assert "paper at" not in raw
    smooth = ("--smooth", "0.1", "--no_published", "--frame", "120000")
    plot([*only, "--out", str(tmp_path / "smooth"), *smooth])
    assert (tmp_path / "smooth" / "scores.md").read_text() == raw
    for name in ("curves.png", "aggregates.png"):
        assert "SMOOTHED: exponential moving average, newest evaluation 0.1" in undrawn[name]
    assert "| without the largest ratio, over DreamerV3 | - | undefined |" in raw
    capsys.readouterr()


def test_checkpoints_missing_runs_and_a_baseline_of_nothing(tmp_path, capsys, undrawn):
    paths = []
    for lambda0, scores in ((0.0, [0.0, 0.0]), (0.5, [1.0, 3.0])):
        config = configured("walker_run", 0, env_steps=10_000, lambda0=lambda0)
        paths.append(tmp_path / f"lambda{lambda0}")
        folder = write_run(paths[-1], config, [(5_008, [7.0]), (10_000, [lambda0])])
        write_evaluation(folder, config, scores)
    write_run(tmp_path / "empty", configured("hopper_hop", 4), [])
    args = (str(tmp_path), "--out", str(tmp_path / "out"), "--source", "checkpoints")
    plot([*args, "--frame", "20000"])
    printed = capsys.readouterr().out
    assert "| walker_run | 0.0 ± -; 0.0; 1 | 2.0 ± -; 2.0; 1 |" in printed
    assert "| mean of ratios (the paper's), over DreamerV3 | - | undefined |" in printed
    assert "Missing: GPLD on hopper_hop, seed 4" in printed
    assert "mean over tasks (0; it has none on 1)" in undrawn["aggregates.png"]


def test_intervals_are_undefined_where_the_baseline_may_have_been_nothing(tmp_path, capsys):
    for seed in (0, 1):
        for lambda0 in (0.0, 0.5):
            config = configured("walker_run", seed, env_steps=10_000, lambda0=lambda0)
            score = 2.0 * seed if lambda0 == 0 else 1.0
            write_run(tmp_path / f"{lambda0}-{seed}", config, [(10_000, [score])])
    plot([str(tmp_path), "--out", str(tmp_path / "out"), "--no_published"])
    printed = capsys.readouterr().out
    assert "| ratio of means, over DreamerV3 | - | 1.000 [undefined] |" in printed


def test_a_single_run_has_no_interval_and_no_chance(tmp_path, capsys, undrawn):
    for name, lambda0, score in (("a", 0.0, 2.0), ("b", 0.5, 10.0)):
        config = configured("walker_run", 0, env_steps=5_000, lambda0=lambda0)
        write_run(tmp_path / name, config, [(5_008, [score])])
    plot([str(tmp_path), "--out", str(tmp_path / "out"), "--no_published"])
    printed = capsys.readouterr().out
    assert "| walker_run | 2.0 ± -; 2.0; 1 | 10.0 ± -; 10.0; 1 |" in printed
    assert "| mean return | 2.0 | 10.0 |\n" in printed
    assert "| ratio of means, over DreamerV3 | - | 5.000 |\n" in printed
    assert "| chance of a better run than DreamerV3 | - | - |\n" in printed
    assert "[2.0, 2.0]" not in printed
    assert "Where an arm has a single run of a task, nothing is known of other seeds." in printed
    # A second run of one arm says something of that arm alone.
    config = configured("walker_run", 1, env_steps=5_000)
    write_run(tmp_path / "c", config, [(5_008, [20.0])])
    plot([str(tmp_path), "--out", str(tmp_path / "out"), "--no_published"])
    printed = capsys.readouterr().out
    assert "| mean return | 2.0 | 15.0 [10.0, 20.0] |\n" in printed
    assert "| ratio of means, over DreamerV3 | - | 7.500 |\n" in printed


def test_runs_that_cannot_be_read_are_named_and_the_rest_is_drawn(tmp_path, capsys, undrawn):
    for seed in range(5):
        config = configured("walker_run", seed, env_steps=5_000)
        write_run(tmp_path / f"s{seed}", config, [(5_008, [float(seed)])])
    (tmp_path / "s1" / "config.json").write_text('{"task": "wal')
    (tmp_path / "s2" / "scores.jsonl").write_text('{"env_step": 5008, "scores": 3}\n')
    (tmp_path / "s3" / "run.json").write_text("{}")
    (tmp_path / "s4" / "metrics.jsonl").mkdir()
    plot([str(tmp_path), "--out", str(tmp_path / "out"), "--no_published"])
    printed = capsys.readouterr().out
    assert "| walker_run | 2.3 ± 1.7; 3.0; 3 |" in printed
    page = (tmp_path / "out" / "report.html").read_text()
    for missing, where in (
        (f"Missing: {tmp_path / 's1'} cannot be read: ", (printed, page)),
        (f"Missing: {tmp_path / 's2' / 'scores.jsonl'}, line 1 ", (printed, page)),
        (f"Missing: GPLD on walker_run, seed 3 ({tmp_path / 's3'}): ", (page,)),
        (f"Missing: GPLD on walker_run, seed 4 ({tmp_path / 's4'}): ", (page,)),
    ):
        assert all(missing in text for text in where)
    for seed in (0, 2, 3, 4):
        (tmp_path / f"s{seed}" / "config.json").write_text("{}")
    with pytest.raises(SystemExit) as exit:
        plot([str(tmp_path), "--out", str(tmp_path / "out")])
    assert exit.value.code == 2
    assert "None of 5 runs can be read. " in capsys.readouterr().err


def test_scores_of_checkpoints_that_are_not_what_they_seem_are_marked(tmp_path, capsys, undrawn):
    folders = []
    for seed, scores in enumerate(([3.0] * 20, [3.0] * 2, [9.0] * 20, [9.0] * 20)):
        config = configured("walker_run", seed, env_steps=10_000)
        folders.append(write_run(tmp_path / f"s{seed}", config, [(10_000, [1.0])]))
        write_evaluation(folders[-1], config, scores, actions="modes" if seed == 2 else "sampled")
    (tmp_path / "s3" / "evaluation.json").write_bytes(
        (tmp_path / "s0" / "evaluation.json").read_bytes()
    )
    plot([str(tmp_path), "--out", str(tmp_path / "o"), "--source", "checkpoints"])
    printed = capsys.readouterr().out
    assert "| walker_run | 3.0 ± 0.0; 3.0; 2 |" in printed
    assert "their mean return in 20 episodes; median; number of runs." in printed
    assert f"Fewer episodes, 2: GPLD on walker_run, seed 1 ({tmp_path / 's1'})" in printed
    assert f"Missing: {tmp_path / 's2'} cannot be read: " in printed
    assert "evaluation.json was made with `--actions modes`, and scores are of sampled" in printed
    assert f"Missing: {tmp_path / 's3'} cannot be read: " in printed
    assert f"evaluation.json holds evaluations of another run, '{tmp_path / 's0'}'" in printed


def test_without_any_score_of_checkpoints_the_reason_is_said(tmp_path, capsys):
    for seed in (0, 1):
        config = configured("walker_run", seed, env_steps=10_000)
        folder = write_run(tmp_path / f"s{seed}", config, [(10_000, [1.0])])
    write_evaluation(folder, config, [3.0] * 20, actions="modes")
    with pytest.raises(SystemExit) as end:
        plot([str(tmp_path), "--out", str(tmp_path / "o"), "--source", "checkpoints"])
    [line] = capsys.readouterr().err.splitlines()
    assert end.value.code == 2
    assert "None of 2 runs has an evaluation of its checkpoints" in line
    assert "evaluation.json was made with `--actions modes`" in line


def test_arms_have_one_name_whichever_of_their_scores_are_there(tmp_path, capsys, undrawn):
    for name, lambda0, actions in (("a", 0.25, "sampled"), ("b", 0.5, "modes")):
        config = configured("walker_run", 0, env_steps=10_000, lambda0=lambda0)
        folder = write_run(tmp_path / name, config, [(10_000, [1.0])])
        write_evaluation(folder, config, [3.0] * 20, actions=actions)
    args = (str(tmp_path), "--out", str(tmp_path / "o"), "--source", "checkpoints")
    plot([*args, "--no_published"])
    assert "| task | GPLD, gpld.lambda0 0.25 |" in capsys.readouterr().out
    assert "GPLD, gpld.lambda0 0.25 (1 seed)" in undrawn["aggregates.png"]
    # Those with scores of checkpoints have no curves, and the other way round.
    (tmp_path / "a" / "scores.jsonl").unlink()
    plot([*args, "--no_published"])
    printed = capsys.readouterr().out
    assert "| task | GPLD, gpld.lambda0 0.25 |" in printed
    assert "wrote scores.csv, scores.md, curves.png, curves.pdf, report.html in" in printed


class Links(HTMLParser):
    """Where the links of a page lead."""

    def __init__(self, page):
        super().__init__()
        self.found = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found += [value for name, value in attrs if name == "href"]


def test_links_of_a_report_lead_to_files(tmp_path, undrawn):
    name = "javascript:alert(1) ?#%41"
    config = configured("walker_run", 0, env_steps=5_000)
    write_run(tmp_path / name, config, [(5_008, [1.0])])
    video = tmp_path / name / "videos" / "000005000.mp4"
    video.parent.mkdir()
    video.write_bytes(b"")
    plot([str(tmp_path / name), "--out", str(tmp_path), "--no_published"])
    (href,) = Links((tmp_path / "report.html").read_text()).found
    parts = urllib.parse.urlsplit(href)
    assert (parts.scheme, parts.netloc, parts.query, parts.fragment) == ("", "", "", "")
    assert tmp_path / urllib.parse.unquote(parts.path) == video


NAMES = ["$\\frac{x$", "=5 $ + $6", "_hidden", "a|b", "two\nlines", "\udc80"]


def test_names_of_arms_are_text_in_pictures_and_tables(tmp_path, capsys, texts):
    for i in range(len(NAMES)):
        config = configured("walker_run", 0, env_steps=5_000, lambda0=0.1 * i)
        write_run(tmp_path / f"a{i}", config, [(5_008, [1.0])])
    (tmp_path / "arms.json").write_text(json.dumps({f"a{i}": n for i, n in enumerate(NAMES)}))
    plot([str(tmp_path), "--out", str(tmp_path / "out"), "--baseline", NAMES[1]])
    with Image.open(tmp_path / "out" / "curves.png") as image:
        image.verify()
    shown = "\n".join(texts.values())
    for escaped in (r"\$\frac{x\$ (1 seed)", r"=5 \$ + \$6 (1 seed)", " _hidden (1 seed)"):
        assert f"\n{escaped}\n" in shown
    assert r"return over that of =5 \$ + \$6" in shown
    table = (tmp_path / "out" / "scores.md").read_text().splitlines()[2]
    assert table.count("|") - table.count(r"\|") == len(NAMES) + 4  # with the paper's columns
    assert r"| a\|b |" in table
    assert "| two lines |" in table
    capsys.readouterr()


def test_a_folder_that_cannot_be_written_is_one_line(runs, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    for out in ("file", "file/figures", "x" * 300):
        with pytest.raises(SystemExit) as exit:
            plot([str(runs), "--out", str(tmp_path / out)])
        output = capsys.readouterr()
        assert (exit.value.code, output.out, output.err.count("\n")) == (2, "", 1)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "`runs` must name the folder of a run"),
        (["nowhere"], "nowhere holds no run folder"),
        (["RUNS", "--frame", "5"], "no evaluation"),
        (["RUNS", "--smooth", "2"], "`smooth` must be in (0, 1], got 2.0"),
        (["RUNS", "--window_frames", "-1"], "`window_frames` must be at least 0, got -1"),
        (["RUNS", "--baseline", "GPLDD"], "no arm GPLDD at 120,000 frames, but DreamerV3, GPLD"),
        (
            ["RUNS", "--source", "checkpoints"],
            "has an evaluation of its checkpoints: `python scripts",
        ),
    ],
)
def test_bad_usage_is_one_line(runs, tmp_path, capsys, args, message):
    args = [str(runs) if arg == "RUNS" else arg for arg in args]
    with pytest.raises(SystemExit) as exit:
        plot([*args, "--out", str(tmp_path)])
    output = capsys.readouterr()
    assert (exit.value.code, output.out) == (2, "")
    assert message in output.err
    assert output.err.count("\n") == 1
