"""The page of evidence and its picture, made from the packed runs: `python website/evidence.py`.

Whatever the page says in numbers is read from `results/` and from the agents of the zoo. A part
without runs says so, and which command makes them.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from gpld.analysis.packed import SUFFIX, unpacked
from gpld.analysis.published import published_curves, random_return
from gpld.analysis.scores import (
    RunScores,
    mean,
    probability_of_improvement,
    read_runs,
    score_table,
    stratified_bootstrap,
)
from gpld.analysis.tables import answers
from gpld.runs.zoo import open_run, zoo_names

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "evidence.md"
PICTURE = ROOT / "docs" / "evidence_dreamerv3.png"

LAPTOP_TASKS = (
    "cartpole_balance",
    "cartpole_swingup",
    "ball_in_cup_catch",
    "reacher_easy",
    "finger_spin",
    "walker_walk",
)
LEARNED = 0.6
"""Share of the published return at 500k frames from which a task counts as learned."""

_SEEDS = 2  # of each task whose curve is put beside the published one
_IDENTITY_TASKS = ("walker_walk", "walker_stand")
# Differences that 4 tasks with five seeds of each arm show in 80 % of comparisons, in standard
# deviations over seeds: docs/understand/scores.md.
_SHOWN = 0.95


class Part(NamedTuple):
    """One question of the page."""

    title: str
    sentence: str
    """The answer, which stands by itself."""

    lines: Sequence[str]
    """Tables and commands below it, as Markdown."""


def page() -> str:
    """Write the whole page."""
    parts = [identity(), laptop(), penalty(), prediction()]
    lines = ["# Evidence", "", " ".join(part.sentence for part in parts), ""]
    lines += [
        "`python website/evidence.py` makes this page from the runs in `results/`, its first",
        "paragraph too. [Results](results/index.md) has every table, with settings and commands.",
        "",
    ]
    for part in parts:
        lines += [f"## {part.title}", "", *part.lines, ""]
    lines += ["## What was left out", "", *left_out()]
    return "\n".join(lines) + "\n"


def identity() -> Part:
    """Compare the official setting with the published curves."""
    with unpacked([_file("dreamerv3")]) as folders:
        runs = sorted(read_runs(folders), key=lambda run: (run.task, run.seed))
    _draw_identity(runs)
    rows, differences = [], []
    for run in runs:
        curve = _official(run.task)
        for frames, episodes in zip(run.due_frames, run.returns, strict=True):
            there = np.flatnonzero(curve.frames == frames)
            cells = ["-", "-"]
            if there.size:
                middle, std = float(curve.mean[there[0]]), float(curve.std[there[0]])
                difference = (np.mean(episodes) - middle) / std
                differences.append((run.task, int(frames), float(difference)))
                cells = [f"{middle:.1f} ± {std:.1f}", f"{difference:+.1f}"]
            own = f"{np.mean(episodes):.1f} ± {np.std(episodes):.1f}"
            rows.append([run.task, str(run.seed), f"{frames:,}", own, *cells])
    made = [f"{run.task} (seed {run.seed})" for run in runs]
    missing = [
        f"`{task}` seed {seed}"
        for task in _IDENTITY_TASKS
        for seed in range(_SEEDS)
        if not any(run.task == task and run.seed == seed for run in runs)
    ]
    beside = _and([f"{amount:+.1f} after {frames:,}" for _, frames, amount in differences])
    return Part(
        "Is this DreamerV3?",
        "Single updates equal the official DreamerV3 to rounding; whole runs in its own setting "
        f"({_and(made)}) differ from its published mean by {beside} frames, in standard deviations "
        "of its five seeds.",
        [
            "Outputs, gradients and updated parameters are compared with recorded ones of the",
            "official code by `pytest tests/parity`. Collection, replay, train ratio and resets",
            "show in a learning curve only:",
            "",
            "    gpld train --preset dreamerv3 --precision mixed --task walker_walk --seed 0 \\",
            "        --env_steps 20000 --evaluation.every 5000",
            "",
            *_table(
                (
                    "task",
                    "seed",
                    "frames",
                    "ours, mean ± standard deviation over episodes",
                    "published, mean ± standard deviation over five seeds",
                    "difference, in these deviations",
                ),
                rows,
            ),
            "",
            f"![Returns over frames, ours beside the published mean and band]({PICTURE.name})",
            "",
            "How the published returns were measured is not documented: those of training",
            "episodes, in which earlier agents act, would lag behind.",
            *([f"Not run yet: {_and(missing)}."] if missing else []),
        ],
    )


def laptop() -> Part:
    """Say which tasks are learned on one core of a processor within minutes."""
    found = dict[str, list[tuple[str, RunScores]]]()
    for name in zoo_names():
        (own,) = read_runs([open_run(f"zoo:{name}").path], "checkpoints")
        found.setdefault(own.task, []).append((f"`zoo:{name}`", own))
    if _file("laptop").exists():
        with unpacked([_file("laptop")]) as folders:
            for own in read_runs(folders):
                found.setdefault(own.task, []).append((f"seed {own.seed}", own))
    rows, learned, tried = [], [], []
    for task in LAPTOP_TASKS:
        need = LEARNED * float(_official(task).mean[-1])
        if found.get(task):
            tried.append(task)
        for which, own in found.get(task, []):
            score, frames, minutes = own.scores[-1], own.due_frames[-1], _minutes(own.path)
            reached = score >= need
            if reached and task not in learned:
                learned.append(task)
            random = random_return(task)
            assert random is not None  # of a task of the suite
            took = f"{minutes:,.0f}" if minutes else "-"
            rows.append(
                [
                    task,
                    which,
                    f"{score:.0f}",
                    f"{frames:,}",
                    took,
                    f"{random:.0f}",
                    f"{need:.0f}",
                    "yes" if reached else "no",
                ]
            )
    rest = [f"`{task}`" for task in LAPTOP_TASKS if task not in tried]
    return Part(
        "Does it learn on a laptop?",
        f"Of the tasks that were trained for longer on one core of a processor ({_and(tried)}), "
        f"{_and(learned) or 'none'} reached {100 * LEARNED:.0f} % of the published return at "
        "500,000 frames.",
        [
            *_table(
                (
                    "task",
                    "run",
                    "last return",
                    "frames",
                    "minutes",
                    "random actions",
                    "learned from",
                    "learned",
                ),
                rows,
            ),
            "",
            "Minutes are those of the whole run, evaluations included, on a core that other work",
            "shared. [Results](results/index.md) has the settings, and shorter runs of more tasks.",
            *([f"Not run yet: {_and(rest)}."] if rest else []),
        ],
    )


def penalty() -> Part:
    """Compare runs with the penalty and without."""
    with unpacked([_file("small")]) as folders:
        runs = read_runs(folders, "checkpoints")
        table = score_table(runs)
    baseline, own = table.common("DreamerV3", "GPLD")
    chance = stratified_bootstrap(probability_of_improvement, own, baseline)
    ratio = stratified_bootstrap(lambda ours, theirs: mean(ours) / mean(theirs), own, baseline)
    (sentence,) = [line for line in answers(table, baseline="DreamerV3") if "GPLD" in line][-1:]
    spreads = {task: float(np.std(values)) for task, values in baseline.items()}
    rows = [
        [
            task,
            *(
                f"{scores[task].mean():.0f} ± {scores[task].std():.0f}"
                for scores in (baseline, own)
            ),
            f"{_SHOWN * spread:.0f}",
        ]
        for task, spread in spreads.items()
    ]
    seeds = min(len(values) for values in own.values())
    return Part(
        "Does the penalty help?",
        f"{sentence.rstrip('.')} ({seeds} seeds; the mean return is {_interval(ratio)} of that "
        "without the penalty).",
        [
            *_table(
                ("task", "DreamerV3", "GPLD", "difference that could have been seen"),
                rows,
            ),
            "",
            f"A run with the penalty is better than one without in {_interval(chance)} of pairs",
            f"(brackets: 95 % intervals). With {len(own)} tasks and {seeds} seeds, four of five",
            f"comparisons show a difference of {_SHOWN} standard deviations over seeds in every",
            "task ([How many seeds](understand/scores.md#how-many-seeds)): the last column.",
            "These runs see the beginning of learning. Runs up to where both arms have levelled",
            "are not there yet.",
        ],
    )


def prediction() -> Part:
    """Say whether smoother models predict better."""
    return Part(
        "Does a smoother posterior predict better?",
        "Whether a smoother posterior makes predictions from little data better has not been "
        "measured yet.",
        [
            "    gpld prediction-study zoo:cartpole_swingup --out runs/prediction_study",
            "",
            "trains 50 world models and measures them on held-out episodes",
            "([what it does](howto/prediction_study.md)). It goes on where it stopped.",
        ],
    )


def left_out() -> list[str]:
    """Say which runs are in no figure, and why."""
    return (ROOT / "results" / "left_out.md").read_text().splitlines()


def main() -> None:
    """Write the page and its picture."""
    PAGE.write_text(page())


def _draw_identity(runs: Sequence[RunScores]) -> None:
    """Draw a panel for each task: every run with the deviation of its episodes, and the band."""
    tasks = sorted({run.task for run in runs})
    figure = Figure(figsize=(max(5.6, 4.2 * len(tasks)), 3.6), layout="constrained")
    for task, axes in zip(tasks, figure.subplots(1, len(tasks), squeeze=False)[0], strict=True):
        end = max(run.due_frames[-1] for run in runs if run.task == task)
        curve = _official(task)
        shown = slice(np.searchsorted(curve.frames, end) + 1)
        frames, middle, std = curve.frames[shown], curve.mean[shown], curve.std[shown]
        axes.plot(frames, middle, color="0.35", linestyle=":", label="official, mean of five seeds")
        band = {"color": "0.35", "alpha": 0.18, "linewidth": 0}
        axes.fill_between(frames, middle - std, middle + std, **band, label="its deviation")
        for run, marker in zip([run for run in runs if run.task == task], "osD^v", strict=False):
            deviations = [np.std(episodes) for episodes in run.returns]
            style = {"color": "#1b4f9c", "marker": marker, "capsize": 3, "markersize": 5}
            label = f"ours, seed {run.seed} (bars: over episodes)"
            axes.errorbar(run.due_frames, run.scores, yerr=deviations, **style, label=label)
        if (random := random_return(task)) is not None:
            dashed = {"color": "black", "linestyle": "--", "linewidth": 0.8}
            axes.axhline(random, **dashed, label="random actions")
        axes.set(title=task, xlabel="frames", ylabel="return", xlim=(0, 1.05 * end))
        axes.set_ylim(bottom=0)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize="small", loc="upper left")
    figure.savefig(PICTURE, dpi=130)


def _file(name: str) -> Path:
    return ROOT / "results" / f"{name}{SUFFIX}"


def _official(task: str):
    (curve,) = [own for own in published_curves(task) if own.label.startswith("DreamerV3")]
    return curve


def _minutes(run: Path) -> float:
    """Return the minutes that a run took, as its own metrics have them; 0 if it has none."""
    file = run / "metrics.jsonl"
    if not file.exists():
        return 0.0
    rows = map(json.loads, file.read_text().splitlines())
    return sum(row.get("time/seconds", 0.0) for row in rows) / 60


def _interval(interval) -> str:
    return f"{interval.estimate:.2f} [{interval.low:.2f}, {interval.high:.2f}]"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    for line in (header, ["---"] * len(header), *rows):
        yield f"| {' | '.join(line)} |"


def _and(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


if __name__ == "__main__":
    main()
