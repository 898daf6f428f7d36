"""Number formats and compilation: other roundings, the same method, and nothing left behind."""

import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from loop import attempt, weights

from twist.learn import compute
from twist.learn.networks import build_network
from twist.learn.pixels import require_compiler
from twist.runs.attempts import attempt_folder
from twist.runs.config import ConfigError, NetworkConfig, Recipe
from twist.runs.launcher import prepare
from twist.runs.record import RunRecord


def network_and_views():
    torch.manual_seed(0)
    config = NetworkConfig(widths=(8, 16), hidden_dim=32, dropout=0.1)
    network = build_network(config, in_channels=3, seed=0).to(memory_format=torch.channels_last).train()
    return network, [torch.randn(16, 3, 16, 16), torch.randn(16, 3, 16, 16)]


def forbidden():
    raise AssertionError("views were made for a trial that is not needed")


def test_a_cpu_without_matrix_units_stays_in_float32_without_a_trial(monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": False})
    network, _ = network_and_views()
    assert compute.choose_precision("auto", network, torch.device("cpu"), make_views=forbidden) == "float32"


def test_a_format_asked_for_by_name_is_taken(monkeypatch):
    network, _ = network_and_views()
    for name in compute.PRECISIONS:
        assert compute.choose_precision(name, network, torch.device("cpu"), make_views=forbidden) == name


def test_a_cpu_with_matrix_units_takes_what_a_trial_finds_faster(monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True})
    monkeypatch.setattr(compute, "_TRIAL_S", 0.02)
    slow, real = [], compute._pass

    def slower(network, views, dtype):
        real(network, views, dtype)
        if dtype == slow[-1]:
            torch.randn(400, 400) @ torch.randn(400, 4000)

    monkeypatch.setattr(compute, "_pass", slower)
    network, views = network_and_views()
    slow.append(torch.float32)
    assert compute.choose_precision("auto", network, torch.device("cpu"), make_views=lambda: views) == "bfloat16"
    slow.append(torch.bfloat16)
    assert compute.choose_precision("auto", network, torch.device("cpu"), make_views=lambda: views) == "float32"


def test_a_trial_leaves_weights_statistics_and_random_state_as_they_were(monkeypatch):
    monkeypatch.setattr(compute, "_TRIAL_S", 0.01)
    network, views = network_and_views()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    random = torch.get_rng_state()
    compute.try_precisions(network, views)
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert torch.equal(torch.get_rng_state(), random)


def test_a_run_in_bfloat16_keeps_float32_weights_and_says_its_format(runs, tiny):
    path = prepare("digits", name="half", changes={**tiny, "compute.precision": "bfloat16"})
    assert attempt(path, 1, stop_at=6)["reason"] == "stopped"
    assert attempt(path, 2)["reason"] == "completed"
    assert all(value.dtype != torch.bfloat16 for value in weights(path)[0].values())
    record = RunRecord(path)
    record.poll()
    assert record.last("start")["precision"] == "bfloat16"
    said = [event["message"] for event in record.events if event["kind"] == "warning"]
    assert not any("bitwise" in message for message in said)


def test_an_automatic_format_stays_what_it_was_when_a_run_goes_on(runs, tiny, monkeypatch):
    path = prepare("digits", name="auto", changes=tiny)
    monkeypatch.setattr(compute, "choose_precision", lambda name, *_, **__: "bfloat16" if name == "auto" else name)
    attempt(path, 1, stop_at=6)
    monkeypatch.setattr(compute, "choose_precision", lambda name, *_, **__: "float32" if name == "auto" else name)
    attempt(path, 2)
    record = RunRecord(path)
    record.poll()
    assert record.last("start")["precision"] == "bfloat16"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on a CPU")
def test_a_compiled_run_learns_the_same_and_its_checkpoints_are_like_any_other(runs, tiny):
    tiny |= {"optim.epochs": 1, "record.watch_images": 70, "network.num_heads": 2}
    plain, fused = (
        prepare("digits", name=name, changes={**tiny, "compute.compile": name}) for name in ("off", "default")
    )
    attempt(plain, 1)
    attempt_folder(fused, 1).mkdir(parents=True)
    # A process of its own: the tests' type checks and warnings as errors are no code for torch.compile.
    subprocess.run([sys.executable, "-m", "twist.learn.train", str(fused), "1"], check=True, timeout=300)
    assert weights(plain, 4)[0].keys() == weights(fused, 4)[0].keys()
    records = [RunRecord(path) for path in (plain, fused)]
    for record in records:
        record.poll()
    terms = [f"train/{name}" for name in ("consistency", "sharpness", "diversity", "total")]
    one, other = (record.metrics()[terms].to_numpy() for record in records)
    np.testing.assert_allclose(other, one, atol=2e-3)
    assert records[1].last("note")["seconds"] > 0


def test_compilation_without_a_compiler_ends_the_run_in_one_sentence(runs, tiny, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    outcome = attempt(prepare("digits", name="fused", changes={**tiny, "compute.compile": "default"}), 1)
    assert (outcome["kind"], outcome["step"]) == ("config", 0)
    assert "to compile for a CPU takes a C++ compiler and there is no" in outcome["message"]
    require_compiler(torch.device("cuda"))


@pytest.mark.parametrize(("field", "value"), [("precision", "fp16"), ("compile", "fastest")])
def test_an_unknown_word_names_the_ones_that_are_known(field, value):
    with pytest.raises(ConfigError, match=f"compute.{field} is '{value}': give one of"):
        Recipe().replace(**{f"compute__{field}": value})
