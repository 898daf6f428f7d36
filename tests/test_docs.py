"""The documentation builds without a warning, reaches nothing outside itself, and its commands and code are real."""

from __future__ import annotations

import argparse
import ast
import contextlib
import html.parser
import inspect
import io
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import twist
from twist.cli import _parser
from twist.runs.config import field_names, with_fields
from twist.runs.recipes import recipe_names

HOME = Path(__file__).parents[1]
DOCS = HOME / "docs"
PAGES = sorted(path for path in DOCS.rglob("*.md"))
TEXTS = [*PAGES, HOME / "README.md", HOME / "data" / "README.md"]
FENCE = re.compile(r"^(?P<ticks>`{3,})(?P<kind>[^\n]*)\n(?P<body>.*?)^(?P=ticks)\s*$", re.MULTILINE | re.DOTALL)
MOST_GALLERY_BYTES = 1_500_000


@dataclass
class Page:
    """What a test asks of a built page."""

    ids: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    loaded: list[str] = field(default_factory=list)
    unnamed_images: int = 0


class Reader(html.parser.HTMLParser):
    """Collects anchors, links, and whatever a browser would load."""

    def __init__(self):
        super().__init__()
        self.page = Page()

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if name := given.get("id") or (given.get("name") if tag == "a" else None):
            self.page.ids.add(name)
        if tag == "a" and given.get("href"):
            self.page.links.append(given["href"])
        if tag == "link" and given.get("href") and given.get("rel") not in ("index", "search", "next", "prev"):
            self.page.loaded.append(given["href"])
        if tag in ("script", "img", "iframe", "source", "video", "embed") and given.get("src"):
            self.page.loaded.append(given["src"])
        if tag == "img" and not given.get("alt"):
            self.page.unnamed_images += 1
        self.page.loaded += re.findall(r"url\(([^)]+)\)", given.get("style") or "")


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """The documentation as `make docs` builds it, warnings being errors."""
    pytest.importorskip("sphinx")
    folder = tmp_path_factory.mktemp("docs")
    command = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "--quiet", "-b", "html"]
    done = subprocess.run(
        [*command, "-d", str(folder / "doctrees"), str(DOCS), str(folder / "html")],
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return folder / "html"


@pytest.fixture(scope="module")
def pages(built) -> dict[Path, Page]:
    """Every built page, read."""
    found = {}
    for path in built.rglob("*.html"):
        reader = Reader()
        reader.feed(path.read_text())
        found[path] = reader.page
    assert len(found) > 25
    return found


def test_the_built_pages_load_nothing_from_elsewhere(built, pages):
    for path, page in pages.items():
        for address in page.loaded:
            assert not urlsplit(address).scheme.startswith("http"), f"{path.name} loads {address}"
            assert not address.startswith("//"), f"{path.name} loads {address}"
            if not address.startswith("data:"):
                assert (path.parent / unquote(urlsplit(address).path)).is_file(), f"{path.name} loads {address}"
    for style in built.rglob("*.css"):
        assert re.findall(r"@import|url\(\s*['\"]?(?:https?:)?//", style.read_text()) == [], style.name
    for script in built.rglob("*.js"):
        assert re.findall(r"(?:src|import)\s*=?\(?\s*['\"]https?://", script.read_text()) == [], script.name


def test_every_link_between_the_pages_leads_somewhere(built, pages):
    followed = 0
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or link.startswith("//"):
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            assert target.is_file(), f"{path.relative_to(built)}: {link}"
            if parts.fragment and target.suffix == ".html" and parts.fragment != "":
                assert unquote(parts.fragment) in pages[target].ids, f"{path.relative_to(built)}: {link}"
            followed += 1
    assert followed > 1000


def test_every_picture_says_in_words_what_it_shows(pages):
    assert [path.name for path, page in pages.items() if page.unnamed_images] == []


def test_every_verb_field_recipe_and_command_has_its_place_in_the_reference(built, pages):
    ids = set().union(*(page.ids for path, page in pages.items() if path.parent.name == "reference"))
    assert {f"twist.{name}" for name in twist.__all__ if not name.startswith("__")} <= ids
    assert {"field-" + re.sub(r"[._]", "-", name) for name in field_names()} <= ids
    assert {f"recipe-{name.replace('_', '-')}" for name in recipe_names()} <= ids
    assert {f"command-{name}" for name in subcommands()} <= ids
    named = re.findall(r"\{(?:func|class|meth)\}`([\w.]+)`", "\n".join(page.read_text() for page in PAGES))
    assert named and set(named) <= ids


def test_the_gallery_is_small_whole_and_says_where_each_figure_comes_from():
    notes = json.loads((DOCS / "gallery" / "figures.json").read_text())
    shown = set(re.findall(r"\{run-figure\} ([\w-]+)", "\n".join(page.read_text() for page in PAGES)))
    assert shown == set(notes)
    files = {path.name for path in (DOCS / "gallery").iterdir() if path.suffix in (".svg", ".webp")}
    assert files == {name for note in notes.values() for name in note["files"].values()}
    assert sum((DOCS / "gallery" / name).stat().st_size for name in files) < MOST_GALLERY_BYTES
    for name, note in notes.items():
        assert set(note["files"]) == {"light", "dark"}, name
        assert len(note["alt"]) > 40, name
        assert (
            "seed" in note["source"]
            or "twist.runs." in note["source"]
            or "record" in note["source"]
            or ("twist.learn." in note["source"])
        ), name


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(HOME)))
def test_every_command_is_one_that_the_parser_knows(path):
    for line in commands(path.read_text()):
        words = shlex.split(line, comments=True)[1:]
        errors = io.StringIO()
        try:
            with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
                options = _parser().parse_args(words)
        except SystemExit as leaving:
            assert leaving.code == 0, f"{line}\n{errors.getvalue()}"
            continue
        for change in getattr(options, "changes", None) or []:
            name, _, value = change.partition("=")
            if name != "network.num_heads" and value != "FOLDER":
                with_fields(twist.Recipe(), {name: value} | needed_beside(name))


