"""What a scatter sends to a browser: positions, colors and further columns of any data, checked and made bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from twist.runs.config import ConfigError
from twist.view.theme import RAMP, SIGNED_RAMP, class_colors

MOST_POINTS = 2_000_000
MOST_CATEGORIES = 1000
_ASPECT = 1.7  # width to height of the drawn square when each axis has its own scale
_MISSING = 65535  # code of a point without a category


class Frame(NamedTuple):
    """How data lie on the scale of -1 to 1 that the browser draws: ``(data - center) * scale``, by axis."""

    center: np.ndarray
    scale: np.ndarray

    @classmethod
    def around(cls, xy: np.ndarray, *, equal: bool) -> Frame:
        """The frame that just holds finite positions ``[..., 2]``, both axes scaled alike or each for itself."""
        flat = xy.reshape(-1, 2)
        flat = flat[np.isfinite(flat).all(axis=1)]
        if not len(flat):
            return cls(np.zeros(2), np.ones(2))
        low, high = flat.min(axis=0), flat.max(axis=0)
        span = np.full(2, (high - low).max()) if equal else (high - low) / [_ASPECT, 1]
        return cls((low + high) / 2, 2 / np.where(span > 0, span, 1))

    def place(self, xy: np.ndarray) -> bytes:
        """Positions on the drawn scale as float32 bytes; where either axis is not finite, both are NaN."""
        with np.errstate(invalid="ignore", over="ignore"):
            placed = ((xy - self.center) * self.scale).astype("<f4")
        placed[~np.isfinite(placed).all(axis=-1)] = np.nan
        return placed.tobytes()

    def table(self) -> dict[str, list[float]]:
        """The frame as plain numbers."""
        return {"center": self.center.tolist(), "scale": self.scale.tolist()}


def positions(x: Any, y: Any = None, *, name: str = "xy") -> np.ndarray:
    """Positions float64 ``[N, 2]`` from one array of that shape, or from two columns.

    Raises
    ------
    ConfigError
        When the shapes are others, the values are no numbers, or there are too many points.
    """
    if y is None:
        xy = _numbers(x, name)
        if xy.ndim == 1 and not xy.size:
            xy = xy.reshape(0, 2)
        if xy.ndim != 2 or xy.shape[1] != 2:
            raise ConfigError(
                f"{name} has shape {xy.shape}: pass an array of shape [N, 2], or x and y of N numbers each"
            )
    else:
        columns = _numbers(x, "x"), _numbers(y, "y")
        if columns[0].ndim != 1 or columns[0].shape != columns[1].shape:
            shapes = f"{columns[0].shape} and {columns[1].shape}"
            raise ConfigError(f"x and y have shapes {shapes}: pass N numbers each, or one array of shape [N, 2]")
        xy = np.stack(columns, axis=1)
    if len(xy) > MOST_POINTS:
        raise ConfigError(
            f"{name} has {len(xy):,} points: the scatter holds up to {MOST_POINTS:,}; pass a sample of them"
        )
    return xy


def layouts(frames: Any) -> np.ndarray:
    """Positions of T frames, float32 ``[T, N, 2]``.

    Raises
    ------
    ConfigError
        When the shape is another, or the values are no numbers.
    """
    xy = np.asarray(frames)
    if xy.dtype.kind not in "fiub" or xy.ndim != 3 or xy.shape[2] != 2 or not xy.shape[0]:
        raise ConfigError(f"frames has shape {xy.shape} of {xy.dtype}: pass numbers of shape [T, N, 2] with T from 1")
    if xy.shape[1] > MOST_POINTS or xy.size > 16 * MOST_POINTS:
        raise ConfigError(
            f"frames holds {xy.shape[0]} x {xy.shape[1]:,} points: keep fewer frames, or a sample of points"
        )
    return xy


def coloring(color: Any, count: int, *, name: str, names: Sequence[str] | None, unit: str) -> dict[str, Any]:
    """The coloring of N points: categories (text, truth values, whole numbers) or numbers along a ramp.

    Parameters
    ----------
    color
        N values, or None. Whole numbers are categories when ``names`` is given or they are at most 64 different ones.
    name
        What the values are, for the legend; none means the name that a pandas column brings.
    names
        Names of the categories 0, 1, …
    unit
        Unit of numbers.

    Raises
    ------
    ConfigError
        When there are other than N values, or too many categories.
    """
    if color is None:
        return {"kind": "none", "name": "", "palette": [class_colors(1)[0]]}
    values = np.asarray(color)
    name = name or str(getattr(color, "name", None) or "color")
    _check_length(values, count, "color")
    if values.dtype.kind == "f" or (values.dtype.kind in "iu" and names is None and len(np.unique(values)) > 64):
        if names is not None:
            raise ConfigError(f"names names categories, but color has dtype {values.dtype}: pass whole numbers or text")
        return _numbers_coloring(values.astype("<f4"), name, unit)
    if values.dtype.kind in "OUSTb" or values.dtype.kind in "iu":
        return _categories_coloring(values, name, names)
    raise ConfigError(f"color has dtype {values.dtype}: pass numbers, text or truth values")


def palette_indices(table: dict[str, Any], count: int) -> tuple[np.ndarray, list[str]]:
    """Index into the palette of every point of a coloring (-1 where a value is not finite), and the palette."""
    palette = table["palette"]
    if table["kind"] == "none":
        return np.zeros(count, np.int64), palette
    if table["kind"] == "categories":
        return np.frombuffer(table["codes"], "<u2").astype(np.int64), palette
    values = np.frombuffer(table["values"], "<f4").astype(np.float64)
    share = (values - table["low"]) / ((table["high"] - table["low"]) or 1)
    shade = np.round(np.clip(np.nan_to_num(share), 0, 1) * (len(palette) - 1))
    return np.where(np.isfinite(values), shade, -1).astype(np.int64), palette


def _numbers_coloring(values: np.ndarray, name: str, unit: str) -> dict[str, Any]:
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    signed = low < 0 < high
    if signed:  # zero is in the middle, where the ramp has no hue
        low, high = -max(-low, high), max(-low, high)
    kind = {"kind": "numbers", "name": name, "unit": unit, "low": low, "high": high, "signed": signed}
    return {**kind, "values": values.tobytes(), "palette": SIGNED_RAMP if signed else RAMP}


def _categories_coloring(values: np.ndarray, name: str, names: Sequence[str] | None) -> dict[str, Any]:
    codes, words = _factorize(values)
    if names is not None:
        if values.dtype.kind not in "iu":
            raise ConfigError(
                f"names names whole numbers, but color has dtype {values.dtype}: pass codes, or leave it out"
            )
        if len(values) and (values.min() < -1 or values.max() >= len(names)):
            worst = int(values.max()) if values.max() >= len(names) else int(values.min())
            raise ConfigError(
                f"color holds {worst}: with {len(names)} names pass 0 to {len(names) - 1}, or -1 for none"
            )
        codes, words = values.astype(np.int64), [str(word) for word in names]
    elif values.dtype.kind in "iu" and values.size and 0 <= values.min() and values.max() < MOST_CATEGORIES:
        codes, words = (
            values.astype(np.int64),
            [str(k) for k in range(int(values.max()) + 1)],
        )  # a class keeps its color
    if len(words) > MOST_CATEGORIES:
        raise ConfigError(
            f"color has {len(words):,} categories: at most {MOST_CATEGORIES:,} can be told apart in a list; "
            "pass numbers, or group the rare ones"
        )
    counts = np.bincount(codes[codes >= 0], minlength=len(words))
    known = {"kind": "categories", "name": name, "names": words, "counts": counts.tolist()}
    codes = np.where(codes < 0, _MISSING, codes)
    return {**known, "codes": codes.astype("<u2").tobytes(), "palette": class_colors(len(words))}


def further_columns(columns: Mapping[str, Any] | None, count: int) -> list[dict[str, Any]]:
    """Columns that the card of a point shows besides its color.

    Raises
    ------
    ConfigError
        When one has other than N values.
    """
    found: list[dict[str, Any]] = []
    for name, column in (columns or {}).items():
        values = np.asarray(column)
        _check_length(values, count, f"hover[{name!r}]")
        if values.dtype.kind in "fiu":
            whole = values.dtype.kind in "iu"
            dtype = "<f8" if whole else "<f4"  # exact up to 2^53; JavaScript has no other whole numbers
            found.append(
                {"name": str(name), "kind": "whole" if whole else "float", "values": values.astype(dtype).tobytes()}
            )
        else:
            codes, words = _factorize(values)
            codes = np.where(codes < 0, len(words), codes)
            found.append(
                {"name": str(name), "kind": "text", "codes": codes.astype("<u4").tobytes(), "words": [*words, ""]}
            )
    return found


def markers(shape: Any, size: Any, count: int) -> dict[str, Any]:
    """Marker and relative size of every point, as far as they are given.

    Raises
    ------
    ConfigError
        When a column has other than N values, or a value is out of range.
    """
    table: dict[str, Any] = {}
    if shape is not None:
        shapes = np.asarray(shape)
        _check_length(shapes, count, "shape")
        if shapes.dtype.kind not in "iub" or (shapes.size and not 0 <= shapes.min() <= shapes.max() <= 5):
            raise ConfigError("shape holds other than 0 to 5: disc, ring, square, triangle, cross, diamond")
        table["shape"] = shapes.astype("u1").tobytes()
    if size is not None:
        sizes = np.broadcast_to(_numbers(size, "size"), (count,)) if np.ndim(size) == 0 else _numbers(size, "size")
        _check_length(sizes, count, "size")
        if sizes.size and not (np.isfinite(sizes).all() and 0 < sizes.min() and sizes.max() <= 3.9):
            raise ConfigError(
                f"size spans {sizes.min():.3g} to {sizes.max():.3g}: pass multiples of the usual, 0.1 to 3.9"
            )
        table["size"] = sizes.astype("<f4").tobytes()
    return table


def _factorize(values: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Codes int64 (-1 for None and NaN) and the words they stand for, in order."""
    import pandas as pd

    codes, found = pd.factorize(values, use_na_sentinel=True)
    by_number = values.dtype.kind in "iub"
    order = np.argsort(found, kind="stable") if by_number else np.argsort([str(word) for word in found], kind="stable")
    rank = np.empty(len(order) + 1, np.int64)
    rank[order], rank[-1] = np.arange(len(order)), -1
    return rank[codes], [str(found[place]) for place in order]


def _numbers(values: Any, name: str) -> np.ndarray:
    try:
        numbers = np.asarray(values)
        if numbers.dtype.kind not in "fiub" and numbers.size:
            raise TypeError
        return numbers.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"{name} is {type(values).__name__} that holds no numbers: pass an array of numbers"
        ) from error


def _check_length(values: np.ndarray, count: int, name: str) -> None:
    if values.shape != (count,):
        raise ConfigError(f"{name} has shape {values.shape}, but there are {count:,} points: pass one value per point")
