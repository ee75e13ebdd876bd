"""The page of evidence and its picture, made from the packed runs: `python website/evidence.py`.

Whatever the page says in numbers is read from `results/` and from the agents of the zoo, and what
is not there is listed. `results/left_out.md` is written by hand.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from gpld.analysis.packed import SUFFIX, unpacked
from gpld.analysis.prediction_report import answer, prediction_tables, read_measured
from gpld.analysis.published import PublishedCurve, published_curves, random_return
from gpld.analysis.scores import RunScores, read_runs, score_table
from gpld.analysis.tables import Table, answers
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
# Differences that are shown in 80 % of comparisons, in standard deviations over seeds, by tasks and
# seeds: docs/understand/scores.md.
_SHOWN = {(1, 5): 1.8, (4, 5): 0.95, (18, 5): 0.45}


class Part(NamedTuple):
    """One question of the page, with its answer."""

    sentence: str
    """The answer, which stands by itself."""

    tables: Sequence[Table]
    """What it comes from, the first under the question."""


def page() -> str:
    """Write the whole page."""
    parts = [identity(), laptop(), penalty(), prediction()]
    return "\n".join(
        [
            "# Evidence",
            "",
            " ".join(part.sentence for part in parts),
            "",
            "`python website/evidence.py` makes this page from the runs in `results/`, its first",
            "paragraph too. [Results](results/index.md) has all tables, settings and commands.",
            "",
            *(table.markdown() for part in parts for table in part.tables),
            "## What was left out",
            "",
            (ROOT / "results" / "left_out.md").read_text(),
        ]
    )


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
                differences.append(f"{difference:+.1f} ({run.task}, {frames:,} frames)")
                cells = [f"{middle:.1f} ± {std:.1f}", f"{difference:+.1f}"]
            own = f"{np.mean(episodes):.1f} ± {np.std(episodes):.1f}"
            rows.append([run.task, str(run.seed), f"{frames:,}", own, *cells])
    missing = [
        f"`{task}` seed {seed}"
        for task in _IDENTITY_TASKS
        for seed in range(_SEEDS)
        if not any((run.task, run.seed) == (task, seed) for run in runs)
    ]
    header = [
        "task",
        "seed",
        "frames",
        "ours, mean ± standard deviation over episodes",
        "published, mean ± standard deviation over five seeds",
        "difference, in these deviations",
    ]
    notes = [
        f"![Returns over frames, ours beside the published mean and band]({PICTURE.name})",
        "    gpld train --preset dreamerv3 --precision mixed --task walker_walk --seed 0 \\\n"
        "        --env_steps 20000 --evaluation.every 5000",
        "Outputs, gradients and updated parameters are compared with recorded ones of the\n"
        "official code by `pytest tests/parity`. Collection, replay, train ratio and resets show\n"
        "in a learning curve only. How the published returns were measured is not documented:\n"
        "those of training episodes, in which earlier agents act, would lag behind.",
    ]
    if missing:
        notes.append(f"Not run yet: {_and(missing)}.")
    return Part(
        "Single updates equal the official DreamerV3 to rounding; whole runs in its own setting "
        "differ from its published mean, in standard deviations of its five seeds, by "
        f"{_and(differences)}.",
        [Table("Is this DreamerV3?", header, rows, notes)],
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
    header = ["task", "run", "last return", "frames", "minutes", "random actions"]
    notes = [
        f"Learned is {100 * LEARNED:.0f} % of the published return at 500,000 frames. Minutes are\n"
        "those of the whole run, evaluations included, on a core that other work shared.\n"
        "[Results](results/index.md) has the settings, and shorter runs of more tasks."
    ]
    if rest := [f"`{task}`" for task in LAPTOP_TASKS if task not in tried]:
        notes.append(f"Not run yet: {_and(rest)}.")
    return Part(
        f"Of the tasks that were trained for longer on one core of a processor ({_and(tried)}), "
        f"{_and(learned) or 'none'} reached {100 * LEARNED:.0f} % of the published return at "
        "500,000 frames.",
        [Table("Does it learn on a laptop?", [*header, "learned from", "learned"], rows, notes)],
    )


def penalty() -> Part:
    """Compare runs with the penalty and without."""
    with unpacked([_file("small")]) as folders:
        scores = score_table(read_runs(folders, "checkpoints"))
    baseline, own = scores.common("DreamerV3", "GPLD")
    *_, sentence = answers(scores, baseline="DreamerV3")
    seeds = min(len(runs) for runs in (*baseline.values(), *own.values()))
    shown = _SHOWN[len(own), seeds]
    rows = [
        [
            task,
            *(f"{arm[task].mean():.0f} ± {arm[task].std():.0f}" for arm in (baseline, own)),
            f"{shown * baseline[task].std():.0f}",
        ]
        for task in own
    ]
    header = ["task", "DreamerV3", "GPLD", "difference that could have been seen"]
    notes = [
        f"With {len(own)} tasks and {seeds} seeds, four of five comparisons show a difference of\n"
        f"{shown} standard deviations over seeds in every task ([How many\n"
        "seeds](understand/scores.md#how-many-seeds)): the last column."
    ]
    return Part(sentence, [Table("Does the penalty help?", header, rows, notes)])


def prediction() -> Part:
    """Say whether smoother models predict better, once that was measured."""
    title = "Does a smoother posterior predict better?"
    command = "    gpld prediction-study zoo:cartpole_swingup --out runs/prediction_study"
    about = "[What it does](howto/prediction_study.md). It goes on where it stopped."
    if not _file("prediction_study").exists():
        sentence = "Whether a smoother posterior predicts better has not been measured yet."
        return Part(sentence, [Table(title, ["runs"], [["none yet"]], [command, about])])
    with unpacked([_file("prediction_study")]) as folders:
        measured = [own for folder in folders for own in read_measured(folder)]
    first, *others = prediction_tables(measured)
    first = first._replace(
        title=f"{title} With {first.title}", notes=[*first.notes, command, about]
    )
    return Part(f"World models alone: {'; '.join(answer(measured))}.", [first, *others])


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


def _official(task: str) -> PublishedCurve:
    (curve,) = [own for own in published_curves(task) if own.label.startswith("DreamerV3")]
    return curve


def _minutes(run: Path) -> float:
    """Return the minutes that a run took, as its own metrics have them; 0 if it has none."""
    file = run / "metrics.jsonl"
    if not file.exists():
        return 0.0
    rows = map(json.loads, file.read_text().splitlines())
    return sum(row.get("time/seconds", 0.0) for row in rows) / 60


def _and(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


if __name__ == "__main__":
    main()
