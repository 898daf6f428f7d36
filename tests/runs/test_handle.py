import synthetic

from twist.runs.handle import Run
from twist.runs.record import RunRecord
from twist.runs.verdict import verdict


def test_a_handle_tells_histories_and_the_verdict_at_any_step(tmp_path):
    path = synthetic.make_run(tmp_path, "uniform", histories=True)
    run, record = Run(path), RunRecord(path)
    record.poll()
    assert run.verdict.kind == "uniform collapse"
    assert run.verdict_at(7) == verdict(record, 7) and run.verdict_at(7).kind == "too early to say"
    assert run.sample_history(3).index.tolist() == record.snapshot_steps()
    assert len(run.sample_traits.flips) == len(record.watch())
    assert run.class_histories.steps.tolist() == record.snapshot_steps()
