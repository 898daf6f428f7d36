"""The loop through all stages and variants: what is recorded, and that every stop goes on exactly."""

import numpy as np
import pytest
import torch
from loop import assert_equal_weights, attempt, weights

from twist.learn import feed
from twist.learn.train import train
from twist.learn.views import make_views
from twist.runs.config import ConfigError, ViewsConfig
from twist.runs.launcher import prepare
from twist.runs.record import RunRecord
from twist.runs.status import read_status

MULTI_CROP = {"views.num_local_views": 2, "views.local_size": 8, "views.crop_scale": (0.4, 1.0)}
SELF_LABEL = {"optim.epochs": 2, "self_label.epochs": 2, "self_label.warmup_epochs": 1}
TEACHER = {"teacher.enabled": True, "network.num_heads": 1}
VARIANTS = {
    "multi-crop": MULTI_CROP,
    "self-labelling": {**MULTI_CROP, **SELF_LABEL},
    "teacher": {**MULTI_CROP, **TEACHER},
    "teacher and self-labelling": {**MULTI_CROP, **SELF_LABEL, **TEACHER},
    "lars and self-labelling": {**SELF_LABEL, "optim.optimizer": "lars", "optim.learning_rate": 0.5},
}
EPOCH = 4  # steps


def recorded(path):
    record = RunRecord(path)
    record.poll()
    return record


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_run_goes_through_and_resumes_exactly_at_every_epoch(variant, runs, tiny):
    tiny |= VARIANTS[variant]
    straight = prepare("digits", name="straight", changes=tiny)
    outcome = attempt(straight, 1)
    assert outcome["reason"] == "completed"
    total = outcome["step"]
    for step in (*range(EPOCH, total, EPOCH), total // 2 + 1):
        path = prepare("digits", name=f"stopped-{step}", changes=tiny)
        assert attempt(path, 1, stop_at=step)["step"] == step
        assert attempt(path, 2)["reason"] == "completed"
        assert_equal_weights(straight, path, step=total)
    metrics = recorded(straight).metrics()
    assert len(metrics) == total and np.isfinite(metrics["train/total"]).all()


def test_the_second_stage_is_told_and_its_share_recorded(runs, tiny):
    path = prepare("digits", name="two-stages", changes={**tiny, **SELF_LABEL})
    attempt(path, 1)
    record = recorded(path)
    assert "(epoch 4.0 of 4)" in str(read_status(path))
    assert record.last("stage")["step"] == 2 * EPOCH and record.last("stage")["name"] == "self_labelling"
    shares = record.metrics()["train/self_label_share"]
    assert shares[: 2 * EPOCH].isna().all() and shares[2 * EPOCH :].between(0.4, 0.6).all()
    rates = record.metrics()["train/learning_rate"]
    assert rates.iloc[2 * EPOCH] == 0  # a warm-up of its own


def test_an_empty_mask_is_a_warning_said_once(runs, tiny):
    tiny |= {**SELF_LABEL, "self_label.quantile": (0.0, 0.0), "self_label.threshold": 1.0}
    path = prepare("digits", name="empty", changes=tiny)
    attempt(path, 1)
    record = recorded(path)
    said = [event["message"] for event in record.events if event["kind"] == "warning"]
    assert sum("no sample of the batch is more confident than 1.000" in message for message in said) == 1
    assert (record.metrics()["train/self_label_share"].dropna() == 0).all()


@pytest.mark.parametrize("stop_at", [None, 2 * EPOCH, 2 * EPOCH + 1])
def test_the_second_stage_has_harder_crops_also_after_a_resume(runs, tiny, monkeypatch, stop_at):
    seen = []

    def watched(images, sample_ids, config, **options):
        seen.append((config.crop_scale, config.local_crop_scale))
        return make_views(images, sample_ids, config, **options)

    monkeypatch.setattr(feed, "make_views", watched)
    tiny |= {**MULTI_CROP, **SELF_LABEL, "self_label.crop_scale": (0.2, 0.9), "self_label.local_crop_scale": (0.1, 0.2)}
    path = prepare("digits", name="crops", changes=tiny)
    attempt(path, 1, stop_at=stop_at)
    if stop_at is not None:
        attempt(path, 2)
    easy = ((0.4, 1.0), (0.05, 0.4))
    assert seen == [easy] * 2 * EPOCH + [((0.2, 0.9), (0.1, 0.2))] * 2 * EPOCH


def test_global_and_local_views_have_their_sizes():
    images = torch.randint(0, 256, (8, 3, 32, 32), dtype=torch.uint8)
    config = ViewsConfig(num_local_views=3, local_size=12)
    views = make_views(images, torch.arange(8), config, seed=0, epoch=0)
    assert [view.shape[-1] for view in views] == [32, 32, 12, 12, 12]


OWN = """
import torch
from torch import nn


class Flat(nn.Module):
    feature_dim = 32

    def __init__(self, in_channels):
        super().__init__()
        self.layer = nn.LazyLinear(32)

    def forward(self, images):
        return self.layer(images.flatten(1)).relu()


def backbone(in_channels):
    net = Flat(in_channels)
    net(torch.zeros(2, in_channels, 16, 16))
    return net


def term(logits, features):
    return features.square().mean()


def darker(view, sample_ids, seed, epoch, number):
    return view - 0.1
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(OWN)
    return {
        "network.backbone": "mine.py:backbone",
        "objective.extra": "mine.py:term",
        "objective.extra_weight": 0.01,
        "views.extra": "mine.py:darker",
    }


def test_a_persons_own_backbone_term_and_augmentation_train_and_stay_with_the_run(runs, tiny, own, tmp_path):
    straight = prepare("digits", name="own", changes={**tiny, **own})
    assert attempt(straight, 1)["reason"] == "completed"
    assert "backbone.layer.weight" in weights(straight)[0]
    assert recorded(straight).metrics()["train/extra"].notna().all()
    path = prepare("digits", name="own-stopped", changes={**tiny, **own})
    attempt(path, 1, stop_at=5)
    (tmp_path / "mine.py").write_text("raise RuntimeError('changed since')")
    assert attempt(path, 2)["reason"] == "completed"
    assert_equal_weights(straight, path)


def test_a_changed_module_of_ones_own_is_a_warning_at_resume(runs, tiny, own, tmp_path, monkeypatch):
    (tmp_path / "mymodule.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    path = prepare("digits", name="module", changes={**tiny, "objective.extra": "mymodule:term"})
    attempt(path, 1, stop_at=5)
    (tmp_path / "mymodule.py").write_text(OWN + "\n# changed since\n")
    attempt(path, 2)
    said = [event["message"] for event in recorded(path).events if event["kind"] == "warning"]
    assert any("not bitwise exact: objective.extra: " in message for message in said)


def test_a_run_never_goes_on_with_another_file_than_it_began_with(runs, tiny, own):
    path = prepare("digits", name="lost", changes={**tiny, **own})
    attempt(path, 1, stop_at=5)
    for copy in (path / "own_code").iterdir():
        copy.unlink()
    assert "bring it back" in attempt(path, 2)["message"]


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("nowhere.py:backbone", "there is no file 'nowhere.py'"),
        ("mine.py:other", "has no function or class 'other'"),
        ("no.such.module:thing", "cannot be loaded"),
        ("broken.py:thing", "cannot be loaded"),
    ],
)
def test_own_code_that_cannot_be_used_is_named(runs, tiny, own, tmp_path, reference, words):
    (tmp_path / "broken.py").write_text("1 / 0")
    with pytest.raises(ConfigError, match=words):
        train(
            "digits", **{name.replace(".", "__"): value for name, value in {**tiny, "views.extra": reference}.items()}
        )
    assert not runs.exists() or list(runs.iterdir()) == []


@pytest.mark.parametrize(
    ("field", "function", "words"),
    [
        ("views.extra", "def own(view, *_): return view[..., 1:]", "return a view of the same shape"),
        ("views.extra", "def own(view, *_): return view.double()", "torch.float64 of"),
        ("views.extra", "def own(view, *_): return None", "views.extra made a NoneType of"),
        ("views.extra", "def own(view): return view", "views.extra failed with TypeError"),
        ("views.extra", "def own(view, *_):\n    raise SystemExit(0)", "SystemExit: 0 (line 2 of "),
        ("objective.extra", "def own(logits, features): return 3.0", "objective.extra returned a float"),
        ("objective.extra", "def own(logits, features): return features", "return one scalar tensor"),
        ("objective.extra", "def own(logits, features): return 1 / 0", "objective.extra failed with ZeroDivisionError"),
        ("objective.extra", "def own(logits, features): return features.mean() / 0", "objective.extra became"),
    ],
)
def test_own_code_that_returns_the_wrong_thing_is_named(runs, tiny, tmp_path, monkeypatch, field, function, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.py").write_text(function)
    path = prepare("digits", name="bad", changes={**tiny, field: "bad.py:own"})
    outcome = attempt(path, 1)
    assert outcome["reason"] == "failed" and words in outcome["message"], outcome["message"]


def test_two_stages_learn_digits_no_worse_than_one(runs):
    """Self-labelling sharpens what was learned; on so short a run it must at least not destroy it."""
    common = {"optim.epochs": 6, "data.max_images": 600, "record.snapshot_every_epochs": 100}
    one = prepare("digits", name="one", changes=common)
    two = prepare(
        "digits",
        name="two",
        changes={**common, "self_label.epochs": 3, "self_label.learning_rate": 1e-3, "self_label.crop_scale": (1, 1)},
    )
    learned = []
    for path in (one, two):
        attempt(path, 1)
        learned.append(recorded(path).metrics()["train/mutual_information"].iloc[-1])
    assert learned[0] > 0.3 and learned[1] >= learned[0] - 0.1
