"""Rows of images as a trait: what is taken, what is refused, what it costs."""

from __future__ import annotations

import time

import numpy as np
import pandas as pd
import pytest
import traitlets

from twist.view.rows import Rows


class View(traitlets.HasTraits):
    rows = Rows()


def test_anything_that_lists_rows_is_taken():
    view = View()
    assert view.rows.dtype == np.int32 and len(view.rows) == 0
    masks = [False, True, False, True], np.array([False, True, False, True]), pd.Series([0, 2, 0, 2]) > 1
    for given in ([3, 1], (3, 1), np.array([3, 1], np.int64), iter([3, 1]), *masks):
        view.rows = given
        assert sorted(view.rows.tolist()) == [1, 3]
    for none in ([], [False, False]):
        view.rows = none
        assert view.rows.tolist() == []
    with pytest.raises(ValueError, match="read-only"):
        View(rows=[1]).rows[0] = 2


@pytest.mark.parametrize("given", [[-1], [0.5], "abc", 7, [[1, 2]], [2**31], None])
def test_what_is_no_list_of_rows_is_refused(given):
    with pytest.raises(traitlets.TraitError):
        View(rows=given)


def test_only_a_change_is_told():
    view, told = View(rows=[1, 2, 3]), []
    view.observe(lambda change: told.append(change["new"].tolist()), "rows")
    view.rows = np.array([1, 2, 3])
    view.rows = [1, 2]
    assert told == [[1, 2]]


def test_a_million_rows_cross_the_wire_in_no_time():
    to_json, from_json = (View.class_traits()["rows"].metadata[name] for name in ("to_json", "from_json"))
    began = time.perf_counter()
    view = View()
    view.rows = from_json(memoryview(to_json(np.arange(1_000_000, dtype=np.int32), None)), None)
    assert view.rows[-1] == 999_999
    assert time.perf_counter() - began < 0.5
