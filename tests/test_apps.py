"""The command ``twist app`` before anything is served, and the notebooks that it serves."""

import http.server
import json
import os
import socket
import socketserver
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest
from synthetic import make_run

import twist
from twist.cli import main
from twist.cli.apps import APPS, OF_A_RUN, _answers, notebook_of, port_of
from twist.runs.config import ConfigError


def test_every_app_is_one_cell_of_a_clone():
    notebooks = {path.name for path in (Path(twist.__file__).parents[1] / "apps").glob("*.ipynb")}
    assert notebooks == {notebook_of(name).name for name in APPS} and len(notebooks) == len(APPS)
    for name in APPS:
        book = json.loads(notebook_of(name).read_text("utf-8"))
        (cell,) = book["cells"]
        assert ("TWIST_RUN" in "".join(cell["source"])) == (name in OF_A_RUN)


def test_an_app_without_its_notebook_is_refused():
    with pytest.raises(ConfigError, match=r"apps/nothing\.ipynb is missing"):
        notebook_of("nothing")


@pytest.mark.parametrize(("text", "said"), [("x", "a whole number"), ("-1", "from 1024"), ("70000", "from 1024")])
def test_a_port_that_is_none_is_refused(text, said):
    with pytest.raises(ConfigError, match=said):
        port_of(text)


def test_a_port_that_is_taken_is_refused_and_zero_is_a_free_one():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port {taken} of 127.0.0.1 cannot be had"):
            port_of(str(taken))
        assert port_of("0") not in (0, taken)


def test_a_run_that_is_not_there_and_a_run_for_an_app_of_all_runs_are_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TWIST_RUNS", str(tmp_path))
    make_run(tmp_path, name="here", num_samples=20)
    assert main(["app", "monitor", "gone", "--no-browser"]) == 2
    assert "gone" in capsys.readouterr().err
    assert main(["app", "compare", "here", "--no-browser"]) == 2
    assert "leave 'here' out" in capsys.readouterr().err
    assert main(["app", "compare", "--data", "toy", "--no-browser"]) == 2
    assert "--data toy is for the app lab" in capsys.readouterr().err


def test_a_server_is_found_past_a_proxy_and_not_where_none_answers(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # nobody is there
    with socketserver.TCPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        living = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        assert _answers(f"http://127.0.0.1:{server.server_address[1]}/", living)  # 501 is an answer
        living.communicate()
    assert not _answers("http://127.0.0.1:9/", living)


def test_a_terminated_app_takes_its_server_along(tmp_path, monkeypatch):
    code = (
        "import sys; from twist.cli import apps, main\n"
        "apps.voila_command = lambda *_: [sys.executable, '-c', 'import os; print(os.getpid(), flush=True); input()']\n"
        "main(['app', 'compare', '--no-browser'])"
    )
    app = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "TWIST_RUNS": str(tmp_path)},
    )
    server = psutil.Process(int(app.stdout.readline()))
    app.terminate()
    assert app.wait(20) == 0 and not server.is_running()
    app.communicate()
