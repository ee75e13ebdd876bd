"""The documentation site: it builds strictly, leads nowhere wrong, and finds what users ask."""

import dataclasses
import functools
import json
import os
import re
import shutil
import subprocess
import sys
from collections import deque
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
import yaml

import gpld
from gpld import agent, suite
from gpld.analysis.packed import SUFFIX, unpacked
from gpld.checkpoints import checkpoint
from gpld.config import Config, ModelConfig, field_types
from gpld.config.meanings import field_docs
from gpld.config.presets import PRESETS
from gpld.datasets import folder as data_folder
from gpld.envs import ArraySpec, EnvSpec, probe
from gpld.replay import manifest
from gpld.training.memory_estimate import predict
from gpld.units import byte_size
from website.pages import allowed, papers_runs, presets, settings, tasks

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "wbr"}


class Link(NamedTuple):
    tag: str
    url: str
    in_article: bool


class Page(HTMLParser):
    """Links, anchors, pictures and text of a page that was built."""

    def __init__(self, text):
        super().__init__()
        self.links, self.anchors, self.pictures, self.text = [], set(), [], []
        self._article = False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self._article |= tag == "article"
        self.anchors |= {attributes.get("id"), attributes.get("name") if tag == "a" else None}
        self.links += [
            Link(tag, attributes[name], self._article)
            for name in ("href", "src")
            if attributes.get(name)
        ]
        if tag == "img":
            self.pictures.append(attributes)

    def handle_endtag(self, tag):
        self._article &= tag != "article"

    def handle_data(self, data):
        if self._article:
            self.text.append(data)


