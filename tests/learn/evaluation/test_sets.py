"""Known and asked images: who is on which side, and that everything left out or renumbered is said."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from twist.learn.evaluation.hashes import pixel_hashes, row_hashes
from twist.learn.evaluation.holdout import hold_out
from twist.learn.evaluation.leaks import copies, leaks_between
from twist.learn.evaluation.sets import LabeledSet, evaluation_sets, load_labeled
from twist.runs.config import ConfigError, DataConfig


def pixels(count, seed=0, side=6, channels=()):
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, *channels), np.uint8)


def npz(path, images, labels=None, names=None):
    arrays = {"images": images}
    if labels is not None:
        arrays["labels"] = np.asarray(labels)
    if names is not None:
        arrays["label_names"] = np.array(names)
    np.savez(path, **arrays)
    return DataConfig(source=str(path))


def folder_of(path, labels, names, seed=0):
    for row, (image, label) in enumerate(zip(pixels(len(labels), seed), labels, strict=True)):
        (path / names[label]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path / names[label] / f"{row:03d}.png")
    return path


# ---------------------------------------------------------------------------------------------------------------------
# Hold-out


tables = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 60)), min_size=1, max_size=80)


@given(tables, st.integers(0, 5))
@settings(max_examples=150, deadline=None)
def test_a_hold_out_parts_the_images_and_leaves_no_copy_on_both_sides(rows, seed):
    labels = torch.tensor([label for label, _ in rows])
    hashes = np.array([picture for _, picture in rows], np.uint64)
    known, asked = hold_out(labels, hashes, seed=seed)
    assert sorted([*known.tolist(), *asked.tolist()]) == list(range(len(rows)))
    assert not set(hashes[known.numpy()].tolist()) & set(hashes[asked.numpy()].tolist())
    for label in set(labels.tolist()):
        if len(set(hashes[labels.numpy() == label].tolist())) == 1 == int((labels == label).sum()):
            alone = hashes[labels.numpy() == label][0]
            if (hashes == alone).sum() == 1:
                assert label in labels[known].tolist()  # a label of one image stays known


@given(tables, st.integers(0, 5), st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None)
def test_the_hold_out_depends_on_the_images_and_not_on_their_order(rows, seed, random):
    shuffled = list(rows)
    random.shuffle(shuffled)
    sides = []
    for order in (rows, shuffled):
        labels, hashes = torch.tensor([one[0] for one in order]), np.array([one[1] for one in order], np.uint64)
        _, asked = hold_out(labels, hashes, seed=seed)
        sides.append(sorted(order[row] for row in asked.tolist()))
    assert sides[0] == sides[1]


@given(st.integers(2, 400), st.integers(0, 3))
@settings(max_examples=50, deadline=None)
def test_a_fifth_of_every_label_is_asked(count, seed):
    labels = torch.arange(count) % 2
    hashes = row_hashes(torch.arange(count, dtype=torch.float32)[:, None])
    _, asked = hold_out(labels, hashes, seed=seed)
    for label in (0, 1):
        wanted, of_label = round(0.2 * int((labels == label).sum())), int((labels[asked] == label).sum())
        assert of_label == (max(1, wanted) if (labels == label).sum() > 1 else 0)


def test_another_seed_asks_other_images_and_the_same_seed_the_same():
    sides = [set(evaluation_sets(DataConfig(), seed=seed).asked.sample_ids.tolist()) for seed in (0, 0, 1)]
    assert sides[0] == sides[1] != sides[2] and len(sides[0] & sides[2]) < 0.4 * len(sides[0])


# ---------------------------------------------------------------------------------------------------------------------
# Sets


def test_a_set_without_test_part_is_parted_by_label_and_says_so():
    sets = evaluation_sets(DataConfig())
    assert len(sets.known) + len(sets.asked) == 1797
    shares = torch.bincount(sets.asked.labels) / (torch.bincount(sets.known.labels) + torch.bincount(sets.asked.labels))
    assert (shares - 0.2).abs().max() < 0.01
    assert sets.how.startswith("digits has no test part: 359 of its 1,797 images")
    assert sets.known.whole is sets.asked.whole and sets.known.fingerprint != sets.asked.fingerprint
    assert torch.equal(sets.known.whole.images[sets.known.rows], sets.known.images)
    assert sets.known.facts["split"] == "80 % (seed 0)" and sets.asked.facts["count"] == 359
    assert not set(sets.known.hashes.tolist()) & set(sets.asked.hashes.tolist())


def test_a_named_set_with_a_test_part_is_asked_about_it(shared_data):
    data = DataConfig(source="fashion_mnist", root=str(shared_data), max_images=3000)
    sets = evaluation_sets(data, max_images=2000)
    assert (len(sets.known), len(sets.asked), sets.known.split, sets.asked.split) == (2000, 2000, "train", "test")
    assert sets.known.whole is None and sets.how == (
        "2,000 train images of fashion_mnist known, 2,000 test images of fashion_mnist asked."
    )
    learned = evaluation_sets(DataConfig(source="fashion_mnist", root=str(shared_data), split="all", max_images=100))
    assert len(learned.asked) == 10_000 and "were learned from, without labels" in learned.how


def test_a_folder_with_parts_is_asked_about_its_test_part(tmp_path):
    names = ["bird", "cat", "dog"]
    folder_of(tmp_path / "train", [0, 0, 1, 1, 2, 2, 2], names)
    folder_of(tmp_path / "test", [0, 1, 2], names, seed=1)
    sets = evaluation_sets(DataConfig(source=str(tmp_path)))
    assert (len(sets.known), len(sets.asked)) == (7, 3)
    assert sets.known.label_names == sets.asked.label_names == names
    assert sorted(sets.asked.labels.tolist()) == [0, 1, 2]


def test_labels_of_two_sources_are_matched_by_name_and_strangers_are_left_out(tmp_path):
    folder_of(tmp_path / "one", [0, 0, 1, 1, 2, 2], ["bird", "cat", "dog"])
    folder_of(tmp_path / "two", [0, 0, 1, 1, 1, 2], ["ant", "bird", "dog"], seed=1)
    sets = evaluation_sets(DataConfig(source=str(tmp_path / "one")), test=str(tmp_path / "two"))
    assert sets.known.label_names == ["bird", "cat", "dog"] == sets.asked.label_names
    assert sorted(sets.asked.labels.tolist()) == [0, 0, 0, 2]
    assert "matched by name: 2 are in both" in sets.how
    assert "2 asked images are left out, as no known image has their label (ant)." in sets.how
    assert "6 images of one known, 4 images of two asked" in sets.how
    with pytest.raises(ConfigError, match="have none in common"):
        folder_of(tmp_path / "three", [0, 1, 1], ["x", "y"])
        evaluation_sets(DataConfig(source=str(tmp_path / "one")), test=str(tmp_path / "three"))


def test_labels_with_gaps_are_numbered_anew_and_unknown_ones_are_left_out(tmp_path):
    labels = np.array([3] * 10 + [7] * 10 + [-1] * 5 + [9] * 10)
    sets = evaluation_sets(npz(tmp_path / "gaps.npz", pixels(35), labels))
    assert sets.known.label_names == ["3", "7", "9"] == sets.asked.label_names
    assert (
        torch.bincount(sets.known.labels).tolist() == [8, 8, 8]
        and torch.bincount(sets.asked.labels).tolist() == [2] * 3
    )
    assert "3 of 10 labels occur among the known images: labels are numbered anew." in sets.how
    assert "5 of the 35 known images have no label and are left out." in sets.how
    # The very images: what was a label of the source is one still.
    whole = load_labeled(DataConfig(source=str(tmp_path / "gaps.npz")))
    assert [whole.labels[row].item() for row in sets.asked.sample_ids] == [
        int(sets.asked.label_names[label]) for label in sets.asked.labels
    ]
    assert torch.equal(whole.images[sets.asked.sample_ids], sets.asked.images[torch.arange(len(sets.asked))])


def test_a_label_of_one_image_stays_known_and_this_is_said(tmp_path):
    sets = evaluation_sets(npz(tmp_path / "one.npz", pixels(21), [0] * 10 + [1] * 10 + [2]))
    assert 2 in sets.known.labels.tolist() and 2 not in sets.asked.labels.tolist()
    assert "1 label has one image, which is known: it cannot be asked." in sets.how
    assert sets.asked.num_labels == 3


@pytest.mark.parametrize(
    "labels, said",
    [
        (None, "has no labels, so nothing can be scored"),
        ([-1] * 6, "has no labels, so nothing can be scored"),
        ([4] * 6, "with one label there is nothing to tell apart"),
        ([0, 1, 2, 3, 4, 5], "none can be held out"),
    ],
)
def test_a_set_that_cannot_be_asked_is_refused_with_the_fix(tmp_path, labels, said):
    with pytest.raises(ConfigError, match=said):
        evaluation_sets(npz(tmp_path / "set.npz", pixels(6), labels))


@pytest.mark.parametrize("options", [{"seed": -1}, {"max_images": 1}, {"test": "no-such-set"}])
def test_what_cannot_be_is_refused(options):
    with pytest.raises(ConfigError):
        evaluation_sets(DataConfig(), **options)


def test_few_labels_among_many_images_stand_alone_so_that_the_others_cost_nothing(tmp_path):
    labels = np.full(60, -1)
    labels[:20] = np.arange(20) % 2
    sets = evaluation_sets(npz(tmp_path / "few.npz", pixels(60), labels))
    assert len(sets.known.whole) == 20


def test_images_that_are_decoded_as_needed_can_be_parted(tmp_path):
    folder_of(tmp_path, [row % 3 for row in range(30)], ["a", "b", "c"])
    kept = evaluation_sets(DataConfig(source=str(tmp_path), keep="memory"))
    read = evaluation_sets(DataConfig(source=str(tmp_path), keep="decode"))
    assert torch.equal(kept.asked.images, read.asked.images[torch.arange(len(read.asked))])
    assert kept.asked.fingerprint == read.asked.fingerprint and len(read.asked.images[:2]) == 2


# ---------------------------------------------------------------------------------------------------------------------
# Copies


def labeled(images, labels, split="all"):
    names = [str(label) for label in range(10)]
    return LabeledSet(images, labels, names, torch.arange(len(images)), "test", split, split)


def test_the_hash_of_an_image_depends_on_its_pixels_alone():
    images = torch.from_numpy(pixels(50)[:, None])
    hashes = pixel_hashes(images)
    assert len(set(hashes.tolist())) == 50 and hashes.dtype == np.uint64
    order = torch.randperm(50, generator=torch.Generator().manual_seed(0))
    assert np.array_equal(pixel_hashes(images[order]), hashes[order.numpy()])
    assert np.array_equal(pixel_hashes(images.expand(-1, 3, -1, -1)), hashes)  # gray, stored as color
    changed = images.clone()
    changed[3, 0, 5, 5] ^= 1
    assert (pixel_hashes(changed) != hashes).nonzero()[0].tolist() == [3]
    color = torch.from_numpy(pixels(20, channels=(3,))).permute(0, 3, 1, 2)
    assert len({*pixel_hashes(color).tolist(), *pixel_hashes(color.flip(1)).tolist()}) == 40
    flat = torch.zeros(1, 1, 4, 9, dtype=torch.uint8)
    assert pixel_hashes(flat)[0] != pixel_hashes(flat.reshape(1, 1, 6, 6))[0]
    assert len(pixel_hashes(images[:0])) == 0


@given(tables, tables)
@settings(max_examples=150, deadline=None)
def test_copies_are_those_that_a_look_at_every_pair_finds(known, asked):
    sides = [
        (np.array([one[1] for one in rows], np.uint64), torch.tensor([one[0] for one in rows]))
        for rows in (known, asked)
    ]
    found = copies(*sides[0], *sides[1])
    expected = [row for row, (_, picture) in enumerate(asked) if any(picture == other for _, other in known)]
    assert found.rows.tolist() == expected and found.count == len(expected)
    assert found.share == len(expected) / len(asked)
    for row, twin in zip(found.rows.tolist(), found.known_rows.tolist(), strict=True):
        assert next(place for place, one in enumerate(known) if one[1] == asked[row][1]) == twin
    assert found.other_label == sum(tuple(asked[row]) not in set(known) for row in expected)
    assert found.known_copies == len(known) - len({picture for _, picture in known})
    assert found.asked_copies == len(asked) - len({picture for _, picture in asked})


def test_copies_are_found_between_the_sides_and_told_in_words():
    images, labels = torch.from_numpy(pixels(100)[:, None]), torch.arange(100) % 10
    known = labeled(torch.cat([images[:60], images[:1]]), torch.cat([labels[:60], labels[:1]]), "train")
    asked = labeled(images[50:], labels[50:], "test")
    found = leaks_between(known, asked)
    assert (found.count, found.share, found.known_copies, found.asked_copies) == (10, 0.2, 1, 0)
    assert found.known_rows.tolist() == list(range(50, 60)) and found.other_label == 0
    assert str(found) == (
        "10 asked images (20 %) also stand among the known ones, 1 known image repeats another known one, "
        "pixel by pixel"
    )
    assert found.facts["count"] == 10
    clean = leaks_between(labeled(images[:50], labels[:50]), asked)
    assert clean.count == 0 and str(clean) == "no image stands twice, by its pixels"
