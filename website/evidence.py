"""The page of evidence and its picture, made from the packed runs: `python website/evidence.py`.

Whatever the page says in numbers is read from `results/` and from the agents of the zoo, and what
is not there is listed. `results/left_out.md` is written by hand.
"""

import io
import itertools
import math
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from gpld.analysis.packed import SUFFIX, unpacked
from gpld.analysis.prediction_report import answer, prediction_tables, read_measured
from gpld.analysis.published import PublishedCurve, published_curves, random_return
from gpld.analysis.scores import RunScores, Source, read_runs, score_table
from gpld.analysis.tables import Table, answers
from gpld.config import Config, differences, flatten
from gpld.config.presets import PRESETS
from gpld.errors import LeftOut, MachineError, UsageError
from gpld.runs.folder import RunFolder
from gpld.runs.zoo import open_run, zoo_names
from gpld.sweep.spec import read_sweep

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
"""Share of the published return at 490,000 frames from which a task counts as learned."""

FIRST_RETURN = 800
"""Return that the last agent of the README's first command is to reach."""

_SEEDS = 2  # of each task whose curve is put beside the published one
_IDENTITY_TASKS = ("walker_walk", "walker_stand")
# Differences that four of five comparisons show, in standard deviations over seeds, by tasks and
# seeds: docs/understand/scores.md.
_SHOWN = {(1, 5): 1.8, (4, 5): 0.95, (18, 5): 0.45}


class Part(NamedTuple):
    """One question of the page, with its answer."""

    sentence: str
    """The answer, which stands by itself."""

    blocks: Sequence[str]
    """What it comes from, as Markdown; the first begins with the question."""


