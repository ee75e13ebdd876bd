"""Numbers on pages of the documentation are those of the files that they are said to come from."""

import json
import re
from pathlib import Path

import jax
import pytest

from gpld.analysis.published import random_return
from gpld.analysis.published.costs import AUTHORS_UNITS
from gpld.cli import parse_config
from gpld.config.presets import PRESETS
from gpld.envs import make_env
from gpld.training.programs import init_agents
from gpld.training.summary import describe

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


def page(name):
    """Text of a page, each paragraph on one line."""
    return " ".join((DOCS / f"{name}.md").read_text().split())


def benchmark(name):
    return json.loads((ROOT / "benchmarks" / f"{name}.json").read_text())


def rows(name, start):
    """Cells of the rows of tables on a page that begin with a text."""
    lines = (DOCS / f"{name}.md").read_text().splitlines()
    cells = [[cell.strip() for cell in line[1:-1].split("|")] for line in lines if line[:1] == "|"]
    return [row for row in cells if row[0].startswith(start)]


def test_table_of_gpu_programs_is_that_of_the_file():
    stored = benchmark("h100_described/gpu-program")["rows"]
    found = {name: cells for name, *cells in rows("results/gpu_program", "")}
    for name, row in stored.items():
        megabytes = [round(row[kind] / 2**20) for kind in ("temporaries", "arguments")]
        seconds = round(row["trace_seconds"] + row["compile_seconds"])
        numbers = [row["launches"], *megabytes, seconds]
        if row["program"] == "device":
            name = name.removeprefix("loop ")
            numbers = [row["launches"], row["host_reads"], megabytes[0], seconds]
        assert found[name] == [f"{number:,}" for number in numbers], name


def test_table_of_simulated_tasks_is_that_of_the_file():
    stored = benchmark("h100_described/gpu-simulation")["rows"]
    found = {name: cells for name, *cells in rows("howto/mjx", "") if name in stored}
    for name, row in stored.items():
        numbers = (row["launches"], row["started"], row["host_reads"])
        assert found[name] == [f"{number:,}" for number in numbers], name
    assert all(row["started"] == 1 for row in stored.values())
    assert "a control step is one launch by the host" in page("howto/mjx")


@pytest.mark.parametrize(
    ("file", "predicted", "number"),
    [("xeon_amx_2cores/train_small", 37.3 / 2**10, 1.5), ("xeon_amx_1core/train", 1.03, 2.2)],
)
def test_memory_of_the_process(file, predicted, number):
    """The peak of a run less the estimate of its update, and of the replay where that is full."""
    peak = benchmark(file)["figures"]["peak memory of the run"]["value"] / 2**30
    assert round(peak - predicted, 1) == number
    assert f"{number} GiB" in page("howto/memory")


def test_what_the_penalty_costs():
    results = benchmark("epyc_1core/penalty")["results"]
    seconds = {name: result["median_seconds"] for name, result in results.items()}
    literal = seconds["rowwise, literal"]
    rowwise, joint = literal / seconds["rowwise, gram"], literal / seconds["joint, gram"]
    assert f"{rowwise:.1f} times faster" in page("understand/penalty")
    text = page("results/benchmarks")
    assert f"makes `rowwise` {rowwise:.1f} times faster" in text
    assert f"`joint` {seconds['joint, literal'] / seconds['joint, gram']:.1f} times" in text
    assert f"{joint:.0f} times faster than that" in text
    for estimator in ("rowwise", "joint", "forward"):
        both = [results[f"{estimator}, {path}"] for path in ("literal", "gram")]
        memory = ", ".join(f"{result['temporary_bytes'] / 2**20:.0f}" for result in both)
        ratios = [f"{result['ratio']:.1f}" for result in both]
        assert [f"`{estimator}`", *ratios, memory] in rows("results/benchmarks", "`")


@pytest.mark.parametrize(
    ("file", "result"),
    [
        ("epyc_zen4_1core/update", "rowwise, mixed"),
        ("epyc_1core/update", "rowwise, float32"),
        ("epyc_zen4_1core/update_pixels", "rowwise, mixed"),
    ],
)
def test_how_long_a_run_takes(file, result):
    """Of 250,000 updates."""
    seconds = benchmark(file)["results"][result]["median_seconds"]
    (row,) = (row for row in rows("results/benchmarks", "the paper's") if f"{file}.json" in row[1])
    assert row[2:] == [f"{seconds:.1f} s", f"{250_000 * seconds / 86_400:.0f} days"]


def test_time_of_an_update_beside_the_authors():
    results = benchmark("epyc_zen4_1core/update")["results"]
    float32, mixed = (results[f"vanilla, {name}"]["units"] for name in ("float32", "mixed"))
    ours = f"{float32:.0f} in float32, {mixed:.0f} in mixed precision (Zen 4)"
    theirs = f"{AUTHORS_UNITS['vanilla']:.0f} in float32 (Xeon)"
    assert f"takes {float32:.1f} units in float32 and {mixed:.1f} in mixed" in page(
        "results/benchmarks"
    )
    for text in (page("compare"), (ROOT / "README.md").read_text()):
        assert ours in text
        assert theirs in text


def test_what_random_actions_come_to():
    """Where a page says it in round numbers, and where Results say it."""
    number = random_return("cartpole_balance")
    assert f"Random actions have {number:.0f} in cartpole_balance" in page("results/index")
    for name in ("index", "start/first_run"):
        assert f"random actions come to about {round(number, -2):.0f}" in page(name)


@pytest.mark.slow
def test_first_lines_are_those_that_a_run_prints():
    """But for those about the machine."""
    text = (DOCS / "start" / "first_run.md").read_text()
    (command,) = re.findall(r"^    gpld train (.* --run runs/first .*)$", text, re.MULTILINE)
    config = parse_config(command.split())
    spec = make_env(config.task, seed=0, **config.env_options).spec
    (state,) = init_agents(config, spec, keys=[jax.random.key(0)])
    printed = describe(config, spec, state, Path("runs/first")).splitlines()
    of_machine = ("engine", "device", "memory", "disk")
    said = [line for line in printed if not line.startswith(of_machine)]
    assert len(said) > 5
    assert not set(said) - set(text.splitlines())


def test_agents_that_are_looked_at_were_kept():
    """Those after the env steps that the page after the first run names."""
    (every,) = re.findall(r"--run runs/first --checkpoint.every (\d+)", page("start/first_run"))
    looked_at = re.findall(r"--env_steps (\d+)", page("start/look_at_a_run"))
    assert looked_at
    for env_step in map(int, looked_at):
        assert env_step % int(every) == 0
        assert env_step <= PRESETS["small"].env_steps
    kept = range(int(every), PRESETS["small"].env_steps + 1, int(every))
    first, *others = (f"{env_step:,}" for env_step in kept)
    assert f"here after {', '.join((first, *others[:-1]))} and {others[-1]} env steps" in page(
        "start/look_at_a_run"
    )


def test_the_table_of_an_example_is_that_of_the_results():
    example = [row for row in rows("howto/compare", "") if row[-1].endswith("]")]
    assert len(example) == 3
    assert all(row in rows("results/index", row[0]) for row in example)
