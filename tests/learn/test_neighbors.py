import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier

from twist.learn import neighbors
from twist.learn.neighbors import knn_accuracy, predict_labels


@pytest.fixture(scope="module")
def digits():
    pixels, labels = load_digits(return_X_y=True)
    pixels, labels = torch.from_numpy(pixels), torch.from_numpy(labels)
    # Shifted rows have no two neighbors at the same distance, where any order would be right.
    pixels = pixels + 0.01 * torch.rand(pixels.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return pixels[:1200], labels[:1200], pixels[1200:], labels[1200:]


@pytest.mark.parametrize("k", [1, 2, 10])
def test_the_labels_are_those_of_scikit_learn(digits, k):
    bank, labels, queries, query_labels = digits
    theirs = KNeighborsClassifier(k, metric="cosine", algorithm="brute").fit(bank.numpy(), labels.numpy())
    found = predict_labels(bank, labels, queries, k=k)
    assert found.tolist() == theirs.predict(queries.numpy()).tolist()
    score = theirs.score(queries.numpy(), query_labels.numpy())
    assert knn_accuracy(bank, labels, queries, query_labels, k=k) == pytest.approx(score, abs=1e-6)


def test_chunks_change_nothing(digits, monkeypatch):
    bank, labels, queries, _ = digits
    whole = predict_labels(bank, labels, queries)
    monkeypatch.setattr(neighbors, "_MOST_SIMILARITIES", 7 * len(bank))
    assert torch.equal(predict_labels(bank, labels, queries), whole)


def test_the_length_of_a_feature_means_nothing(digits):
    bank, labels, queries, _ = digits
    # Powers of two, so that not even the last bit differs.
    lengths = 2.0 ** torch.randint(-4, 5, (len(bank), 1), generator=torch.Generator().manual_seed(1))
    assert torch.equal(predict_labels(bank * lengths, labels, queries), predict_labels(bank, labels, queries))


def test_of_labels_with_equal_votes_the_smallest_wins():
    bank = torch.tensor([[1.0, 0.0], [1.0, 0.2], [1.0, -0.2], [1.0, 0.3]])
    assert predict_labels(bank, torch.tensor([5, 2, 2, 5]), torch.tensor([[1.0, 0.0]]), k=4).item() == 2


@pytest.mark.parametrize("k", [0, 4])
def test_more_neighbors_than_the_bank_has_are_refused(k):
    with pytest.raises(ValueError, match="give 1 to 3, the rows of the bank"):
        predict_labels(torch.eye(3), torch.arange(3), torch.eye(3), k=k)
