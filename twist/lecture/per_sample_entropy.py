"""Digits with a secret, and the exercises of 05_per_sample_entropy: easy, torn, mislabeled and meaningless images."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np

from twist.lecture.exercise import Exercise
from twist.lecture.judges import choice, pair_of_run, rows_of

#: How many images are changed in each way.
PLANTED = 20


class PlantedDigits(NamedTuple):
    """Scikit-learn's digits, some of them changed on purpose.

    Attributes
    ----------
    images, labels
        What is handed to training: uint8 ``[1797, 8, 8]`` and int64 ``[1797]``.
    mislabeled
        Rows whose label was changed; their images are as they were.
    torn, partners
        Rows whose image is the mean of two digits of different labels, and the rows of those other digits.
    noise
        Rows whose image is random numbers.
    """

    images: np.ndarray
    labels: np.ndarray
    mislabeled: np.ndarray
    torn: np.ndarray
    partners: np.ndarray
    noise: np.ndarray

    @property
    def kind(self) -> np.ndarray:
        """What was done to every image, as a word."""
        kinds = np.full(len(self.labels), "as it was", dtype="<U10")
        kinds[self.mislabeled], kinds[self.torn], kinds[self.noise] = "mislabeled", "torn", "noise"
        return kinds


@functools.lru_cache(maxsize=1)
def planted_digits() -> PlantedDigits:
    """The digits of this lesson, always the same: 20 mislabeled, 20 torn between two digits, 20 of noise."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images, labels = (digits.images * (255 / 16)).astype(np.uint8), digits.target.astype(np.int64)
    random = np.random.default_rng(0)
    rows = random.choice(len(labels), 3 * PLANTED, replace=False)
    mislabeled, torn, noise = (np.sort(part) for part in np.split(rows, 3))
    partners = np.array([random.choice(np.flatnonzero(labels != labels[row])) for row in torn])
    images[torn] = (images[torn].astype(int) + images[partners]) // 2
    images[noise] = random.integers(0, 256, images[noise].shape)
    labels[mislabeled] = (labels[mislabeled] + random.integers(1, 10, PLANTED)) % 10
    return PlantedDigits(images, labels, mislabeled, torn, partners, noise)


def _least_sure(answer: Any) -> str:
    if (pair := pair_of_run(answer)) is None:
        return "Two things are asked for, the run and the rows: `answer = run, rows`."
    run, rows = pair
    run.record.poll()
    entropy = np.asarray(run.record.snapshot().sample_entropy)
    found = rows_of(rows, len(entropy))
    if len(found) != 40:
        return f"Forty different images are asked for, and these are {len(found)}."
    common = int((entropy[found] >= np.sort(entropy)[-40]).sum())
    return "" if common == 40 else f"{common} of your 40 images are among the 40 of highest entropy."


def _mislabeled(answer: Any) -> str:
    found = rows_of(answer, len(planted_digits().labels))
    if not 1 <= len(found) <= 40:
        return f"Give 1 to 40 different images: these are {len(found)}, and whoever names them all finds nothing."
    hits = int(np.isin(planted_digits().mislabeled, found).sum())
    if hits < 15:
        return f"{hits} of the {PLANTED} changed labels are among your {len(found)} images; find 15 or more."
    return ""


EXERCISES = (
    Exercise(
        name="labels-change",
        question="Twenty labels are wrong. What does that change in the training: 'nothing', 'entropies' (those "
        "images get high entropies), or 'classes' (they end in the class of the wrong label)?",
        judge=choice(
            "nothing",
            {
                "entropies": "How would the network know? Look at which of the three terms a label enters.",
                "classes": "Two views of an image decide its class; look at which of the three terms a label enters.",
            },
        ),
        hint="Write the loss down: consistency + H(Y|X) − H(Y). Where is the label?",
        solution='answer = "nothing"',
        why="No label enters the loss: with the true labels the run would be the same to the last bit. So no entropy "
        "can give a wrong label away by itself; only the label held against what the image looks like can.",
        mistakes=("entropies", "classes", "everything"),
    ),
    Exercise(
        name="least-sure",
        question="Give the run and the rows of the 40 images with the highest entropy, as `answer = run, rows`.",
        judge=_least_sure,
        hint="`entropy.argsort()` orders the rows from the surest to the least sure.",
        solution="answer = run, entropy.argsort()[-40:]",
        why="A question to every image costs one line. What the answers mean is the harder part.",
        mistakes=(("run", []), np.arange(40)),
    ),
    Exercise(
        name="mislabeled",
        question="Find the wrong labels: give at most 40 rows among which are at least 15 of the 20. "
        "`neighbors` holds, for every image, the 15 images whose features are most like its own.",
        judge=_mislabeled,
        hint="What share of an image's neighbors has the same label as itself? `labels[neighbors]` is an array of "
        "1,797 rows and 15 columns.",
        solution="share = (labels[neighbors] == labels[:, None]).mean(1)\nanswer = share.argsort()[:40]",
        why="A wrong label stands alone among its neighbors. Most of the others you named are torn images and noise, "
        "whose labels are not wrong, but mean little.",
        mistakes=(np.arange(40), np.arange(1797), []),
    ),
)
