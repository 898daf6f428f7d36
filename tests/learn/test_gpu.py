"""What only a GPU can show: nothing waits for it, its views and losses are the CPU's, and its speed stays measured."""

import pytest
import torch
from loop import STEPS, attempt

from twist.learn import loop as loops
from twist.learn.views import make_views
from twist.runs.config import ViewsConfig
from twist.runs.launcher import prepare
from twist.runs.record import RunRecord

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device is here"),
]


def recorded(path):
    record = RunRecord(path)
    record.poll()
    return record


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"network.num_heads": 3},
        {"teacher.enabled": True},
        {"self_label.epochs": 1},
        {"record.outputs_every_steps": 100},
    ],
)
def test_no_step_in_the_middle_waits(runs, tiny, monkeypatch, changes):
    step = loops.Loop._train_step

    def strictly(loop):
        # The first steps set up what later ones find ready; the last one is diagnosed, which waits.
        torch.cuda.set_sync_debug_mode("error" if 2 <= loop.step < loop.total_steps - 1 else "default")
        try:
            step(loop)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    monkeypatch.setattr(loops.Loop, "_train_step", strictly)
    path = prepare("digits", name="quiet", changes={**tiny, "record.diagnose_every_steps": 1000, **changes})
    outcome = attempt(path, 1)
    assert outcome["reason"] == "completed", outcome["message"]
    assert len(recorded(path).metrics()) >= STEPS


def test_a_run_is_that_of_the_cpu_to_rounding(runs, tiny):
    tiny |= {"compute.precision": "float32"}
    paths = {name: prepare("digits", name=name, changes={**tiny, "device": name}) for name in ("cpu", "cuda")}
    for path in paths.values():
        assert attempt(path, 1)["reason"] == "completed"
    one, other = (recorded(path).metrics()["train/total"].to_numpy() for path in paths.values())
    assert abs(one[:3] - other[:3]).max() < 1e-2  # later the roundings have grown


def test_a_resumed_run_goes_on_where_it_was(runs, tiny):
    path = prepare("digits", name="stopped", changes=tiny)
    attempt(path, 1, stop_at=5)
    assert attempt(path, 2)["reason"] == "completed"
    assert recorded(path).metrics().index.tolist() == list(range(1, STEPS + 1))


@pytest.mark.parametrize("mode", ["default", "reduce-overhead"])
def test_a_compiled_run_trains(runs, tiny, mode):
    path = prepare("digits", name="fused", changes={**tiny, "compute.compile": mode})
    outcome = attempt(path, 1)
    assert outcome["reason"] == "completed", outcome["message"]
    assert recorded(path).metrics()["train/total"].notna().all()


@pytest.mark.parametrize("color", ["exact", "fast"])
def test_views_are_those_of_the_cpu(color):
    config = ViewsConfig(color=color, blur_probability=(1.0, 0.1), num_local_views=2)
    images = torch.randint(0, 256, (32, 3, 40, 40), dtype=torch.uint8)
    ids = torch.arange(32)
    here = make_views(images, ids, config, seed=0, epoch=0)
    there = make_views(images.cuda(), ids.cuda(), config, seed=0, epoch=0)
    for one, other in zip(here, there, strict=True):
        # Where rounding decides on which side of a threshold a pixel lies, it is inverted or not.
        assert ((one - other.cpu()).abs() < 1e-3).float().mean() > 0.999


def test_views_prepared_ahead_are_those_made_in_time(runs, tiny, monkeypatch):
    from twist.learn.feed import Feed

    totals = []
    for prepared in (True, False):
        if not prepared:
            monkeypatch.setattr(Feed, "prepare", lambda self, step: None)
        path = prepare("digits", name=f"prepared-{prepared}".lower(), changes={**tiny, "compute.precision": "float32"})
        attempt(path, 1)
        totals.append(recorded(path).metrics()["train/total"].to_numpy())
    assert abs(totals[0][:3] - totals[1][:3]).max() < 1e-2