def page() -> str:
    """Write the whole page.

    Raises:
        UsageError: If a run is not what its file is for, or is there twice.
        MachineError: If a file is missing or damaged.
        LeftOut: If a part of a run cannot be understood.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error", LeftOut)
        parts = [identity(), laptop(), penalty(), prediction()]
    return "\n".join(
        [
            "# Evidence",
            "",
            " ".join(part.sentence for part in parts),
            "",
            "`python website/evidence.py` makes this page: its numbers are those of the runs in",
            "`results/` and of the agents of the zoo. [Results](results/index.md) has settings and",
            "commands of these runs, and further ones.",
            "",
            "GPLD is DreamerV3 with a penalty that makes the posterior latent distribution smooth.",
            "A frame is one control step of the simulator; with an action repeat of 2 an env step",
            "is two frames. *Published* are the curves of the official DreamerV3",
            "(danijar/dreamerv3).",
            "",
            *(block for part in parts for block in part.blocks),
            "## What was left out",
            "",
            (ROOT / "results" / "left_out.md").read_text(),
        ]
    )


def identity() -> Part:
    """Compare the official setting with the published curves."""
    with unpacked([_file("dreamerv3")]) as folders:
        runs = identity_runs(folders)
        training = [_training_episodes(run) for run in runs]
    rows, apart = [], list[str]()
    for run in runs:
        curve = _published(run.task)
        for frames, episodes in zip(run.due_frames, run.returns, strict=True):
            there = np.flatnonzero(curve.frames == frames)
            cells = ["-", "-"]
            if there.size:
                middle, std = float(curve.mean[there[0]]), float(curve.std[there[0]])
                difference = (np.mean(episodes) - middle) / std
                where = f"{run.task}, seed {run.seed}, {frames:,} frames"
                apart.append(f"{difference:+.1f} ({where})")
                cells = [f"{middle:.1f} ± {std:.1f}", f"{difference:+.1f}"]
            own = [f"{np.mean(episodes):.1f} ± {np.std(episodes):.1f}", str(len(episodes))]
            rows.append([run.task, str(run.seed), f"{frames:,}", *own, *cells])
    _must(len(apart) > 0, "No run was evaluated at a frame of its published curve.")
    missing = [
        f"`{task}` seed {seed}"
        for task in _IDENTITY_TASKS
        for seed in range(_SEEDS)
        if not any((run.task, run.seed) == (task, seed) for run in runs)
    ]
    header = ["task", "seed", "frames", "ours", "episodes", "published", "difference"]
    notes = [
        "Ours: mean return ± standard deviation over episodes. Published: mean ± standard\n"
        "deviation over five seeds, in which the difference is given.",
        f"![Returns over frames, ours beside the published mean and band]({PICTURE.name})",
        "    gpld train --preset dreamerv3 --precision mixed --task walker_walk --seed 0 \\\n"
        "        --env_steps 20000 --evaluation.every 5000",
        *filter(None, training),
        "How the published returns were measured is not documented. If they are those of\n"
        "training episodes, in which earlier agents act, evaluations are ahead of them.",
        "Single updates are another matter: outputs, losses, gradients and updated parameters\n"
        "equal those that the paper's published code gave for the same small networks and\n"
        "batches, to the rounding of float32, with modes of distributions in place of draws\n"
        "(`pytest tests/parity`). That code is DreamerV3 with the penalty. Collection, replay,\n"
        "train ratio and resets show in a learning curve only.",
    ]
    if missing:
        notes.append(f"Not run yet: {_and(missing)}.")
    table = Table("Is this DreamerV3?", header, rows, notes)
    whose = "a single run differs in its" if len(runs) == 1 else f"{len(runs)} runs differ in their"
    return Part(
        "Single updates equal those recorded from the paper's published code, which is DreamerV3 "
        f"with the penalty, to rounding; in the official setting of DreamerV3 {whose} first frames "
        "from the published mean, in standard deviations of the five published seeds, by "
        f"{_and(apart)}.",
        [table.markdown()],
    )


def identity_runs(folders: Sequence[Path]) -> list[RunScores]:
    """Read the runs in the official setting, and see that they are in it."""
    runs = sorted(_read(folders), key=lambda run: (run.task, run.seed))
    for run in runs:
        _check_settings(run, PRESETS["dreamerv3"])
    return runs


def _training_episodes(run: RunScores) -> str:
    """Say what the training episodes have that ended last, all at the same frame.

    Nothing is said where they did not end between two published points.
    """
    episodes = RunFolder(run.path).read("episodes")
    frame = episodes[-1]["frame"] if episodes else 0
    scores = [
        own["score"] for own in episodes if own["frame"] == frame and own["score"] is not None
    ]
    curve = _published(run.task)
    if not scores or not curve.frames[0] <= frame <= curve.frames[-1]:
        return ""
    between = float(np.interp(frame, curve.frames, curve.mean))
    return (
        f"The last training episodes of {run.task}, seed {run.seed}, ended at {frame:,} frames. "
        f"Their returns\nare {np.mean(scores):.1f} ± {np.std(scores):.1f} (number: {len(scores)}); "
        f"a straight line between the published points is at {between:.1f}."
    )


class _Trained(NamedTuple):
    """A run that shows what a processor can learn, and its agent in the zoo."""

    scores: RunScores
    config: Config
    cores: int
    minutes: float | None
    """Minutes that it took; None if its metrics are not there."""

    agent: str | None


def _all_trained() -> list[_Trained]:
    """Read the runs of the sweep for laptops and the agents of the zoo; an agent's run is one."""
    agents = {_identity(own.scores): own for own in map(_trained_agent, zoo_names())}
    with unpacked([_file("laptop")]) as folders:
        runs = []
        for own in map(_trained, _of_sweep("laptop", folders)):
            agent = agents.pop(_identity(own.scores), None)
            runs.append(own if agent is None else own._replace(agent=agent.agent))
    runs += agents.values()
    for own in runs:
        known, name = ", ".join(LAPTOP_TASKS), own.scores.name
        _must(own.config.gpld.lambda0 > 0, f"{name} is not a run of GPLD.")
        _must(own.scores.task in LAPTOP_TASKS, f"{name}: the tasks are {known}.")
    return sorted(
        runs,
        key=lambda own: (
            LAPTOP_TASKS.index(own.scores.task),
            own.config.replay.train_ratio,
            own.scores.seed,
        ),
    )