@dataclasses.dataclass
class Site:
    root: Path
    pages: dict[Path, Page]

    def target(self, page, url):
        """File and anchor that a link leads to; None if that is on another host."""
        parts = urlsplit(url)
        if parts.scheme or parts.netloc:
            return None
        path = page
        if parts.path:
            start = self.root if parts.path.startswith("/") else page.parent
            path = Path(os.path.normpath(start / unquote(parts.path).lstrip("/")))
        return path / "index.html" if path.is_dir() else path, unquote(parts.fragment)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site as the command in CONTRIBUTING.md makes it, in another folder."""
    folder = tmp_path_factory.mktemp("site")
    shutil.copy(ROOT / "mkdocs.yml", folder)
    shutil.copytree(DOCS, folder / "docs")
    (folder / "gpld").symlink_to(ROOT / "gpld")
    result = subprocess.run(
        [sys.executable, "-m", "zensical", "build", "--clean", "--strict"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    root = folder / "site"
    return Site(root, {path: Page(path.read_text()) for path in sorted(root.rglob("*.html"))})


def test_links_and_anchors_lead_somewhere(site):
    broken = []
    for path, page in site.pages.items():
        for link in page.links:
            found = site.target(path, link.url)
            if found is None:
                continue
            file, anchor = found
            there = file in site.pages if file.suffix == ".html" else file.is_file()
            if not there or (anchor and anchor not in site.pages[file].anchors):
                broken.append(f"{path.relative_to(site.root)}: {link.url}")
    assert not broken
    assert len(site.pages) > 40


def test_every_document_is_a_page_of_the_navigation(site):
    """And each of them is reached from the first one by links in texts alone."""
    documents = {path.relative_to(DOCS) for path in DOCS.rglob("*.md")}
    listed = set(re.findall(r"[\w/]+\.md", (ROOT / "mkdocs.yml").read_text()))
    assert {str(path) for path in documents} == listed - {"CONTRIBUTING.md"}
    assert set(clicks(site)) >= {built(site, str(path)) for path in documents}


def built(site, document):
    """File that a document became."""
    path = site.root / document.removesuffix(".md").removesuffix("index")
    return path / "index.html"


def clicks(site):
    """Number of links in texts from the first page to every other one."""
    start = site.root / "index.html"
    found, queue = {start: 0}, deque([start])
    while queue:
        page = queue.popleft()
        for link in site.pages[page].links:
            target = site.target(page, link.url)
            if target and link.in_article and target[0] in site.pages and target[0] not in found:
                found[target[0]] = found[page] + 1
                queue.append(target[0])
    return found


@pytest.mark.parametrize(
    ("document", "answer"),
    [
        ("start/own_environment.md", "action_space = spaces.Discrete(2)"),
        ("howto/memory.md", "how much memory and disk it will take"),
        ("understand/exactness.md", "After a resume"),
        ("understand/penalty.md", "Where it enters the loss"),
        ("howto/compare.md", "[arms.DreamerV3]"),
        ("howto/compare.md", "There is no p-value"),
        ("start/install.md", "there is no package on PyPI"),
        ("results/benchmarks.md", "How long a run takes"),
        ("understand/scores.md", "How many seeds"),
        ("understand/exactness.md", "What is not the same"),
        ("reference/glossary.md", "online queue"),
        ("index.md", "please cite the paper"),
    ],
)
def test_questions_are_answered_within_three_clicks(site, document, answer):
    page = built(site, document)
    assert clicks(site)[page] <= 3
    assert answer in "".join(site.pages[page].text)


@pytest.mark.parametrize(
    ("words", "document"),
    [
        ("train ratio", "understand/clocks"),
        ("own environment", "start/own_environment"),
        ("out of memory", "howto/memory"),
        ("resume", "start/stop_and_resume"),
        ("git clone", "start/install"),
        ("described h100", "reference/glossary"),
        ("how many seeds", "understand/scores"),
        ("nvidia-smi", "howto/memory"),
        ("multidiscrete", "start/own_environment"),
        ("quadruped", "reference/tasks"),
        ("replay.batch_size", "reference/settings"),
        ("lambda_returns", "reference/api/losses"),
    ],
)
def test_search_finds_what_users_ask(site, words, document):
    """Some section of that page has all the words."""
    items = json.loads((site.root / "search.json").read_text())["items"]
    places = [
        item["location"]
        for item in items
        if all(word in f"{item['title']} {item['text']}".lower() for word in words.split())
    ]
    assert any(place.startswith(document) for place in places), places


def test_pictures_have_texts_and_nothing_is_loaded_from_elsewhere(site):
    for path, page in site.pages.items():
        for picture in page.pictures:
            assert len(picture.get("alt") or "") > 20, (path, picture)
        away = [link for link in page.links if link.tag != "a" and urlsplit(link.url).netloc]
        assert not [link for link in away if link.tag != "link" or "css" in link.url], path


def test_every_setting_is_documented():
    text = "\n".join(settings())
    pattern = r"^### `[\w.]+` \{#([\w.]+)\}\n\n(.+?)(?=\n\n#|\Z)"
    entries = dict(re.findall(pattern, text, re.DOTALL | re.MULTILINE))
    assert entries.keys() == {name.rstrip("_") for name in field_types()}
    assert "Default `16`; a whole number, at least 1." in entries["replay.batch_size"]
    assert "Default `5 95`; a list, each a number, two rising" in entries["ac.return_percentiles"]
    assert "`--compute.no_rewrite` turns it off" in entries["compute.rewrite"]
    assert all(len(entry.split("\n\n")[0]) > 5 for entry in entries.values())


def test_what_is_allowed_is_described():
    types = field_types()
    assert allowed(types["env.backend"]) == "one of `auto`, `dmc`, `batch`, `mjx`"
    assert allowed(types["env.workers"]) == "a whole number or `None`, at least 0"
    assert allowed(types["run"]) == "text or `None`"
    assert field_docs(Config)["seed"].startswith("Seeds parameters")


def test_presets_show_what_they_change():
    text = "\n".join(presets())
    assert text.count("### ") == len(PRESETS) - 1
    row = "| [`replay.train_ratio`](settings.md#replay.train_ratio) | `512` | `1024` |"
    assert row in text.split("### `small`")[0]


def test_tasks_show_what_steps_them():
    text = "\n".join(tasks())
    assert set(re.findall(r"`(\w+)`", text)) == {*suite.TASKS, *probe.TASKS}
    assert "On every engine: `quadruped_run`, `quadruped_walk`." in text
    assert "With dm_control alone: `dog_fetch`" in text


def test_what_the_paper_takes_is_counted(monkeypatch, tmp_path):
    found = [[cell.strip(" `") for cell in line[1:-1].split("|")] for line in papers_runs()]
    rows = {name: cells for name, *cells in found[2:]}
    _, runs, env_steps, days, so_far = rows["table3"]
    assert (runs, env_steps, so_far) == ("180", "500,000", "none")  # 18 tasks, 2 arms, 5 seeds
    file = ROOT / "benchmarks" / "epyc_zen4_1core" / "update.json"
    seconds = json.loads(file.read_text())["results"]["rowwise, mixed"]["median_seconds"]
    assert days == f"{180 * 250_000 * seconds / 86_400:,.0f}"
    assert rows["figure8"][1] == "22"  # and a run of each task that gives encoder and decoder
    (tmp_path / "results").mkdir()
    (tmp_path / "benchmarks").symlink_to(ROOT / "benchmarks")
    shutil.copy(ROOT / "results" / "joint.json.gz", tmp_path / "results" / "table1.json.gz")
    monkeypatch.setattr("website.pages._ROOT", tmp_path)
    (row,) = (line for line in papers_runs() if line.startswith("| `table1`"))
    assert row.endswith("| 5 |")


def test_public_names_are_documented(site):
    page = "".join(site.pages[built(site, "reference/api/gpld.md")].text)
    assert all(name in page for name in gpld.__all__)


def test_commands_are_documented():
    listed = subprocess.run(
        [sys.executable, "-m", "gpld"], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout
    commands = set(re.findall(r"^ {1,4}([a-z][a-z-]+)  ", listed, re.MULTILINE))
    page = (DOCS / "reference" / "commands.md").read_text()
    assert len(commands) > 10
    assert commands <= set(re.findall(r"^\| `gpld ([a-z-]+)", page, re.MULTILINE))


def test_every_metric_is_documented():
    """All that the committed runs have logged."""
    logged = set()
    with unpacked(sorted((ROOT / "results").glob(f"*{SUFFIX}"))) as folders:
        for file in (file for folder in folders for file in folder.rglob("metrics.jsonl")):
            for line in file.read_text().splitlines():
                logged |= json.loads(line).keys()
    page = (DOCS / "reference" / "metrics.md").read_text()
    names = re.findall(r"`([^`]+)`", page)
    known = [re.sub(r"\\\{\w+\\\}", r"\\w+", re.escape(name)) for name in names]
    assert len(logged) > 40
    assert not [name for name in logged if not any(re.fullmatch(k, name) for k in known)]


def test_formats_are_those_of_the_code():
    page = (DOCS / "reference" / "files.md").read_text()
    rows = dict(re.findall(r"^\| ([\w ]+) \| `format` in [^|]+ \| (\d+) \|", page, re.MULTILINE))
    assert rows == {
        "checkpoint": str(checkpoint.FORMAT),
        "stored replay": str(manifest.FORMAT),
        "imported data": str(data_folder.FORMAT),
    }


def test_train_ratios_are_those_of_the_presets():
    page = (DOCS / "understand" / "clocks.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \| (\d+) x (\d+) \| (\d+)(?: / (\d+))? \|", page, re.M)
    assert len(rows) == 4
    for name, ratio, size, length, updates, per in rows:
        replay = PRESETS[name].replay
        stated = [float(ratio), int(size), int(length), int(updates) / int(per or 1)]
        actual = [replay.train_ratio, replay.batch_size, replay.batch_length]
        assert stated == [*actual, replay.updates_per_env_step]


def vector(**sizes):
    return {name: ArraySpec((size,), np.dtype(np.float32)) for name, size in sizes.items()}


WALKER = EnvSpec(vector(height=1, orientations=14, velocity=9), 6, 2, 1000)
HOPPER = EnvSpec({"image": ArraySpec((64, 64, 3), np.dtype(np.uint8))}, 4, 2, 1000)
CARTPOLE = EnvSpec(vector(position=3, velocity=2), 1, 2, 1000)
paper = functools.partial(dataclasses.replace, PRESETS["paper"])
pixels = functools.partial(dataclasses.replace, PRESETS["paper_pixels"])
on_gpu = functools.partial(paper, precision="bfloat16")
ON_A_CPU = {
    "preset `small`": (PRESETS["small"], CARTPOLE),
    "the paper's, in mixed precision": (paper(precision="mixed"), WALKER),
    "the paper's, in float32": (paper(precision="float32"), WALKER),
    "the paper's from pictures, in mixed precision": (pixels(precision="mixed"), HOPPER),
}
# And the rows of the programs that were compiled for a GPU.
ON_A_GPU = {
    "the paper's": (on_gpu(), WALKER, "paper"),
    "the paper's from pictures": (pixels(precision="bfloat16"), HOPPER, "pixels"),
    "the paper's with `--model.size 1m`": (on_gpu(model=ModelConfig(size="1m")), WALKER, "size 1m"),
    "the paper's with `--model.size 200m`": (
        on_gpu(model=ModelConfig(size="200m")),
        WALKER,
        "size 200m",
    ),
    "the paper's with `--seeds 5`": (on_gpu(seeds=5), WALKER, "5 seeds"),
}


def memory_rows(title):
    """Sizes of the table whose header begins with a title, by setting."""
    page = (DOCS / "howto" / "memory.md").read_text()
    table = page.split(f"| {title}")[1].split("\n\n")[0]
    found = re.findall(r"^\| (.+?) \| (.+?iB) \| (.+?iB) \| (.+?iB) \|$", table, re.MULTILINE)
    return {setting: sizes for setting, *sizes in found}


def check_sizes(stated, sizes):
    for text, size in zip(stated, map(byte_size, sizes), strict=True):
        (number, unit), (exact, same) = text.split(), size.split()
        digits = len(number.partition(".")[2])
        assert (float(number), unit) == (round(float(exact), digits), same), size


def test_memory_is_what_the_program_predicts():
    rows = memory_rows("on a CPU")
    assert rows.keys() == ON_A_CPU.keys()
    for name, stated in rows.items():
        config, spec = ON_A_CPU[name]
        check_sizes(stated, predict(config, spec, agent.abstract_state(config, **spec.sizes)))


def test_memory_on_a_gpu_is_what_was_planned_for_one():
    rows = memory_rows("on a GPU")
    file = ROOT / "benchmarks" / "h100_described" / "gpu-program.json"
    planned = json.loads(file.read_text())["rows"]
    assert rows.keys() == ON_A_GPU.keys()
    for name, stated in rows.items():
        config, spec, row = ON_A_GPU[name]
        update = sum(planned[row][kind] for kind in ("temporaries", "arguments", "results"))
        predicted = predict(config, spec, agent.abstract_state(config, **spec.sizes))
        check_sizes(stated, predicted._replace(update=update))


def test_links_of_other_documents_lead_to_files():
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "benchmarks" / "README.md"):
        for url in re.findall(r"\]\((?!https?:|#)([^)#]+)", path.read_text()):
            assert (path.parent / url).exists(), f"{path.name}: {url}"
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        for url in re.findall(r"\]\((\.\./[^)#]+)", path.read_text()):
            assert (path.parent / url).exists(), f"{path.name}: {url}"


def test_files_that_publish_the_site_build_it_as_we_do():
    command = "python -m zensical build --clean --strict"
    for name in (".ci/run", ".readthedocs.yaml", ".github/workflows/site.yml", "CONTRIBUTING.md"):
        assert command in (ROOT / name).read_text()
    for name in (".readthedocs.yaml", ".github/workflows/site.yml"):
        yaml.safe_load((ROOT / name).read_text())
