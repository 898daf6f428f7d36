import torch
from torch import nn

from twist.learn.evaluation.features import features_of
from twist.learn.evaluation.sets import evaluation_sets
from twist.learn.image_model import ClassHead, make_model
from twist.learn.preparing import PlainView
from twist.runs.config import DataConfig, ViewsConfig


class Counted(nn.Module):
    """A convolution, averaged, that counts the images it saw."""

    def __init__(self, channels=1):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(channels, 16, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten())
        self.seen = 0

    def forward(self, views):
        self.seen += len(views)
        return self.layers(views)


def tiny(seed=0, classes=5):
    torch.manual_seed(seed)
    head = ClassHead(nn.Linear(64, classes), 0.5, classes) if classes else None
    model = make_model("tiny", "file", Counted(), PlainView(ViewsConfig(size=8), 1), make={}, facts={}, head=head)
    model.net.seen = 0
    return model


def test_features_are_computed_once_for_all_parts_of_a_set(tmp_path):
    model, sets = tiny(), evaluation_sets(DataConfig(source="digits"))
    known = features_of(model, sets.known, cache=tmp_path, batch=600)
    asked = features_of(model, sets.asked, cache=tmp_path)
    assert model.net.seen == 1797 == len(known) + len(asked)
    direct = model.features(sets.asked.images)
    assert torch.allclose(asked.values, direct, atol=1e-6) and torch.equal(asked.labels, sets.asked.labels)
    assert torch.allclose(asked.log_probs, model.log_probs(direct), atol=1e-5)
    assert asked.data == sets.asked.facts and asked.model == {"name": "tiny", **model.facts}
