"""The command `evaluate`: episodes of agents at checkpoints of their runs."""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import tyro

from ..analysis.scores import CHECKPOINT_SCORES, identity
from ..cli import one_line_errors
from ..config import Config
from ..config.checks import Bound, at_least, check_fields
from ..config.flags import parse
from ..envs import is_own
from ..envs.dmc.drawing import can_draw
from ..envs.dmc.opengl import find_backend
from ..errors import MachineError, UsageError
from ..evaluation import trained_agent
from ..evaluation.episodes import Evaluation
from ..evaluation.evaluate import env_seed, evaluate_model
from ..evaluation.video import FirstEpisode, check_name, record_video
from ..machine.files import check_file, check_folder, file_error, write_json
from ..machine.provenance import provenance
from ..runs.start import read_settings
from ..runs.zoo import open_run
from ..xla.cache import cache_compilations

_SEEDS = Bound(
    "different numbers of at least 0",
    lambda seeds: seeds and min(seeds) >= 0 and len(set(seeds)) == len(seeds),
)


@dataclasses.dataclass(frozen=True)
class EvaluateArgs:
    """Evaluate agents at checkpoints of their runs."""

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Folders of the runs; `zoo:NAME` is an agent that comes with the package."""

    env_steps: tuple[int, ...] | Literal["all"] | None = None
    """Checkpoints to evaluate, by env step; all takes every one, None the latest."""

    episodes: Annotated[int, at_least(1)] = 20
    """Episodes for each seed (the paper's tables use 20)."""

    seeds: Annotated[tuple[int, ...], _SEEDS] = (0,)
    """Seeds of environments, latents and actions, one evaluation for each."""

    num_envs: Annotated[int, at_least(1)] = 4
    """Environments that run in parallel, at most one for each episode."""

    actions: Literal["sampled", "modes"] = "sampled"
    """sampled: from the policy, as published. modes: the policy's likeliest actions; the
    world model's latents, on which they depend, are sampled all the same."""

    out: Path | None = None
    """File for all results as JSON, written after every evaluation; None only prints them."""

    video: Path | None = None
    """Video of the first episode of the first seed: a file (.mp4 or .gif), or a folder for
    those of all checkpoints. A machine that cannot draw says so and does the rest."""

    task: str | None = None
    """Task of the runs, once more, if it is code of your own: what is stored runs none."""

    def __post_init__(self):
        check_fields(self)
        if not self.runs:
            raise ValueError("`runs` must name the folder of a run.")


def main(args: Sequence[str] | None = None) -> None:
    """Evaluate the checkpoints that the arguments name."""
    with one_line_errors():
        options: EvaluateArgs = parse(EvaluateArgs, sys.argv[1:] if args is None else args)
        folders = [open_run(run) for run in options.runs]
        configs = read_settings(folders, options.task)
        runs = dict(zip(options.runs, configs, strict=True))
        checkpoints = _find(options)
        _check_written(options)
        videos = _videos(options, checkpoints)
        cache_compilations()
        results = []
        for run, env_step in checkpoints:
            video = videos.get((run, env_step))
            results.append(_evaluate(options, run, runs[run], env_step, video))
            if options.out is not None:
                _save(options.out, options, results)


def _find(options: EvaluateArgs) -> list[tuple[Path, int]]:
    """Return run and env step of the checkpoints that are asked for, which all exist."""
    found = []
    for run in options.runs:
        folder = open_run(run)
        folder.latest_checkpoint()  # fails if there is none
        there = list(folder.checkpoints())
        wanted = there[-1:] if options.env_steps is None else options.env_steps
        if wanted == "all":
            wanted = there
        for env_step in wanted:
            if env_step not in there:
                raise UsageError(
                    f"`env_steps` must be those of checkpoints in {run} "
                    f"({', '.join(map(str, there))}), got {env_step}."
                )
            found.append((run, env_step))
    return list(dict.fromkeys(found))


def _check_written(options: EvaluateArgs) -> None:
    """Check, before the episodes, that files can be written and go to no other run.

    Raises:
        UsageError: If they cannot be written there, are not of the run whose folder it is, or
            would leave the folder of a run that they are written into.
        MachineError: If that folder cannot be written.
    """
    out, runs = options.out, options.runs
    written = [path.absolute() for path in (out, options.video) if path is not None]
    for run in runs:
        folder = open_run(run)
        if any(path.is_relative_to(folder.path.absolute()) for path in written):
            folder.check_links()
    if out is None:
        return
    home = out.parent.resolve()
    if out.name == CHECKPOINT_SCORES and (home / "config.json").exists():
        others = [str(run) for run in runs if open_run(run).path.resolve() != home]
        if others:
            raise UsageError(
                f"`--out` {out} holds the scores of that run alone, and {others[0]} is another; "
                "name another file, or evaluate one run after the other."
            )
    check_file(out)


def _videos(
    options: EvaluateArgs, checkpoints: Sequence[tuple[Path, int]]
) -> dict[tuple[Path, int], Path]:
    """Return the file of each checkpoint's video; none of those that this machine cannot draw."""
    path = options.video
    if path is None:
        return {}
    tasks = {run: open_run(run).config().task for run in options.runs}
    for task in tasks.values():
        if not can_draw(task):
            raise UsageError(f"`--video` needs a task that can be drawn, which {task} is not.")
    if path.suffix and not path.is_dir():
        check_name(path)
        if len(checkpoints) > 1:
            raise UsageError(
                f"`--video` must name a folder for {len(checkpoints)} checkpoints, got {path}."
            )
        folder, videos = path.parent, {checkpoints[0]: path}
    else:
        # Runs in different folders may have the same name.
        folders = {run: open_run(run).path.resolve() for run in options.runs}
        names = {run: folder.name for run, folder in folders.items()}
        if len(set(names.values())) < len(names):
            names = {run: "_".join(folder.parts[1:]) for run, folder in folders.items()}
        folder = path
        videos = {(run, step): path / f"{names[run]}-{step:09d}.mp4" for run, step in checkpoints}
    if not all(map(is_own, tasks.values())):  # which may draw without OpenGL
        try:
            find_backend()
        except MachineError as error:
            _warn(f"no video: {error}")
            videos = {which: file for which, file in videos.items() if is_own(tasks[which[0]])}
    if videos:
        check_folder(folder)
    return videos


def _evaluate(
    options: EvaluateArgs, run: Path, config: Config, env_step: int, video: Path | None
) -> dict[str, Any]:
    """Evaluate one checkpoint with every seed, and print the scores."""
    trained = trained_agent.load(run, env_step=env_step)
    task = config.task
    evaluations: dict[int, Evaluation] = {}
    for seed in options.seeds:
        first_episode = FirstEpisode() if video is not None and not evaluations else None
        spec = open_run(run).env_spec()
        evaluations[seed] = evaluate_model(
            trained.state.model,
            config,
            spec,
            num_episodes=options.episodes,
            num_envs=options.num_envs,
            seed=seed,
            actions=options.actions,
            record=first_episode,
            warn=_warn,
        )
        if cut := evaluations[seed].describe_cut(spec):
            _warn(cut)
        prefix = f"seed {seed} " if len(options.seeds) > 1 else ""
        for i, score in enumerate(evaluations[seed].scores):
            print(f"{prefix}episode {i + 1:3d}: return {score:.3f}", flush=True)
        if first_episode is not None and video is not None:
            try:
                where = {"task": task, "seed": env_seed(seed), **config.env_options}
                print(record_video(video, first_episode, **where), flush=True)
            except (UsageError, MachineError) as error:
                _warn(f"no video: {error}")
    scores = np.concatenate([evaluation.scores for evaluation in evaluations.values()])
    update = int(trained.state.update)
    print(
        f"{run} after {env_step:,} env steps and {update:,} updates: "
        f"{task}, mean {scores.mean():.3f}, standard deviation {scores.std():.3f} over "
        f"{scores.size} episodes",
        flush=True,
    )
    return {
        "run": str(run),
        **identity(open_run(run).path, config),
        "env_step": env_step,
        "frame": env_step * config.action_repeat,
        "update": update,
        "mean": float(scores.mean()),
        "std": float(scores.std()),
        "evaluations": [{"seed": seed, **e._asdict()} for seed, e in evaluations.items()],
    }


def _save(out: Path, options: EvaluateArgs, results: Sequence[dict[str, Any]]) -> None:
    """Write the results so far; the file is that of now or of before, never half of it."""
    names = ("episodes", "seeds", "num_envs", "actions")
    settings = {name: getattr(options, name) for name in names}
    try:
        write_json(out, {"settings": settings, **provenance(), "checkpoints": results})
    except OSError as error:
        raise file_error(out, error, "written") from error


def _warn(message: str) -> None:
    print(f"warning: {message}", file=sys.stderr, flush=True)