def first_command() -> str:
    """Say with how many seeds the first command of the README learns its task."""
    with unpacked([_file("first")]) as folders:
        runs = _of_sweep("first", folders, "checkpoints")
        whole = [RunFolder(run.path).config().env_steps <= run.env_steps[-1] for run in runs]
    sweep = read_sweep(ROOT / "sweeps" / "first.toml")
    _must(all(whole) and len(runs) == len(sweep.seeds), "Runs of sweeps/first.toml are missing.")
    enough = sum(run.scores[-1] >= FIRST_RETURN for run in runs)
    return (
        f"with {enough} of {len(runs)} seeds the first command of the README "
        f"({_and(list(sweep.tasks))}) reached {FIRST_RETURN}"
    )


def laptop() -> Part:
    """Say which tasks are learned without a GPU."""
    runs, rows, learned, agents = _all_trained(), [], [], []
    for own in runs:
        task, episodes = own.scores.task, own.scores.returns[-1]
        run = f"train ratio {own.config.replay.train_ratio:g}, seed {own.scores.seed}"
        if own.agent is not None:
            # That of the last evaluation, in more episodes.
            (more,) = _read([open_run(own.agent).path], "checkpoints")
            episodes = more.returns[-1]
            agents.append(f"`{own.agent}` ({run})")
        need = LEARNED * float(_published(task).mean[-1])
        if (reached := np.mean(episodes) >= need) and task not in learned:
            learned.append(task)
        rows.append(
            [
                task,
                run,
                f"{np.mean(episodes):.0f} ± {np.std(episodes):.0f} ({len(episodes)})",
                f"{'yes' if reached else 'no'} ({need:.0f})",
                _random(task),
                f"{own.scores.due_frames[-1]:,}",
                f"{'-' if own.minutes is None else f'{own.minutes:.0f}'} ({own.cores})",
            ]
        )
    header = ["task", "run", "last agent", "learned", "random", "frames", "minutes"]
    coefficients = sorted({own.config.gpld.lambda0 for own in runs})
    notes = [
        "Last agent: its mean return ± standard deviation over episodes, and their number.\n"
        "Random: the mean return of random actions.",
        f"A task counts as learned from {100 * LEARNED:.0f} % of the published return at 490,000\n"
        "frames, the last of the published curve; that is the number behind the answer. All runs\n"
        f"are of GPLD, with a first coefficient (`gpld.lambda0`) of "
        f"{_and([str(own) for own in coefficients])},\non a server's processor that other work "
        "shared. Minutes are those of the whole run,\nevaluations included; behind them is the "
        "number of cores.",
        "Some of these agents are in [the zoo](reference/zoo.md):\n\n"
        + "\n".join(f"- {agent}" for agent in agents),
    ]
    tried = list(dict.fromkeys(own.scores.task for own in runs))
    if rest := [f"`{task}`" for task in LAPTOP_TASKS if task not in tried]:
        notes.append(f"No run yet (`sweeps/laptop.toml`): {_and(rest)}.")
    table = Table("Does it learn on a laptop?", header, rows, notes)
    frames = _range([int(own.scores.due_frames[-1]) for own in runs])
    cores = _range([own.cores for own in runs])
    return Part(
        f"Of the tasks that GPLD was trained on for {frames} frames on {cores} cores of a "
        f"processor ({_and(tried)}), {_and(learned) or 'none'} reached {100 * LEARNED:.0f} % of "
        f"the return that is published at 490,000 frames; {first_command()}.",
        [table.markdown()],
    )


