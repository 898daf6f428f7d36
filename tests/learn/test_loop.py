"""The loop as a device sees it: nothing waits in the middle, and numbers that come late are complete and in order."""

from collections import Counter

import pytest
import torch
from loop import STEPS, assert_equal_weights, attempt
from torch.utils._python_dispatch import TorchDispatchMode

from twist.learn import loop as loops
from twist.learn import pixels, sweeps, train
from twist.learn.process import Requests
from twist.learn.readings import Readings
from twist.runs.attempts import attempt_folder
from twist.runs.launcher import prepare
from twist.runs.record import RunRecord, RunWriter
from twist.runs.store import step_folder

VARIANTS = {
    "two views": {},
    "color": {"data.source": "color.npz"},
    "fast color": {"data.source": "color.npz", "views.color": "fast"},
    "multi-crop": {"views.num_local_views": 2, "views.local_size": 8},
    "several heads": {"network.num_heads": 3},
    "teacher": {"teacher.enabled": True},
    "self-labelling": {"optim.epochs": 1, "self_label.epochs": 2},
    "lars": {"optim.optimizer": "lars"},
    "clipping": {"optim.clip_norm": 1.0},
}
#: Operators whose result a host needs before it can go on.
WAITS = (
    *("_local_scalar_dense", "item", "nonzero", "masked_select", "equal", "is_nonzero", "unique", "_unique2"),
    "bincount",
)


class CountWaits(TorchDispatchMode):
    """Counts the operators for which a host would wait for its device."""

    def __init__(self):
        super().__init__()
        self.waits = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        by_mask = name in ("index", "index_put_", "index_put") and any(
            each is not None and each.dtype in (torch.bool, torch.uint8) for each in args[1]
        )
        if name in WAITS or by_mask:
            self.waits[name] += 1
        return func(*args, **(kwargs or {}))


@pytest.fixture
def color(tmp_path):
    import numpy as np

    path = tmp_path / "color.npz"
    np.savez(path, images=np.random.default_rng(0).integers(0, 256, (200, 12, 12, 3), dtype=np.uint8))
    return str(path)


def late(monkeypatch):
    """Readings as late as on a GPU."""
    monkeypatch.setattr(loops, "Readings", lambda device: Readings(device, lag=4))


@pytest.mark.parametrize("variant", VARIANTS)
def test_no_step_waits_for_the_device(runs, tiny, monkeypatch, variant, color):
    changes = {**tiny, "record.diagnose_every_steps": 1000, **VARIANTS[variant]}
    if changes.get("data.source") == "color.npz":
        changes |= {"data.source": color, "views.saturation": 0.2, "views.hue": 0.1, "views.gray_probability": 0.2}
        changes |= {"views.blur_probability": (0.5, 0.5), "views.solarize_probability": (0.2, 0.2)}
    late(monkeypatch)
    monkeypatch.setattr(pixels, "_selects", lambda device: False)
    monkeypatch.setattr(sweeps, "_is_read_for_nothing", lambda term: False)
    counted, step = [], loops.Loop._train_step

    def count(loop):
        with CountWaits() as seen:
            step(loop)
        counted.append(dict(seen.waits))

    monkeypatch.setattr(loops.Loop, "_train_step", count)
    assert attempt(prepare("digits", name="counted", changes=changes), 1)["reason"] == "completed"
    assert len(counted) == STEPS
    assert counted[1:-1] == [{}] * (STEPS - 2)  # the first and the last step are diagnosed


@pytest.mark.parametrize("variant", ["several heads", "teacher", "self-labelling"])
def test_a_diagnosis_reads_all_of_its_numbers_at_once(runs, tiny, monkeypatch, variant):
    diagnose, tolist, counted = loops.diagnose, torch.Tensor.tolist, []

    def count(report, recipe):
        lists = []
        with CountWaits() as seen, monkeypatch.context() as patched:
            patched.setattr(torch.Tensor, "tolist", lambda tensor: lists.append(tensor.shape) or tolist(tensor))
            numbers = diagnose(report, recipe)
        counted.append((dict(seen.waits), lists == [(len(numbers),)]))
        return numbers

    monkeypatch.setattr(loops, "diagnose", count)
    monkeypatch.setattr(sweeps, "_is_read_for_nothing", lambda term: False)
    attempt(prepare("digits", name="counted", changes={**tiny, **VARIANTS[variant]}), 1)
    assert counted == [({}, True)] * 5