def needed_beside(name: str) -> dict[str, object]:
    """Fields without which the default recipe could not take a change of this one."""
    return {"network.backbone": "vit_t"} if name == "network.patch_size" else {}


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(HOME)))
def test_every_python_block_compiles_and_those_marked_run_run(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for kind, body in blocks(path.read_text()):
        if kind.split()[0:1] in (["python"], ["{code-block}"]) and "python" in kind:
            options = re.match(r"(?::[\w-]+:[^\n]*\n)*", body)[0]
            if DOCS in path.parents:  # wider ones have to be scrolled on a page
                assert max(map(len, body.splitlines())) <= 86
            source = body[len(options) :]
            tree = ast.parse(source)
            for node in ast.walk(tree):
                if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "twist":
                    assert node.attr in (*twist.__all__, "learn", "runs", "view"), f"{path.name}: twist.{node.attr}"
                if (
                    isinstance(node, ast.Call)
                    and isinstance(node.func, ast.Attribute)
                    and isinstance(node.func.value, ast.Name)
                    and node.func.value.id == "twist"
                ):
                    given = {keyword.arg: None for keyword in node.keywords if keyword.arg}
                    inspect.signature(getattr(twist, node.func.attr)).bind(*node.args, **given)
            if ":class: run" in options:
                exec(compile(source, str(path), "exec"), {"__name__": "documentation"})


def test_make_targets_and_files_that_the_texts_name_exist():
    targets = set(re.findall(r"^([a-z-]+):", (HOME / "Makefile").read_text(), re.MULTILINE))
    for path in TEXTS:
        text = path.read_text()
        assert set(re.findall(r"`make ([a-z-]+)", text)) <= targets, path.name
        for name in re.findall(r"\]\(((?:\.\./)*(?:notebooks|data|docs|benchmarks|apps)/[\w./-]+)\)", text):
            assert (path.parent / name).exists(), f"{path.name}: {name}"
    known = {book.stem for book in (HOME / "notebooks").glob("*.ipynb")}
    course = (DOCS / "howto" / "teach.md").read_text() + (HOME / "README.md").read_text()
    for number, name in re.findall(r"^\| (\d\d) \| `(\w+)` \|", course, re.MULTILINE):
        assert f"{number}_{name}" in known
    for name in re.findall(r"`(\d\d_\w+)`", "\n".join(path.read_text() for path in TEXTS)):
        assert name in known


def blocks(text: str) -> Iterator[tuple[str, str]]:
    """Kind and text of every fenced block."""
    for found in FENCE.finditer(text):
        yield found["kind"].strip(), found["body"]


def commands(text: str) -> list[str]:
    """Every line of a shell block, and every piece of code in a sentence, that begins with `twist` and a command."""
    lines = [
        part.strip()
        for kind, body in blocks(text)
        if kind in ("sh", "bash", "console")
        for line in body.splitlines()
        for part in line.partition(" #")[0].split("&&")
    ]
    inline = re.findall(r"`(twist [a-z][^`\n]*)`", FENCE.sub("", text))
    known = set(subcommands())
    whole = [line for line in lines if line.startswith("twist ")]
    named = [line for line in inline if line.split()[1] in known and "|" not in line and "…" not in line]
    return whole + [line for line in named if len(line.split()) > 2]


def subcommands() -> list[str]:
    """Names of the commands."""
    return [
        name
        for action in _parser()._actions
        if isinstance(action, argparse._SubParsersAction)
        for name in action.choices
    ]
