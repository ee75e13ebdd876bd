"""Parts of pages that are made from the code: a Markdown extension for the site.

A line `<!-- made from the code: settings -->` stands for every setting. One with `presets` stands
for what every preset changes beside the preset `paper`, one with `tasks` for the tasks that there
are, one with `zoo` for the trained agents that come with the package, and one with `paper` for what
it takes to make the paper's tables and figures.
"""

import dataclasses
import inspect
import itertools
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import markdown
from markdown.extensions import Extension
from markdown.preprocessors import Preprocessor

from gpld.analysis.packed import SUFFIX, unpacked
from gpld.analysis.scores import CHECKPOINT_SCORES, find_runs
from gpld.config import Config, flatten
from gpld.config.checks import Bound
from gpld.config.meanings import field_docs
from gpld.config.presets import PRESETS
from gpld.envs import probe
from gpld.envs.rewards import COVERED
from gpld.runs.zoo import open_run, zoo_names
from gpld.suite import TASKS
from gpld.sweep.paper import EXPERIMENTS

_ROOT = Path(__file__).parents[1]
_UPDATES = 0.5  # for each env step, in the paper's setting
_MARK = re.compile(r"<!-- made from the code: (\w+) -->")
_KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


def settings() -> Iterator[str]:
    """Write every setting under a heading of its own, group by group, as lines of Markdown."""
    groups: list[tuple[str, type]] = [("", Config)]
    while groups:
        (prefix, cls), nested = groups.pop(0), []
        docs, fields = field_docs(cls), dataclasses.fields(cls)
        yield f"## {f'`{prefix[:-1]}`' if prefix else 'The run'}"
        yield ""
        yield inspect.cleandoc(cls.__doc__ or "")
        yield ""
        for field in fields:
            name = prefix + field.name.rstrip("_")
            if dataclasses.is_dataclass(field.default):
                nested.append((f"{name}.", type(field.default)))
                continue
            off = f" `--{prefix}no_{field.name}` turns it off." if field.type is bool else ""
            yield f"### `{name}` {{#{name}}}"
            yield ""
            yield docs[field.name]
            yield ""
            yield f"Default `{_shown(field.default)}`; {allowed(field.type)}.{off}"
            yield ""
        groups = nested + groups


def presets() -> Iterator[str]:
    """Write what every preset changes beside the preset `paper`, as lines of Markdown."""
    paper = flatten(PRESETS["paper"])
    for name, config in PRESETS.items():
        if name == "paper":
            continue
        yield f"### `{name}` {{#{name}}}"
        yield ""
        yield f"| setting | `paper` | `{name}` |"
        yield "|---|---|---|"
        for setting, value in flatten(config).items():
            if value != paper[setting] and setting != "preset":
                yield (
                    f"| [`{setting}`](settings.md#{setting}) "
                    f"| `{_shown(paper[setting])}` | `{_shown(value)}` |"
                )
        yield ""


def tasks() -> Iterator[str]:
    """Write the tasks that need no name of a package, as lines of Markdown."""
    yield "## DeepMind Control"
    yield ""
    for domain, names in itertools.groupby(TASKS, lambda name: TASKS[name][0]):
        covered, others = [], []
        for name in names:
            (covered if name in COVERED else others).append(f"`{name}`")
        yield f"### {domain}"
        yield ""
        if covered:
            yield f"On every engine: {', '.join(covered)}."
        if others:
            yield f"With dm_control alone: {', '.join(others)}."
        yield ""
    yield "## Probes"
    yield ""
    yield "Tiny environments whose best return is known tell whether an agent learns."
    yield ""
    yield "| task | what it is | lowest return | best return |"
    yield "|---|---|---|---|"
    for name, task in probe.TASKS.items():
        about = inspect.cleandoc(task.__doc__ or "").split("\n")[0]
        yield f"| `{name}` | {about} | {task.lowest_return:g} | {task.optimal_return:g} |"


