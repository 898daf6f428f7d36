import pytest
import synthetic
from pandas.testing import assert_frame_equal

from twist.runs.handle import Run
from twist.runs.histories import epoch_history
from twist.runs.record import RunRecord
from twist.runs.store import write_json
from twist.runs.verdict import verdict


def test_a_handle_tells_histories_and_the_verdict_at_any_step(tmp_path):
    path = synthetic.make_run(tmp_path, "uniform", histories=True)
    run, record = Run(path), RunRecord(path)
    record.poll()
    assert run.verdict.kind == "uniform collapse"
    assert run.verdict_at(7) == verdict(record, 7) and run.verdict_at(7).kind == "too early to say"
    assert run.sample_history(3).index.tolist() == record.snapshot_steps()
    assert run.epoch_history(3).index.tolist() == record.epoch_numbers() != []
    assert_frame_equal(run.epoch_history(3), epoch_history(record, 3))
    assert len(run.sample_traits.flips) == len(record.watch())
    assert run.class_histories.steps.tolist() == record.snapshot_steps()


@pytest.mark.parametrize(
    ("kind", "error", "said"),
    [
        ("error", "OutOfMemoryError", "memory"),
        ("error", "_ArrayMemoryError", "memory"),
        ("error", "ValueError", "error"),
        ("config", "ConfigError", "config"),
        ("vanished", None, "vanished"),
    ],
)
def test_a_failure_for_want_of_memory_is_told_from_other_errors(tmp_path, kind, error, said):
    path = synthetic.make_run(tmp_path)
    end = {"reason": "failed", "kind": kind} | ({"type": error} if error else {})
    write_json(path / "attempts" / "0001" / "end.json", end)
    assert Run(path).failure_kind == said
