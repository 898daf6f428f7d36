import json

from benchmarks.readme import README, rewritten
from benchmarks.zoo import BEGIN, COUNTED, END, FIXED_ON, RECORD, readme_block


def test_the_table_of_the_readme_is_that_of_the_committed_record():
    text, record = README.read_text(), json.loads(RECORD.read_text())
    assert rewritten(text, BEGIN, END, readme_block(record)) == text


def test_the_record_holds_every_setting_with_every_seed():
    rows = json.loads(RECORD.read_text())["rows"]
    pairs = {(name, seed) for name, seed, *_ in rows}
    assert len(pairs) == len(rows) == len({name for name, _ in pairs}) * len(FIXED_ON + COUNTED)