def zoo() -> Iterator[str]:
    """Write the agents of the zoo with their scores, as lines of Markdown."""
    yield "| agent | return, mean and standard deviation | episodes | env steps | frames | commit |"
    yield "|---|---|---|---|---|---|"
    for name in zoo_names():
        folder = open_run(f"zoo:{name}")
        scores = json.loads((folder.path / CHECKPOINT_SCORES).read_text())
        (own,) = scores["checkpoints"]
        episodes = sum(len(evaluation["scores"]) for evaluation in own["evaluations"])
        yield (
            f"| `zoo:{name}` | {own['mean']:.1f} ± {own['std']:.1f} | {episodes} "
            f"| {own['env_step']:,} | {own['frame']:,} | `{folder.record()['commit'][:7]}` |"
        )


def papers_runs() -> Iterator[str]:
    """Write what each table and figure of the paper takes, and what of it there is, in Markdown."""
    yield "| name | what it is | runs | env steps of each | core-days | runs so far |"
    yield "|---|---|---|---|---|---|"
    for name, experiment in EXPERIMENTS.items():
        stages = [sweep for _, sweep in experiment.stages(Path())]
        runs = sum(len(own.tasks) * len(own.arms) * len(own.seeds) for own in stages)
        pixels = experiment.settings.get("env.observations") == "pixels"
        days = runs * experiment.env_steps * _UPDATES * _seconds(pixels=pixels) / 86_400
        yield (
            f"| `{name}` | {experiment.title.partition(': ')[2]} | {runs} "
            f"| {experiment.env_steps:,} | {days:,.0f} | {_runs_so_far(name)} |"
        )


def _seconds(*, pixels: bool) -> float:
    """Return the seconds of an update on the core where it was measured last."""
    file = "update_pixels.json" if pixels else "update.json"
    results = json.loads((_ROOT / "benchmarks" / "epyc_zen4_1core" / file).read_text())["results"]
    return results["rowwise, mixed"]["median_seconds"]


def _runs_so_far(name: str) -> str:
    """Count the runs that were packed for a table or figure."""
    file = _ROOT / "results" / f"{name}{SUFFIX}"
    if not file.exists():
        return "none"
    with unpacked([file]) as (folder,):
        return str(len(list(find_runs(folder))))


PARTS: dict[str, Callable[[], Iterator[str]]] = {
    "settings": settings,
    "presets": presets,
    "tasks": tasks,
    "zoo": zoo,
    "paper": papers_runs,
}


def allowed(kind: Any) -> str:
    """Describe the values that an annotation allows, in a few words."""
    origin, args = get_origin(kind), get_args(kind)
    if origin is Annotated:
        bounds = [bound.allowed for bound in args[1:] if isinstance(bound, Bound)]
        return ", ".join([allowed(args[0]), *bounds])
    if origin is Literal:
        return "one of " + ", ".join(f"`{value}`" for value in args)
    if origin in (Union, UnionType):
        return " or ".join(allowed(each) for each in args)
    if origin is tuple:
        return f"a list, each {allowed(args[0])}"
    return _KINDS.get(kind, "`None`")


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, tuple | list):
        return " ".join(map(_shown, value)) or "()"
    return str(value)


class _FromCode(Preprocessor):
    def run(self, lines: list[str]) -> list[str]:
        """Put what is made from the code in place of its marks."""
        made = []
        for line in lines:
            mark = _MARK.fullmatch(line)
            made += "\n".join(PARTS[mark[1]]()).split("\n") if mark else [line]
        return made


class FromCode(Extension):
    """Markdown extension that replaces marks by parts that are made from the code."""

    def extendMarkdown(self, md: markdown.Markdown) -> None:
        """Register the preprocessor: after line ends are normalised, before all else."""
        md.preprocessors.register(_FromCode(md), "from_code", 27)


def makeExtension(**kwargs: Any) -> FromCode:
    """Make the extension; Python-Markdown calls this name."""
    return FromCode(**kwargs)
