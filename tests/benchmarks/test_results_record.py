import json
import statistics

import numpy as np
import pytest
import torch

from benchmarks import result_sets, results
from benchmarks.readme import README, rewritten
from benchmarks.result_sets import SETS
from benchmarks.result_tables import BEGIN, END, readme_block
from benchmarks.results import ASKED, FRACTIONS, ProcessorTime, committed, open_goals
from twist.learn.evaluation.sets import evaluation_sets
from twist.learn.evaluation.subsets import share_of_labels
from twist.runs.config import ConfigError, DataConfig
from twist.runs.placeless import without_folders

RECORDS = committed()
NAMES = [record["set"] for record in RECORDS]


def test_the_tables_of_the_readme_are_those_of_the_committed_records():
    text = README.read_text()
    assert rewritten(text, BEGIN, END, readme_block(RECORDS, open_goals())) == text


@pytest.mark.parametrize("record", RECORDS, ids=NAMES)
def test_a_record_holds_every_method_and_protocol_with_three_seeds(record):
    wanted = {
        (method, protocol, fraction)
        for method, protocols in ASKED.items()
        for protocol in protocols
        for fraction in (FRACTIONS[method] if protocol == "finetune" else (None,))
    }
    assert {(row["method"], row["protocol"], row["fraction"]) for row in record["rows"]} == wanted
    assert len(record["seeds"]) >= 3 and len(record["training"]) == len(record["seeds"])
    for row in record["rows"]:
        drawn = row["method"] != "pixels" or row["protocol"] == "kmeans"
        count = len(record["seeds"]) if drawn else 1
        assert all(len(values) == count for values in row["scores"].values())
        for name, values in row["scores"].items():
            assert row["mean"][name] == pytest.approx(statistics.fmean(values), abs=2e-5)
            if count > 1:
                assert row["std"][name] == pytest.approx(statistics.stdev(values), abs=2e-5)
            assert -1 <= min(values) and max(values) <= (1 if not name.endswith("loss") else np.inf)


@pytest.mark.parametrize("record", RECORDS, ids=NAMES)
def test_a_record_says_what_where_and_how_and_no_place_of_a_machine(record):
    text = json.dumps(record)
    assert without_folders(text) == text
    assert record["known"]["fingerprint"] and record["asked"]["fingerprint"] and record["overlap"] is not None
    assert record["changes"] == json.loads(json.dumps(SETS[record["set"]].changes))
    assert all(one["wall_seconds"] > 0 and one["verdict"] for one in record["training"])
    assert record["machine"]["processor"] and record["date"] and record["versions"]["torch"]


@pytest.mark.skipif("digits" not in NAMES, reason="no record of digits yet")
def test_the_lists_of_labels_of_digits_are_drawn_again(tmp_path):
    record = RECORDS[NAMES.index("digits")]
    data, _ = SETS["digits"].make(tmp_path, None)
    known = evaluation_sets(DataConfig(source=data["data.source"]), test=str(tmp_path / "digits-359-test.npz")).known
    assert known.fingerprint == record["known"]["fingerprint"]
    for row in record["rows"]:
        for seed, fingerprint in zip(row["seeds"], row.get("label_lists", ()), strict=False):
            drawn = share_of_labels(known.labels, known.sample_ids, row["fraction"], seed=seed, of=known.fingerprint)
            assert drawn.fingerprint == fingerprint


def test_a_gain_over_the_untrained_net_stands_in_every_record():
    for record in RECORDS:
        knn = {row["method"]: row["mean"]["accuracy_k20"] for row in record["rows"] if row["protocol"] == "knn"}
        assert knn["twist"] > knn["untrained"]


def test_every_set_is_a_recipe_that_can_be(tmp_path):
    for one in SETS.values():
        made = one.recipe_for({}, 3)
        assert made.seed == 3 and one.command.startswith(f"twist train {one.recipe}")


def test_digits_are_split_once_and_for_all(tmp_path):
    data, test = SETS["digits"].make(tmp_path, None)
    with np.load(data["data.source"]) as known, np.load(test) as asked:
        assert (len(known["images"]), len(asked["images"])) == (1438, 359)
        rows = {image.tobytes() for image in known["images"]}
        assert not any(image.tobytes() in rows for image in asked["images"])