def _trained(run: RunScores, agent: str | None = None) -> _Trained:
    folder = RunFolder(run.path)
    seconds = [row.get("time/seconds") or 0.0 for row in folder.read("metrics")]
    minutes = sum(seconds) / 60 if seconds else None
    return _Trained(run, folder.config(), folder.record()["machine"]["cores"], minutes, agent)


def _trained_agent(name: str) -> _Trained:
    (own,) = _read([open_run(f"zoo:{name}").path])
    return _trained(own, f"zoo:{name}")


def _identity(run: RunScores) -> tuple[str, str, int]:
    """Return what a run and its export have in common and no other run has."""
    return RunFolder(run.path).record()["started"], run.task, run.seed


def penalty() -> Part:
    """Compare runs with the penalty and without."""
    with unpacked([_file("small")]) as folders:
        scores = score_table(_of_sweep("small", folders, "checkpoints"))
    baseline, own = scores.common("DreamerV3", "GPLD")
    *_, sentence = answers(scores, baseline="DreamerV3")
    (seeds, *others) = {len(runs) for arm in (baseline, own) for runs in arm.values()}
    known = not others and {(1, seeds), (len(own), seeds)} <= _SHOWN.keys()
    _must(known, f"No power is known of {len(own)} tasks with {seeds} seeds, or each has others.")
    alone, together = _SHOWN[1, seeds], _SHOWN[len(own), seeds]
    rows = []
    for task in own:
        pooled = math.sqrt(np.mean([arm[task].var(ddof=1) for arm in (baseline, own)]))
        arms = [f"{arm[task].mean():.0f} ± {arm[task].std():.0f}" for arm in (baseline, own)]
        rows.append([task, *arms, _random(task), f"{alone * pooled:.0f}"])
    header = ["task", "DreamerV3", "GPLD", "random actions", "difference that would be seen"]
    notes = [
        "Mean ± population standard deviation over runs. Last column: a comparison of this task\n"
        f"alone, with as many seeds, shows a difference of {alone} standard deviations in 80 % of\n"
        "cases (pooled over both arms, for a population of which these runs are a sample, and so\n"
        f"larger than those in the table); if each of {len(own)} tasks differs by as much,\n"
        f"{together} are enough ([How many seeds](understand/scores.md#how-many-seeds)). Where\n"
        "both arms are at the level of random actions or below, nothing was learned yet that\n"
        "could differ.",
    ]
    table = Table("Does the penalty help?", header, rows, notes)
    return Part(
        f"At the beginning of learning, {sentence[0].lower()}{sentence[1:]}", [table.markdown()]
    )


def prediction() -> Part:
    """Say whether smoother models predict better, once that was measured."""
    title = "Does a smoother posterior predict better?"
    agents = "zoo:cartpole_swingup zoo:ball_in_cup_catch"
    command = f"    gpld prediction-study {agents} --out runs/study"
    about = "[What it does](howto/prediction_study.md). It goes on where it stopped."
    if not _file("prediction_study").exists():
        sentence = "Whether a smoother posterior predicts better has not been measured yet."
        return Part(
            sentence, [f"## {title}\n\nNot measured yet. The command:\n\n{command}\n\n{about}\n"]
        )
    with unpacked([_file("prediction_study")]) as folders:
        measured = [own for folder in folders for own in read_measured(folder)]
    first, *others = prediction_tables(measured)
    first = first._replace(
        title=f"{title} With {first.title}", notes=[*first.notes, command, about]
    )
    tables = [table.markdown() for table in (first, *others)]
    return Part(f"World models alone: {'; '.join(answer(measured))}.", tables)


