"""A sweep on one page that needs no other file: pictures, tables, settings, versions."""

import base64
import html
import os
import urllib.parse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..config import flatten
from ..config.presets import PRESETS
from ..errors import MachineError, UsageError
from ..machine.files import read_bytes, write_bytes, writing
from ..runs.folder import RunFolder
from .curves import by_arm
from .scores import RunScores
from .tables import Table

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem;
       color: #1a1a1a; background: #fff; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; }
img { max-width: 100%; } .scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; }
th, td { padding: .25rem .8rem; border-bottom: 1px solid #ddd; text-align: left; }
th { border-bottom: 2px solid #888; } td:first-child { white-space: nowrap; }
.stamp { border: 2px solid #b00020; color: #b00020; padding: .6rem 1rem; font-weight: 600; }
.note { color: #555; font-size: .9rem; } .answer { font-size: 1.15rem; margin: .4rem 0; }
.videos { display: flex; flex-wrap: wrap; gap: 1rem; } figure { margin: 0; width: 16rem; }
video { width: 100%; } figcaption { font-size: .9rem; }
"""

_HEADINGS = {
    "curves": "Return in the course of training",
    "aggregates": "All tasks together",
    "sensitivities": "Sensitivity of the world model",
}
_MOST_VIDEO = 32 * 2**20  # bytes of videos that are in the page


def write_report(
    path: Path,
    *,
    title: str,
    answers: Sequence[str],
    runs: Sequence[RunScores],
    tables: Sequence[Table],
    pictures: Sequence[Path],
    stamp: str | None = None,
    choices: Sequence[str] = (),
) -> None:
    """Writes the page.

    Args:
        path: The file.
        title: What it is about.
        answers: Sentences that tell what it comes to.
        runs: The runs, for settings, versions and videos.
        tables: Tables, in their order.
        pictures: PNG files.
        stamp: What makes this less than it looks like, shown at the top.
        choices: What was decided where the paper leaves it open.

    Raises:
        MachineError: If it cannot be written.
    """
    parts = [f"<h1>{html.escape(title)}</h1>"]
    if stamp is not None:
        parts.append(f'<p class="stamp">{html.escape(stamp)}</p>')
    parts += [f'<p class="answer">{html.escape(answer)}</p>' for answer in answers]
    parts += [_picture(picture) for picture in pictures]
    parts.append(_videos(runs, path.parent))
    parts += [_table(table) for table in tables]
    if choices:
        items = "".join(f"<li>{html.escape(choice)}</li>" for choice in choices)
        parts.append(f"<h2>Choices where the paper leaves it open</h2><ul>{items}</ul>")
    parts += [_table(settings_table(runs)), *map(_table, _origin_tables(runs))]
    page = (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style>"
        f"<body>{''.join(parts)}</body></html>\n"
    )
    with writing(path, "write"):
        write_bytes(path, page.encode(errors="backslashreplace"))


def settings_table(runs: Sequence[RunScores]) -> Table:
    """Settings that differ from the preset in some run: the values of each arm."""
    arms = {
        arm: [flatten(RunFolder(run.path).config()) for run in own]
        for arm, own in by_arm(runs).items()
    }
    presets = {settings["preset"] for own in arms.values() for settings in own}
    preset = presets.pop() if len(presets) == 1 else "paper"
    hidden = ("task", "seed", "seeds", "run", "resume")
    rows = []
    for name, default in flatten(PRESETS[preset]).items():
        values = [[settings.get(name) for settings in own] for own in arms.values()]
        if name not in hidden and any(value != default for own in values for value in own):
            cells = [", ".join(dict.fromkeys(map(str, own))) for own in values]
            rows.append([name, *cells, str(default)])
    notes = [f"Settings that are not those of the preset {preset} in some run."]
    return Table("Settings", ["setting", *arms, f"preset {preset}"], rows, notes)


def _origin_tables(runs: Sequence[RunScores]) -> list[Table]:
    """Make tables of durations, machines, versions and commits, several where runs differ."""
    times: dict[tuple[str, str], list[float]] = {}
    versions: dict[str, dict[str, None]] = {}
    unknown = []
    for run in runs:
        folder = RunFolder(run.path)
        try:
            record = folder.record()
            seconds = sum(line["time/seconds"] or 0.0 for line in folder.read("metrics"))
        except (UsageError, MachineError) as error:
            unknown.append(f"Missing: {run.name}: {error}")
            continue
        times.setdefault((run.arm, _machine(record["machine"])), []).append(seconds / 3600)
        own = {name: record.get(name) for name in ("commit", "precision")} | record["versions"]
        for name, value in own.items():
            versions.setdefault(name, {})[str(value)] = None
    cells = [
        [arm, machine, str(len(hours)), f"{sum(hours):.2f}", f"{sum(hours) / len(hours):.2f}"]
        for (arm, machine), hours in times.items()
    ]
    header = ["arm", "machine", "runs", "hours", "hours of a run"]
    clocks = "As the runs' own clocks have it; programs at the same time slow each other down."
    rows = [[name, ", ".join(found)] for name, found in versions.items()]
    return [
        Table("Time", header, cells, [clocks, *unknown]),
        Table("Versions", ["", "of all runs"], rows, []),
    ]


def _machine(machine: Mapping[str, Any]) -> str:
    """Cores, processor and devices of a machine, in a line."""
    cores, devices = machine["cores"], ", ".join(machine["devices"])
    return f"{cores} core{'s' * (cores > 1)}, {machine['processor']}, {devices}"


def _picture(path: Path) -> str:
    heading = _HEADINGS.get(path.stem, path.stem)
    name, data = html.escape(heading), base64.b64encode(path.read_bytes()).decode()
    return f'<h2>{name}</h2><img alt="{name}" src="data:image/png;base64,{data}">'


def _table(table: Table) -> str:
    def cells(row: Sequence[str], tag: str) -> str:
        return "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in row)

    rows = "".join(f"<tr>{cells(row, 'td')}</tr>" for row in table.rows)
    notes = "".join(f'<p class="note">{html.escape(note)}</p>' for note in table.notes)
    body = f"<table><tr>{cells(table.header, 'th')}</tr>{rows}</table>"
    return f'<h2>{html.escape(table.title)}</h2><div class="scroll">{body}</div>{notes}'


def _videos(runs: Sequence[RunScores], folder: Path) -> str:
    """The last video of each run that has one: the page holds the first of them, and links all."""
    figures, left = [], _MOST_VIDEO
    for run in runs:
        videos = sorted(run.path.glob("videos/*.mp4"))
        if videos:
            path = os.path.relpath(videos[-1].resolve(), folder.resolve())
            # Quoted: the colon of a name such as `javascript:x` would make it another scheme.
            href = html.escape(urllib.parse.quote(os.fsencode(path)))
            name = html.escape(f"{run.arm}, {run.task}, seed {run.seed}")
            film = ""
            # A link in the folder of somebody else's run could lead to any file.
            if not videos[-1].is_symlink() and (size := videos[-1].stat().st_size) <= left:
                left -= size
                data = base64.b64encode(read_bytes(videos[-1])).decode()
                film = f'<video controls muted loop src="data:video/mp4;base64,{data}"></video>'
            caption = f'<figcaption><a href="{href}">{name}</a></figcaption>'
            figures.append(f"<figure>{film}{caption}</figure>")
    return f'<h2>Videos</h2><div class="videos">{"".join(figures)}</div>' if figures else ""
