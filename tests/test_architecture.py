"""What holds for the whole tree: who may import whom, what no file may contain, one home for the dependency list."""

import ast
import importlib.util
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted((ROOT / "twist").rglob("*.py"))
TRACKED = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()


def modules_of(package):
    folder = ROOT / "twist" / package
    found = [
        "twist." + str(path.relative_to(ROOT / "twist").with_suffix("")).replace("/", ".")
        for path in folder.rglob("*.py")
    ]
    return sorted(name.removesuffix(".__init__") for name in found)


def in_fresh_interpreter(code):
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def loaded_after_importing(modules, suspects):
    return in_fresh_interpreter(
        f"import importlib, sys\nfor name in {modules!r}: importlib.import_module(name)\n"
        f"print(*[name for name in {suspects!r} if name in sys.modules])"
    ).split()


def test_runs_and_view_load_no_torch_and_no_umap():
    modules = modules_of("runs") + modules_of("view")
    assert loaded_after_importing(modules, ["torch", "torchvision", "umap", "numba", "sklearn"]) == []


def test_learn_loads_no_plotting_and_no_widgets():
    suspects = ["plotly", "ipywidgets", "anywidget", "IPython", "umap", "matplotlib"]
    modules = modules_of("learn")
    if importlib.util.find_spec("triton") is None:
        modules.remove("twist.learn.kernels.paired_sweeps")
    assert loaded_after_importing(modules, suspects) == []


def test_importing_twist_loads_nothing_heavy():
    assert loaded_after_importing(["twist", "twist.cli"], ["torch", "pandas", "plotly", "ipywidgets", "umap"]) == []


def test_every_module_of_runs_and_view_is_imported_in_time():
    modules = modules_of("runs") + modules_of("view")
    code = (
        "import time; begin = time.process_time()\n"
        f"import importlib\nfor name in {modules!r}: importlib.import_module(name)\n"
        "print(time.process_time() - begin)"
    )
    seconds = sorted(float(in_fresh_interpreter(code)) for _ in range(3))
    assert seconds[0] <= 1.5, f"importing twist.runs and twist.view takes {seconds} s of processor time"


def test_every_public_verb_has_a_home():
    import twist

    for name in twist.__all__:
        assert getattr(twist, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'lunch'"):
        twist.lunch  # noqa: B018


def calls(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield node, ast.unparse(node.func)


def keyword(call, name):
    return next((ast.unparse(item.value) for item in call.keywords if item.arg == name), None)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_source_can_execute_what_it_reads(path):
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] + [getattr(node, "module", "") or ""]
            assert not {"pickle", "dill", "cloudpickle", "shelve", "marshal"} & set(names), f"{path}:{node.lineno}"
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"{path}:{node.lineno}: bare except"
    for call, name in calls(tree):
        where = f"{path}:{call.lineno}: {name}"
        assert name not in ("eval", "exec", "yaml.load", "os.system"), where
        assert keyword(call, "shell") in (None, "False"), where
        if name == "torch.load":
            assert keyword(call, "weights_only") == "True", where
        if name in ("np.load", "numpy.load"):
            assert keyword(call, "allow_pickle") == "False", where
        if name.endswith(".extractall"):
            assert keyword(call, "filter") is not None, where
        if name == "print":
            assert path.parent.name == "cli", f"{where}: only the command line prints"


def test_no_file_is_named_for_a_heap_of_things():
    assert not [path for path in SOURCES if path.stem in ("utils", "common", "helpers", "misc")]


def test_environment_yml_lists_python_and_the_project_and_nothing_twice():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [line.split("#")[0].rstrip() for line in (ROOT / "environment.yml").read_text().splitlines()]
    entries = [line.strip().removeprefix("- ") for line in lines if line.strip().startswith("- ")]
    assert f"python{project['requires-python']}" in entries
    assert "--editable ." in entries
    assert sorted(entries) == sorted(
        [
            "conda-forge",
            f"python{project['requires-python']}",
            "pip",
            "pip:",
            "--constraint constraints.txt",
            "--editable .",
        ]
    )


def test_the_constraints_pin_every_declared_dependency_and_no_address():
    text = (ROOT / "constraints.txt").read_text()
    assert "://" not in text and "@" not in text
    pinned = {line.split("==")[0].lower().replace("_", "-") for line in text.split() if "==" in line}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    names = {re.split(r"[\[<>=~! ]", entry)[0].lower().replace("_", "-") for entry in declared}
    assert names <= pinned, names - pinned


@pytest.mark.skipif(not TRACKED, reason="this is no git checkout")
def test_no_tracked_file_names_a_machine_or_a_registry():
    index = r"\b(py" r"pi|npm" r"js|python" r"hosted)\.org\b"  # in pieces, or this file would name them
    places = "|".join(re.escape(str(place)) for place in (ROOT, Path.home()) if len(place.parts) > 1)
    hosts = re.compile(f"{index}|{places}", re.I)
    for name in TRACKED:
        path = ROOT / name
        if path.suffix in (".png", ".npz", ".ico") or not path.is_file() or path == Path(__file__).resolve():
            continue
        found = hosts.search(path.read_text(errors="replace"))
        assert not found, f"{name}: {found.group()}"