def draw() -> Figure:
    """Draw a panel for each task: every run with the deviation of its episodes, and the band."""
    with unpacked([_file("dreamerv3")]) as folders:
        runs = identity_runs(folders)
    tasks = sorted({run.task for run in runs})
    figure = Figure(figsize=(max(5.6, 4.2 * len(tasks)), 3.6), layout="constrained")
    for task, axes in zip(tasks, figure.subplots(1, len(tasks), squeeze=False)[0], strict=True):
        end = max(run.due_frames[-1] for run in runs if run.task == task)
        curve = _published(task)
        shown = slice(np.searchsorted(curve.frames, end) + 1)
        frames, middle, std = curve.frames[shown], curve.mean[shown], curve.std[shown]
        dotted = {"color": "0.35", "linestyle": ":", "marker": ".", "markersize": 9}
        axes.plot(frames, middle, **dotted, label="published, mean of five seeds")
        band = {"color": "0.35", "alpha": 0.18, "linewidth": 0}
        label = "± 1 standard deviation over seeds"
        axes.fill_between(frames, middle - std, middle + std, **band, label=label)
        for run, marker in zip([own for own in runs if own.task == task], itertools.cycle("osD^v")):
            deviations = [np.std(episodes) for episodes in run.returns]
            style = {"color": "#1b4f9c", "marker": marker, "capsize": 3, "markersize": 5}
            label = f"ours, seed {run.seed} (bars: over episodes)"
            axes.errorbar(run.due_frames, run.scores, yerr=deviations, **style, label=label)
        if (random := random_return(task)) is not None:
            dashed = {"color": "black", "linestyle": "--", "linewidth": 0.8}
            axes.axhline(random, **dashed, label="random actions (action repeat 2)")
        axes.set(title=task, xlabel="frames", ylabel="return", xlim=(0, 1.05 * end))
        axes.set_ylim(bottom=0)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize="small", loc="upper left")
    return figure


def main() -> None:
    """Write the page and its picture, or say in one line what is wrong and leave both."""
    picture = io.BytesIO()
    try:
        text = page()
        draw().savefig(picture, dpi=130)
    except (UsageError, MachineError, LeftOut, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(getattr(error, "exit_code", 1))
    PAGE.write_text(text)
    PICTURE.write_bytes(picture.getvalue())


def _file(name: str) -> Path:
    return ROOT / "results" / f"{name}{SUFFIX}"


def _read(folders: Sequence[Path], source: Source = "training") -> list[RunScores]:
    runs = read_runs(folders, source)
    for run in runs:
        _must(len(run.returns) > 0, f"{run.name} has no evaluation.")
    return runs


def _of_sweep(name: str, folders: Sequence[Path], source: Source = "training") -> list[RunScores]:
    """Read the runs of a sweep, and see that they are those of its file."""
    runs, sweep = _read(folders, source), read_sweep(ROOT / "sweeps" / f"{name}.toml")
    for own in runs:
        _must(own.arm in sweep.arms, f"{own.name} is of no arm of sweeps/{name}.toml.")
        listed = own.task in sweep.tasks and own.seed in sweep.seeds
        _must(listed, f"{own.name}: sweeps/{name}.toml has other tasks or seeds.")
        _check_settings(own, sweep.config(own.arm, own.task, [own.seed], own.path))
    return runs


def _must(condition: bool, message: str) -> None:
    if not condition:
        raise UsageError(message)


def _check_settings(run: RunScores, expected: Config) -> None:
    stored = flatten(RunFolder(run.path).config())
    free = {name: stored[name] for name in ("task", "seed", "precision")}
    others = differences(stored, flatten(expected) | free)
    _must(not others, f"{run.name} has settings of its own: {'; '.join(others)}.")


def _published(task: str) -> PublishedCurve:
    curves = [own for own in published_curves(task) if own.label.startswith("DreamerV3")]
    _must(len(curves) == 1, f"There is no published curve of {task}.")
    return curves[0]


def _random(task: str) -> str:
    known = random_return(task)
    return "-" if known is None else f"{known:.0f}"


def _range(numbers: Sequence[int]) -> str:
    low, high = min(numbers), max(numbers)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _and(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


if __name__ == "__main__":
    main()
