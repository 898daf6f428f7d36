"""Rows of images as a trait that travels as bytes: fifty thousand of them reach Python in a few milliseconds."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import traitlets


class Rows(traitlets.TraitType[Any, Any]):
    """Rows of the watch images, a read-only int32 array, each 0 or more.

    Set it from anything that lists whole numbers, or from a mask that says of every image whether it is meant.

    Examples
    --------
    >>> class View(traitlets.HasTraits):
    ...     rows = Rows()
    >>> view = View(rows=[5, 2])
    >>> view.rows
    array([5, 2], dtype=int32)
    """

    info_text = "rows of images, whole numbers from 0"

    def __init__(self, **keywords: Any):
        super().__init__(default_value=_frozen(np.zeros(0, np.int32)), **keywords)
        self.tag(sync=True, to_json=_to_wire, from_json=_from_wire)

    def validate(self, obj: Any, value: Any) -> np.ndarray:
        """The rows as an array of our own."""
        try:
            rows = np.asarray(list(value) if not isinstance(value, np.ndarray) else value)
        except (TypeError, ValueError):
            self.error(obj, value)
        if rows.size == 0:
            rows = np.zeros(0, np.int32)
        elif rows.dtype == bool and rows.ndim == 1:
            rows = np.flatnonzero(rows)
        if rows.ndim != 1 or rows.dtype.kind not in "iu":
            self.error(obj, value)
        if rows.size and (rows.min() < 0 or rows.max() > np.iinfo(np.int32).max):
            raise traitlets.TraitError(f"{self.name} holds row {rows.min()}: give rows of images, from 0 on")
        return _frozen(rows.astype(np.int32))

    def set(self, obj: Any, value: Any) -> None:
        """Set the rows; equal ones are no change, which traitlets cannot tell of arrays."""
        new = cast(np.ndarray, self._validate(obj, value))
        kept = obj._trait_values
        old: Any = kept.get(self.name, self.default_value)
        obj._trait_values[self.name] = new
        if not np.array_equal(old, new):
            obj._notify_trait(self.name, old, new)


def _frozen(rows: np.ndarray) -> np.ndarray:
    rows.flags.writeable = False
    return rows


def _to_wire(rows: np.ndarray, _: Any) -> bytes:
    return np.ascontiguousarray(rows, "<i4").tobytes()


def _from_wire(content: Any, _: Any) -> Any:
    """Bytes, or a plain list from a page that has no arrays."""
    return content if isinstance(content, list) else np.frombuffer(bytes(content), "<i4")
