import json

import pytest

from benchmarks.maps import RECORD, blobs


@pytest.fixture(scope="module")
def record():
    return json.loads(RECORD.read_text())


def test_the_quick_map_is_as_trustworthy_as_umap_learn_on_three_sets(record):
    rows = record["trust"]["rows"]
    assert len(rows) == 3
    for row in rows:
        reference = row["umap-learn alone"]["trustworthiness"]
        assert row["quick"]["trustworthiness"] > reference - 0.01, row["set"]
        assert row["map"]["trustworthiness"] > reference - 0.01, row["set"]


def test_a_person_waits_seconds_for_a_map(record):
    large = next(row for row in record["start"]["rows"] if row["points"] == 10_000)
    assert large["preview_s"] <= 6 and large["map_s"] <= 20
    small_frame, large_frame = (row["warm"]["cpu_s"] for row in record["frames"]["rows"])  # on one thread
    assert small_frame <= 0.5 and large_frame <= 2


def test_the_chain_of_frames_is_as_calm_and_as_true_as_that_of_umap_learn(record):
    rows = {row["who"]: row for row in record["aligned"]["rows"]}
    assert rows["chain"]["moved"] < 0.5 * rows["alone"]["moved"]
    assert rows["chain"]["neighbors_kept"] > rows["AlignedUMAP"]["neighbors_kept"] - 0.03
    assert rows["chain"]["cpu_s"] < rows["AlignedUMAP"]["cpu_s"] / 18


def test_the_record_names_no_host(record):
    machine = record["trust"]["machine"]
    assert set(machine) <= {"processor", "cores", "memory_gib", "torch", "python", "load", "gpu"}


def test_features_of_a_network_that_learns_share_their_noise():
    early, late = blobs(50, 4, spread=2.0), blobs(50, 4, spread=1.0)
    assert early - late == pytest.approx(late - blobs(50, 4, spread=0.0), abs=1e-5)