def test_cifar_is_read_from_sprites_as_from_batches(tmp_path, shared_data):
    data, test = SETS["cifar10-6000"].make(tmp_path, str(shared_data))
    with np.load(data["data.source"]) as known, np.load(test) as asked:
        assert known["images"].shape == (5000, 32, 32, 3) and asked["images"].shape == (1000, 32, 32, 3)
        assert known["labels"][:5].tolist() == [6, 9, 9, 4, 1] and asked["labels"][:4].tolist() == [3, 8, 8, 0]


def test_a_missing_or_foreign_file_of_cifar_is_said(tmp_path):
    with pytest.raises(ConfigError, match="neither cifar-10-batches-py"):
        SETS["cifar10-6000"].make(tmp_path, str(tmp_path))
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    import pickle

    (folder / "data_batch_1").write_bytes(pickle.dumps(statistics.fmean))
    with pytest.raises(ConfigError, match="asks for statistics.fmean"):
        SETS["cifar10-6000"].make(tmp_path, str(tmp_path))


def test_processor_time_adds_up_over_attempts(tmp_path):
    file = tmp_path / "processor.json"
    file.write_text(json.dumps({"a": {"10": 3.0, "11": 4.5}}))
    times = ProcessorTime(file, [])
    assert times.of("a") == 7.5 and times.of("b") is None


@pytest.fixture
def tiny_set(monkeypatch):
    """A set of 140 random images in colors, whose network and training are a matter of seconds."""

    def make(folder, root):
        pixels = torch.randint(0, 256, (140, 32, 32, 3), generator=torch.Generator().manual_seed(0)).numpy()
        labels = np.arange(140) % 3
        pixels = np.clip(pixels // 2 + 60 * labels[:, None, None, None], 0, 255).astype(np.uint8)
        paths = [
            result_sets._keep(folder / f"tiny-{name}.npz", pixels[part], labels[part], ["a", "b", "c"])
            for name, part in (("train", slice(0, 100)), ("test", slice(100, 140)))
        ]
        return {"data.source": paths[0]}, paths[1]

    gpu = SETS["cifar10-gpu"]
    changes = {
        **gpu.changes,
        "views.size": 8,
        "network.num_classes": 8,
        "network.hidden_dim": 16,
        "optim.epochs": 2,
        "optim.batch_size": 50,
        "optim.warmup_epochs": 1,
        "record.snapshot_every_epochs": 1,
        "record.checkpoint_every_epochs": 1,
    }
    tiny = result_sets.ResultSet("Tiny", gpu.recipe, changes, "Tiny.", make, gpu.goals, (1.0, 30.0, 10.0))
    monkeypatch.setitem(SETS, "tiny", tiny)
    return "tiny"


@pytest.mark.slow
def test_the_command_for_a_gpu_stops_in_time_goes_on_and_writes_a_record(tiny_set, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(results, "FOLDER", tmp_path / "records")
    monkeypatch.setattr(results, "README", tmp_path / "README.md")
    asked = {"twist": ("knn", "classes", "finetune"), "untrained": ("knn",), "supervised": ("supervised",)}
    monkeypatch.setattr(results, "ASKED", {**asked, "pixels": ("knn",)})
    monkeypatch.setattr(results, "FRACTIONS", {"twist": (0.1,)})
    monkeypatch.setenv("TWIST_RUNS", "")
    (tmp_path / "README.md").write_text(f"before\n{BEGIN}\n{END}\nafter\n")
    call = ["results", tiny_set, "--work", str(tmp_path / "work"), "--seeds", "0", "--jobs", "1", "--device", "cpu"]
    monkeypatch.setattr("sys.argv", [*call, "--max-minutes", "0.0001"])
    with pytest.raises(SystemExit) as ended:
        results.main()
    assert ended.value.code == 124
    monkeypatch.setattr("sys.argv", call)
    results.main()
    record = json.loads((tmp_path / "records" / "tiny.json").read_text())
    assert [one["steps"] for one in record["training"]] == [4]
    assert record["network"]["backbone"] == "resnet18" and record["known"]["count"] == 100
    text = (tmp_path / "README.md").read_text()
    assert "**Tiny.**" in text and "the same net, untrained" in text and "by kNN" in text
    assert [(one["seed"], one["step"]) for one in record["way_of_knn"]][-2:] == [(0, 2), (0, 4)]
    first = {json.dumps(row["scores"]) for row in record["rows"]}
    results.main()  # everything is found again
    again = json.loads((tmp_path / "records" / "tiny.json").read_text())
    assert {json.dumps(row["scores"]) for row in again["rows"]} == first
    capsys.readouterr()
