"""The notebooks run from top to bottom without a browser, twice, on short runs of their own; so do their exercises."""

from __future__ import annotations

import ast
import os
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbstripout import strip_output

from twist.lecture.exercise import exercises_of, lesson_names

BOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
names = pytest.mark.parametrize("path", BOOKS, ids=lambda path: path.stem)
FOLDED = {"source_hidden": True, "outputs_hidden": True}
# What the exercises of a notebook say first of all: nothing has been answered.
ASKED = "… Not answered yet."


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """Where the runs of all notebooks lie, so that later ones find the first one's."""
    return tmp_path_factory.mktemp("notebooks")


@pytest.mark.slow
@names
def test_a_notebook_runs_without_a_browser_and_again_on_the_runs_it_made(path, home, monkeypatch):
    monkeypatch.setenv("TWIST_RUNS", str(home / "runs"))
    monkeypatch.setenv("TWIST_FIRST_EPOCHS", "3")
    monkeypatch.setenv("TWIST_SWEEP_CLASSES", "5,10")
    monkeypatch.setenv("IPYTHONDIR", str(home / "ipython"))
    book = nbformat.read(path, as_version=4)
    runs = set()
    client = NotebookClient(book, timeout=240, resources={"metadata": {"path": str(home)}})
    with client.setup_kernel():  # one for both times: a kernel's start and imports are most of the time
        for _ in range(2 if trains(book) and not path.stem.startswith("01") else 1):
            for number, cell in enumerate(book.cells):
                client.execute_cell(cell, number)
            assert [cell for cell in code_cells(book) if not cell.execution_count] == []
            assert runs in (set(), names_of(home))  # running it again trains nothing twice
            runs = names_of(home)
    assert any(shows_a_picture(output) for cell in code_cells(book) for output in cell.outputs)
    for cell in code_cells(book):
        if ".check(answer)" in cell.source:
            said = cell.outputs[-1].data["text/plain"]
            assert said == "True" if is_solution(cell) else said.startswith(ASKED), f"{cell.source}\n{said}"


@names
def test_a_notebook_says_what_it_is_needs_and_shows_and_its_cells_are_short(path):
    book = nbformat.read(path, as_version=4)
    first = book.cells[0].source
    assert first.startswith("# ")
    assert "**Needs**" in first and "**You will see**" in first
    assert len([cell for cell in code_cells(book) if not is_solution(cell)]) <= 20
    for cell in code_cells(book):
        assert len(without_blanks(cell.source)) <= 10
        assert cell.outputs == []
        functions = [node for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.FunctionDef)]
        assert all(node.end_lineno - node.lineno < 5 for node in functions)


@names
def test_links_between_notebooks_lead_somewhere(path):
    book = nbformat.read(path, as_version=4)
    told = "\n".join(cell.source for cell in book.cells if cell.cell_type == "markdown")
    linked = re.findall(r"\]\(([^)#]+)[^)]*\)", told)
    missing = [link for link in linked if "://" not in link and not (path.parent / link).exists()]
    assert missing == []


@names
def test_an_exercise_stands_below_its_question_and_above_its_folded_solution(path):
    cells = nbformat.read(path, as_version=4).cells
    for number, cell in enumerate(cells):
        for name in asked_in(cell):
            check_exercise(name, *cells[number - 1 : number + 2])


def test_every_exercise_stands_in_one_notebook():
    asked = [name for path in BOOKS for cell in nbformat.read(path, as_version=4).cells for name in asked_in(cell)]
    known = [f"{lesson}.{each.name}" for lesson in lesson_names() for each in exercises_of(lesson)]
    assert sorted(asked) == sorted(known)


def asked_in(cell) -> list[str]:
    """Names of the exercises that a cell asks for the first time."""
    if cell.cell_type != "code" or is_solution(cell):
        return []
    return re.findall(r'exercise\("([^"]+)"\)\.check', cell.source)


def check_exercise(name: str, question, answer, solution) -> None:
    lesson, short = name.split(".")
    found = next(each for each in exercises_of(lesson) if each.name == short)
    assert found.question in question.source, f"{name}: the question above the answer is another"
    assert re.search(r"^answer = \.\.\.$", answer.source, re.M), f"{name}: `answer = ...` is missing"
    # JupyterLab shows the first line of a folded cell: it must not be the answer.
    # It shows the outputs of a folded cell that is run with all others: they must not tell why the answer is right.
    check = f'exercise("{name}").check(answer).passed'
    assert without_blanks(solution.source) == without_blanks(f"# Solution: click to open\n{found.solution}\n{check}")
    assert solution.metadata.get("jupyter") == FOLDED and "solution" in solution.metadata.tags, name


@names
def test_folded_solutions_survive_the_stripping_of_outputs(path):
    book = nbformat.read(path, as_version=4)
    before = [dict(cell.metadata) for cell in book.cells if is_solution(cell)]
    stripped = strip_output(book, keep_output=False, keep_count=False, keep_id=True)
    assert [dict(cell.metadata) for cell in stripped.cells if is_solution(cell)] == before


def code_cells(book) -> list:
    return [cell for cell in book.cells if cell.cell_type == "code"]


def without_blanks(source: str) -> list[str]:
    return [line for line in source.splitlines() if line]


def is_solution(cell) -> bool:
    return "solution" in cell.metadata.get("tags", [])


def trains(book) -> bool:
    return any(re.search(r"\btwist\.(launch|fork|run_many|sweep_classes)\(", cell.source) for cell in code_cells(book))


def shows_a_picture(output) -> bool:
    data = output.get("data", {})
    return "application/vnd.plotly.v1+json" in data or "static copy" in data.get("text/html", "").lower()


def names_of(home: Path) -> set[str]:
    return set(os.listdir(home / "runs")) if (home / "runs").is_dir() else set()
