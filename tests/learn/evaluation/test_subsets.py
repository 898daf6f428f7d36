import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from twist.learn.evaluation.subsets import read_subset, share_of_labels, some_of_each_label, write_subset
from twist.runs.config import ConfigError

LABELS = st.lists(st.integers(-1, 4), min_size=1, max_size=60).filter(lambda labels: max(labels) >= 0)
SHARES = st.floats(0.005, 1.0)


@settings(max_examples=60, deadline=None)
@given(LABELS, SHARES, st.integers(0, 2**31))
def test_every_label_has_the_same_number_or_all_it_has_and_one_at_least(labels, share, seed):
    labels = torch.tensor(labels)
    subset = share_of_labels(labels, torch.arange(len(labels)), share, seed=seed)
    there = {label: int((labels == label).sum()) for label in labels[labels >= 0].unique().tolist()}
    assert subset.counts.keys() == there.keys()
    most = max(subset.counts.values())
    assert all(count == min(most, there[label]) and count >= 1 for label, count in subset.counts.items())
    taken = labels[torch.tensor(subset.sample_ids)]
    assert {label: int((taken == label).sum()) for label in taken.unique().tolist()} == subset.counts


@settings(max_examples=60, deadline=None)
@given(LABELS, SHARES, SHARES, st.integers(0, 2**31))
def test_a_smaller_share_lies_within_a_larger_one_and_all_holds_every_label(labels, one, other, seed):
    labels, ids = torch.tensor(labels), torch.arange(len(labels))
    small, large = (set(share_of_labels(labels, ids, share, seed=seed).sample_ids) for share in sorted((one, other)))
    assert small <= large <= set(share_of_labels(labels, ids, 1.0, seed=seed).sample_ids)
    assert share_of_labels(labels, ids, 1.0, seed=seed).sample_ids == tuple(ids[labels >= 0].tolist())


@settings(max_examples=40, deadline=None)
@given(LABELS, SHARES, st.randoms(use_true_random=False))
def test_the_order_of_the_images_means_nothing(labels, share, chance):
    ids = [7 * number + 3 for number in range(len(labels))]
    pairs = list(zip(labels, ids, strict=True))
    chance.shuffle(pairs)
    mixed_labels, mixed_ids = map(torch.tensor, zip(*pairs, strict=True))
    plain = share_of_labels(torch.tensor(labels), torch.tensor(ids), share, seed=5)
    mixed = share_of_labels(mixed_labels, mixed_ids, share, seed=5)
    assert plain == mixed
    assert mixed_ids[mixed.rows(mixed_ids)].tolist() == list(plain.sample_ids)


def test_another_seed_is_another_draw_and_every_image_may_be_drawn():
    labels, ids = torch.zeros(40, dtype=torch.int64), torch.arange(40)
    draws = [some_of_each_label(labels, ids, 4, seed=seed).sample_ids for seed in range(80)]
    assert len(set(draws)) > 70
    assert {sample for draw in draws for sample in draw} == set(range(40))


def test_a_label_of_one_image_gives_it_and_is_named():
    subset = some_of_each_label(torch.tensor([3] * 9 + [5]), torch.arange(10), 4, seed=0)
    assert subset.counts == {3: 4, 5: 1}
    assert subset.notes == ("labels with fewer than 4 images give all they have: 5 (1)",)


def test_one_percent_of_a_small_set_still_takes_one_of_each_label_and_says_so():
    subset = share_of_labels(torch.arange(10).repeat(6), torch.arange(60), 0.01, seed=0)
    assert subset.counts == dict.fromkeys(range(10), 1)
    assert "one of each label is taken, 17 %" in subset.notes[0]


def test_a_list_is_read_back_as_it_was_written(tmp_path):
    subset = share_of_labels(torch.tensor([0, 0, 2, 2, 2, -1]), torch.arange(6) + 10, 0.5, seed=3, of="abcd")
    write_subset(tmp_path / "list.json", subset)
    assert read_subset(tmp_path / "list.json") == subset
    assert len(subset) == 2 and subset.available == 5


def test_a_changed_or_broken_list_is_refused(tmp_path):
    path = tmp_path / "list.json"
    write_subset(path, share_of_labels(torch.tensor([0, 1]), torch.arange(2), 1.0, seed=0))
    facts = json.loads(path.read_text())
    path.write_text(json.dumps({**facts, "sample_ids": [0]}))
    with pytest.raises(ConfigError, match="differs from its checksum"):
        read_subset(path)
    path.write_text(json.dumps({**facts, "schema": 99}))
    with pytest.raises(ConfigError, match="newer twist"):
        read_subset(path)
    path.write_text("[]")
    with pytest.raises(ConfigError, match="no readable list"):
        read_subset(path)
    with pytest.raises(ConfigError, match="no readable list"):
        read_subset(tmp_path / "none.json")


def test_images_that_the_set_lacks_are_named():
    subset = share_of_labels(torch.tensor([0, 1]), torch.tensor([4, 9]), 1.0, seed=0, of="abcd")
    with pytest.raises(ConfigError, match=r"names 1 images that this set lacks, sample 9 first.*abcd"):
        subset.rows(torch.tensor([4, 5]))


@pytest.mark.parametrize("share", [0, -1, 1.5, float("nan")])
def test_a_share_out_of_range_is_refused(share):
    with pytest.raises(ConfigError, match="above 0, and at most 1"):
        share_of_labels(torch.tensor([0]), torch.tensor([0]), share, seed=0)


def test_labels_that_are_all_unknown_and_ids_that_repeat_are_refused():
    with pytest.raises(ConfigError, match="no image has a label"):
        share_of_labels(torch.tensor([-1, -1]), torch.arange(2), 0.5, seed=0)
    with pytest.raises(ConfigError, match="sample ids repeat"):
        share_of_labels(torch.tensor([0, 1]), torch.zeros(2, dtype=torch.int64), 0.5, seed=0)
    with pytest.raises(ConfigError, match="give 1 or more"):
        some_of_each_label(torch.tensor([0]), torch.tensor([0]), 0, seed=0)
