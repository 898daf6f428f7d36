"""A table read in pieces is the table read at once."""

import numpy as np
import pandas as pd

from twist.runs.growing import GrowingTable


def event(step, kind="metrics", **values):
    return {"seq": step, "kind": kind, "crc": "x", "step": step, "attempt": 1, **values}


def at_once(events):
    table = pd.DataFrame([each for each in events if each["kind"] == "metrics"])
    table = table.drop(columns=["seq", "kind", "crc", "nonfinite"], errors="ignore")
    return table.drop_duplicates("step", keep="last").set_index("step").sort_index()


def test_any_cut_gives_the_same_table():
    events = [event(step, **{"a": step / 2, "count": step}) for step in range(1, 9)]
    events[2]["nonfinite"] = {"a": "nan"}
    events[2]["a"] = None
    events[4]["late"] = 7.0
    events.insert(5, event(5, "snapshot", a=1.0))
    events += [event(8, a=-1.0, count=0), event(4, a=-4.0, count=1)]  # written again
    for cut in range(len(events) + 1):
        table = GrowingTable("metrics")
        table.read(events[:cut])
        pd.testing.assert_frame_equal(table.read(events), at_once(events))


def test_nothing_yet_is_an_empty_table_with_the_name_of_its_index():
    table = GrowingTable("metrics").read([event(1, "snapshot")])
    assert table.empty and table.index.name == "step"


def test_what_is_no_number_stays_what_it_is():
    table = GrowingTable("metrics").read([event(1, word="a", flag=True), event(2, word=None, flag=False)])
    assert table["word"].tolist()[0] == "a" and table["flag"].tolist() == [True, False]


def test_a_table_given_away_may_be_changed():
    growing, events = GrowingTable("metrics"), [event(1, a=1.0)]
    first = growing.read(events)
    first["b"] = 2.0
    first.loc[1, "a"] = np.nan
    pd.testing.assert_frame_equal(growing.read(events), at_once(events))