def test_no_step_copies_the_logits_of_all_heads(runs, tiny, monkeypatch):
    """Nor those of two: what is made is at most as large as one head's."""
    rows, classes, heads, largest = 2 * 50, 10, 4, []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            made = func(*args, **(kwargs or {}))
            if isinstance(made, torch.Tensor):
                largest.append(made.numel())
            return made

    put, pick = loops.Visits.put, loops.StepReport.global_logits.fget

    def watched(function):
        def inside(*args, **options):
            with Watch():
                return function(*args, **options)

        return inside

    monkeypatch.setattr(loops.Visits, "put", watched(put))
    monkeypatch.setattr(loops.StepReport, "global_logits", property(watched(pick)))
    attempt(prepare("digits", name="watched", changes={**tiny, "network.num_heads": heads}), 1)
    assert max(largest) == rows * classes


@pytest.mark.parametrize(("log_every", "steps"), [(1000, [1, 5, 10, 12]), (4, [1, 4, 5, 8, 10, 12])])
def test_what_was_diagnosed_is_logged(runs, tiny, log_every, steps):
    rarely = {"record.log_every_steps": log_every, "record.diagnose_every_steps": 5}
    path = prepare("digits", name="run", changes={**tiny, **rarely})
    attempt(path, 1)
    record = RunRecord(path)
    record.poll()
    metrics = record.metrics()
    assert metrics.index.tolist() == steps
    diagnosed = metrics["train/agreement"].notna()
    assert metrics.index[diagnosed].tolist() == [1, 5, 10, 12]
    # The first step sets up what later ones find ready: a rate, and a time left, of it alone would mislead.
    assert metrics.index[metrics["train/images_per_s"].isna()].tolist() == [1]


def test_the_count_sees_a_wait(runs, tiny, monkeypatch):
    """Negative control."""
    with CountWaits() as seen:
        torch.ones(3).sum().item()
        torch.arange(3)[torch.tensor([True, False, True])]
    assert seen.waits["_local_scalar_dense"] == 1
    assert seen.waits["index"] == 1


def test_readings_that_come_late_are_the_same_and_all_there(runs, tiny, monkeypatch):
    at_once, behind = (prepare("digits", name=name, changes=tiny) for name in ("at-once", "behind"))
    attempt(at_once, 1)
    late(monkeypatch)
    attempt(behind, 1)
    assert_equal_weights(at_once, behind)
    tables = []
    for path in (at_once, behind):
        record = RunRecord(path)
        record.poll()
        tables.append(record.metrics().drop(columns=["train/images_per_s", "clock_s"], errors="ignore"))
    assert tables[0].index.tolist() == list(range(1, STEPS + 1))
    assert tables[0].equals(tables[1])


def test_a_late_reading_that_is_no_number_ends_the_run_before_anything_is_saved(runs, tiny, monkeypatch):
    from twist.learn import checkpoints
    from twist.learn import step as steps

    path = prepare("digits", name="nan", changes={**tiny, "record.diagnose_every_steps": 1000})
    late(monkeypatch)
    loss, calls = steps.twist_loss, []

    def poisoned(logits, **options):
        calls.append(1)
        terms = loss(logits, **options)
        # One call more than steps: the first step is diagnosed.
        return terms._replace(total=terms.total * float("nan")) if len(calls) == 8 else terms

    monkeypatch.setattr(steps, "twist_loss", poisoned)
    outcome = attempt(path, 1)
    assert "became nan at step 7" in outcome["message"]
    assert [folder.name for folder in checkpoints.checkpoint_folders(path)] == [step_folder(4)]


def test_images_a_second_are_those_of_the_steps_between_two_lines(runs, tiny, monkeypatch):
    path = prepare("digits", name="paced", changes={**tiny, "record.log_every_steps": 3})
    attempt_folder(path, 1).mkdir(parents=True)
    clock = iter(range(10_000))
    monkeypatch.setattr(loops.time, "perf_counter", lambda: float(next(clock)))
    loops.Loop(path, RunWriter(path, 1), Requests(path, supervisor=None)).run()
    record = RunRecord(path)
    record.poll()
    rates = record.metrics()["train/images_per_s"].dropna()
    assert (rates > 0).all() and rates.max() <= 3 * 50


def test_a_held_run_whose_folder_is_gone_ends(runs, tiny):
    path = prepare("digits", name="gone", changes=tiny)
    attempt_folder(path, 1).mkdir(parents=True, exist_ok=True)
    requests = Requests(path, supervisor=None)

    def hold(step, total, metrics):
        if step == 3:
            requests.hold = True
            path.rename(path.with_name("elsewhere"))

    outcome, _ = train._attempt(path, 1, requests, hold)
    assert outcome["reason"] == "failed" and outcome["step"] == 3
    assert "the folder of run gone is gone" in outcome["message"]
