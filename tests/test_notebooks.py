"""The notebooks run from top to bottom without a browser, twice, on short runs of their own."""

from __future__ import annotations

import ast
import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

BOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
names = pytest.mark.parametrize("path", BOOKS, ids=lambda path: path.stem)


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """Where the runs of all notebooks lie, so that later ones find the first one's."""
    return tmp_path_factory.mktemp("notebooks")


@pytest.mark.slow
@names
def test_a_notebook_runs_without_a_browser_and_again_on_the_runs_it_made(path, home, monkeypatch):
    monkeypatch.setenv("TWIST_RUNS", str(home / "runs"))
    monkeypatch.setenv("TWIST_FIRST_EPOCHS", "3")
    monkeypatch.setenv("IPYTHONDIR", str(home / "ipython"))
    book = nbformat.read(path, as_version=4)
    runs = set()
    for _ in range(1 if path.stem.startswith("01") else 2):
        NotebookClient(book, timeout=240, resources={"metadata": {"path": str(home)}}).execute()
        assert [cell for cell in code_cells(book) if not cell.execution_count] == []
        assert runs in (set(), names_of(home))  # running it again trains nothing twice
        runs = names_of(home)
    shown = [output.data for cell in code_cells(book) for output in cell.outputs if output.output_type != "stream"]
    assert any("text/html" in data and "static copy" in data["text/html"].lower() for data in shown)


@names
def test_a_notebook_says_what_it_is_needs_and_shows_and_its_cells_are_short(path):
    book = nbformat.read(path, as_version=4)
    first = book.cells[0].source
    assert first.startswith("# ")
    assert "**Needs**" in first and "**You will see**" in first
    assert len(code_cells(book)) <= 20
    for cell in code_cells(book):
        assert len(cell.source.splitlines()) <= 10
        assert cell.outputs == []
        functions = [node for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.FunctionDef)]
        assert all(node.end_lineno - node.lineno < 5 for node in functions)


def code_cells(book) -> list:
    return [cell for cell in book.cells if cell.cell_type == "code"]


def names_of(home: Path) -> set[str]:
    return set(os.listdir(home / "runs"))
