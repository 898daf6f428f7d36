"""Turns, paced loops and counted memory: what the numbers of the bench rest on."""

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch

from benchmarks.speed.measure import main as measure_main
from benchmarks.speed.memory import highest_sum, peak_bytes
from benchmarks.speed.nets import ModelAlone, Subject, digits, thin_conv
from benchmarks.speed.pace import our_loop
from benchmarks.speed.parts import PARTS
from benchmarks.speed.plot import scaling_svg
from benchmarks.speed.scaling import slope
from benchmarks.speed.turns import Contender, cpu_seconds, take_turns, wall_seconds

ROOT = Path(__file__).resolve().parents[2]


def told(name, log):
    return Contender(
        name, lambda: log.append(name) or 1, lambda: log.append(f"+{name}"), lambda: log.append(f"-{name}")
    )


def test_contenders_alternate_and_the_first_turn_is_dropped():
    log, times = [], iter(range(100))
    rates = take_turns([told("a", log), told("b", log)], repeats=2, clock=lambda: next(times), seconds=0)
    assert log == ["+a", "a", "-a", "+b", "b", "-b"] * 3
    assert rates == {"a": [1, 1], "b": [1, 1]}


def test_a_rate_is_work_over_the_clock():
    ticks = iter([0, 1, 10, 12])
    rates = take_turns([Contender("a", lambda: 6)], repeats=1, clock=lambda: next(ticks), seconds=0)
    assert rates == {"a": [3]}


def test_processor_seconds_pass_while_something_is_computed():
    began = cpu_seconds()
    sum(range(2_000_000))
    assert cpu_seconds() > began
    assert wall_seconds() > 0


@pytest.fixture
def training(tmp_path, monkeypatch):
    """Digits, an epoch of which is four steps."""
    monkeypatch.setenv("TWIST_RUNS", str(tmp_path))
    changes = {**digits().changes, "optim.batch_size": 50, "data.max_images": 200, "optim.epochs": 1}
    return lambda **options: our_loop("digits", changes=changes, **options)


def test_a_paced_loop_takes_exactly_the_steps_it_is_told(training):
    steps = training()
    steps.advance(0)
    assert steps.loop.step == 0 and not steps.over
    assert steps.advance(3) == 3 and steps.loop.step == 3 and not steps.over
    steps.advance(1)
    assert steps.loop.step == 4 and steps.over
    assert steps.advance(5) == 5 and steps.loop.step == 4
    steps.close()


def test_an_error_in_a_paced_loop_is_raised_by_who_told_it_to_go_on(training, monkeypatch):
    steps = training()
    steps.advance(1)
    monkeypatch.setattr(steps.loop, "_train_step", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        steps.advance(1)


@pytest.mark.parametrize("records", [True, False])
def test_the_real_loop_writes_its_record_only_when_asked_for(training, records):
    steps = training(records=records)
    steps.advance(4)
    assert bool(list((steps.loop.path / "snapshots").glob("*"))) == records
    assert bool(list((steps.loop.path / "checkpoints").glob("*"))) == records


def test_the_model_alone_moves_the_weights_of_the_recipes_net():
    model = ModelAlone(
        Subject("thin", "images", {**thin_conv().changes, "optim.batch_size": 4}, 8), torch.device("cpu")
    )
    before = [parameter.clone() for parameter in model.network.parameters()]
    assert model.step() == 1
    moved = [not torch.equal(a, b) for a, b in zip(before, model.network.parameters(), strict=True)]
    assert sum(moved) > len(moved) / 2
    assert [view.shape[2] for view in model.views] == [32, 32]


@pytest.mark.parametrize(
    ("changes", "peak"), [([4, -4, 4], 4), ([4, 4, -8, 4], 8), ([-4, 4], 0), ([], 0), ([1, 2, 3], 6)]
)
def test_peak_memory_is_the_highest_running_sum(changes, peak):
    assert highest_sum(changes) == peak


def test_peak_memory_counts_what_is_alive_at_once_and_nothing_from_before():
    kept = torch.zeros(500_000)
    numbers = 200  # a number is a tensor too
    assert peak_bytes(lambda: kept + 1) == pytest.approx(2_000_000, abs=numbers)
    assert peak_bytes(lambda: [kept + 1 for _ in range(3)]) == pytest.approx(6_000_000, abs=numbers)
    assert peak_bytes(lambda: [(kept + 1).sum() for _ in range(3)]) == pytest.approx(2_000_000, abs=numbers)


@pytest.mark.parametrize("power", [0.0, 1.0, 2.0])
def test_the_slope_of_a_power_law_is_its_exponent(power):
    assert slope([1, 3, 10], [5 * size**power for size in (1, 3, 10)]) == pytest.approx(power)


def test_the_plot_of_the_scaling_is_well_formed_and_has_a_mark_for_every_point():
    picture = scaling_svg(
        {"N < 10": {"sizes": [1, 10], "seconds": [0.1, 1.0]}, "C": {"sizes": [1, 2], "seconds": [1, 1]}}
    )
    tree = ElementTree.fromstring(picture)
    assert sum(element.tag.endswith("circle") for element in tree.iter()) == 4


def test_every_part_names_a_function_that_is_there():
    import importlib

    for part in PARTS.values():
        module, _, function = part.function.partition(":")
        if module != "views":  # needs no peer either, but loads torchvision
            assert callable(getattr(importlib.import_module(f"benchmarks.speed.{module}"), function))


def test_no_part_needs_a_peer_to_be_imported():
    modules = [f"benchmarks.speed.{part.function.partition(':')[0]}" for part in PARTS.values()]
    code = (
        "import importlib, sys\nfor name in ('kornia', 'lightly', 'pytorch_lightning'): sys.modules[name] = None\n"
        f"for name in {['benchmarks.speed.__main__', *modules]!r}: importlib.import_module(name)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_part_that_is_not_there_is_refused(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["measure", "z", "file"])
    with pytest.raises(SystemExit):
        measure_main()
    assert "invalid choice: 'z'" in capsys.readouterr().err
