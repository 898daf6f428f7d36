"""The explorer's classes for other tools: tables, folders of images, and the formats of two explorers of embeddings."""

from __future__ import annotations

import importlib
import json
import math
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from twist.runs.class_names import ClassName
from twist.runs.config import ConfigError
from twist.runs.sheets import ContactSheets
from twist.runs.store import RecordError
from twist.runs.watched import Snapshot, Watch
from twist.view.layout import Layout

if TYPE_CHECKING:
    import pandas as pd

_WAYS = "a file ending in .csv or .parquet, or a folder for the images of each class"


def class_table(
    watch: Watch,
    snapshot: Snapshot,
    names: Mapping[int, ClassName] | None = None,
    found: Layout | None = None,
    columns: Mapping[str, Any] | None = None,
) -> pd.DataFrame:
    """One row per watch image: what it is, where the network puts it, how sure it is, and where the map has it.

    Returns
    -------
    DataFrame
        ``sample_id``, ``assignment``, ``class_name`` (where classes were named), ``label`` (where the set has labels),
        ``confidence``, ``margin``, ``sample_entropy`` (nats), ``umap_x`` and ``umap_y`` (where the map is made), and
        the columns that were added. Its index, ``row``, is the row among the watch images.
    """
    import pandas as pd

    table = pd.DataFrame(
        {
            "sample_id": np.array(watch.sample_ids),
            "assignment": np.array(snapshot.assignment),
            "confidence": np.array(snapshot.confidence),
            "sample_entropy": np.array(snapshot.sample_entropy),
            "margin": np.array(snapshot.margin),
        }
    )
    table.index.name = "row"
    if watch.labels is not None:
        table.insert(2, "label", [watch.label_name(label) for label in watch.labels])
    if names and any(said.name for said in names.values()):
        words = {class_id: said.name for class_id, said in names.items()}
        table.insert(2, "class_name", [words.get(class_id, "") for class_id in table["assignment"].tolist()])
    if found is not None and len(found.x) == len(table):
        table["umap_x"], table["umap_y"] = np.array(found.x), np.array(found.y)
    for name, values in (columns or {}).items():
        if name not in table:
            table[name] = values
    return table


def new_target(target: Path | str) -> Path:
    """The place of an export, which must not exist yet.

    Raises
    ------
    ConfigError
        When there is something already, or its folder cannot be made.
    """
    path = Path(target).expanduser()
    if path.exists() or path.is_symlink():
        raise ConfigError(f"{path} exists already: give another name, or delete it first; nothing is overwritten")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror or error}; give another folder") from None
    return path


def free_target(path: Path) -> Path:
    """The path, or the first of ``name-2``, ``name-3``, … that is free."""
    for number in range(1, 10_000):
        candidate = path if number == 1 else path.with_name(f"{path.stem}-{number}{path.suffix}")
        if not candidate.exists():
            return candidate
    raise ConfigError(f"{path} exists ten thousand times over: delete some of them")


def table_kind(target: Path | str) -> str:
    """The ending of a file that a table can be written to: ``.csv``, or ``.parquet`` where pyarrow is there.

    Raises
    ------
    ConfigError
        For another ending, or parquet without pyarrow.
    """
    kind = Path(target).suffix.lower()
    if kind not in (".csv", ".parquet"):
        raise ConfigError(f"{target} cannot be written: give {_WAYS}")
    if kind == ".parquet":
        _require("pyarrow")
    return kind


def write_table(table: pd.DataFrame, target: Path | str) -> Path:
    """Write a table as ``.csv`` or ``.parquet``; numbers keep every digit.

    Texts of a CSV file that a spreadsheet would take for a formula get an apostrophe before them.

    Raises
    ------
    ConfigError
        For another ending, an existing file, or parquet without pyarrow.
    """
    kind = table_kind(target)
    path = new_target(target)
    if kind == ".parquet":
        table.to_parquet(path, engine="pyarrow", index=True)
        return path
    _write_csv(table, path)
    return path


def _write_csv(table: pd.DataFrame, path: Path) -> None:
    texts = [name for name in table if table[name].dtype.kind not in "biuf"]
    table.assign(**{name: table[name].map(_harmless) for name in texts}).to_csv(path, encoding="utf-8")


def write_folders(table: pd.DataFrame, watch: Watch, target: Path | str) -> Path:
    """Write the thumbnail of every row as ``CLASS/SAMPLE_ID.png``: a folder per class, as image folders are read.

    Raises
    ------
    ConfigError
        When the folder exists or cannot be made.
    RecordError
        When the thumbnails cannot be read; nothing is left behind.
    """
    from PIL import Image

    path = new_target(target)
    width = len(str(int(table["assignment"].max()) if len(table) else 0))
    wanted = dict(zip(table.index.tolist(), table.to_dict("records"), strict=True))
    try:
        path.mkdir()
    except OSError as error:
        raise ConfigError(f"{path} cannot be made: {error.strerror or error}; give another folder") from None
    try:
        for row, tile in enumerate(_tiles(watch)):
            facts = wanted.get(row)
            if facts is None:
                continue
            folder = path / _folder_name(facts, width)
            folder.mkdir(exist_ok=True)
            pixels = tile.squeeze(-1) if tile.shape[-1] == 1 else tile
            Image.fromarray(pixels).save(folder / f"{facts['sample_id']}.png")
        _write_csv(table, path / "assignments.csv")
    except BaseException:
        shutil.rmtree(path, ignore_errors=True)
        raise
    return path


def write_atlas(
    table: pd.DataFrame, watch: Watch, found: Layout, near: tuple[np.ndarray, np.ndarray] | None, target: Path | str
) -> Path:
    """Write a parquet file for Embedding Atlas: places, neighbors, pictures and every column of the table.

    Open it with ``embedding-atlas FILE --x projection_x --y projection_y --neighbors neighbors --image image``.

    Parameters
    ----------
    table
        As `class_table` makes it.
    near
        Rows of the nearest images in feature space, -1 for none, and their distances, both ``[M, K]``; None leaves the
        column out.

    Raises
    ------
    ConfigError
        When pyarrow is missing, the file exists, or its name does not end in .parquet.
    """
    if Path(target).suffix.lower() != ".parquet":
        raise ConfigError(f"{target} cannot be written: Embedding Atlas reads .parquet")
    _require("pyarrow")
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = new_target(target)
    rows = table.index.to_numpy()
    arrays: dict[str, Any] = {"id": pa.array(rows, pa.int64())}
    arrays["projection_x"] = pa.array(np.asarray(found.x)[rows], pa.float32())
    arrays["projection_y"] = pa.array(np.asarray(found.y)[rows], pa.float32())
    if near is not None:
        ids, distances = near
        kept = set(rows.tolist())
        listed = []
        for row in rows:
            pairs = [(int(i), float(d)) for i, d in zip(ids[row], distances[row], strict=True) if int(i) in kept]
            listed.append({"ids": [i for i, _ in pairs], "distances": [d for _, d in pairs]})
        kind = pa.struct([("ids", pa.list_(pa.int64())), ("distances", pa.list_(pa.float64()))])
        arrays["neighbors"] = pa.array(listed, kind)
    for name in table:
        if name not in ("umap_x", "umap_y"):
            arrays[name] = pa.array(table[name].to_numpy(), from_pandas=True)
    arrays["image"] = pa.array(
        [{"bytes": png, "path": None} for png in _pngs(watch, rows)],
        pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
    )
    made = pa.table(arrays)
    facts = json.dumps({"made": found.caption, "step": int(found.step)})
    pq.write_table(made.replace_schema_metadata({**(made.schema.metadata or {}), b"twist": facts.encode()}), path)
    return path


def jscatter_of(table: pd.DataFrame) -> Any:
    """The table as a ``jscatter.Scatter``, colored by class.

    Raises
    ------
    ConfigError
        When jupyter-scatter is missing, or the table has no places.
    """
    jscatter = _require("jscatter", "jupyter-scatter")
    if "umap_x" not in table:
        raise ConfigError("the map is not made yet: wait until the explorer shows it, then ask again")
    shown = table.assign(assignment=table["assignment"].astype("category"))
    return jscatter.Scatter(data=shown, x="umap_x", y="umap_y", color_by="assignment")


def _require(module: str, package: str = "") -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        package = package or module
        extra = "twist-ssl[export]" if package == "pyarrow" else package
        raise ConfigError(f"this export needs {package}, which is not installed: pip install '{extra}'") from None


def _harmless(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


def _folder_name(facts: Mapping[str, Any], width: int) -> str:
    """A folder's name that is safe on every system, and sorts by class."""
    number = f"class-{facts['assignment']:0{width}d}"
    name = re.sub(r"[^\w.-]+", "-", facts.get("class_name") or "").strip("-.")[:60]
    return f"{number}-{name}" if name else number


def _tiles(watch: Watch) -> Iterator[np.ndarray]:
    if not math.prod((len(watch), watch.tile)):
        raise RecordError("there are no watch images: no picture can be written")
    for sheet in ContactSheets.of(watch).tiles():
        yield from sheet


def _pngs(watch: Watch, rows: np.ndarray) -> list[bytes]:
    import io

    from PIL import Image

    wanted, pictures = set(rows.tolist()), {}
    for row, tile in enumerate(_tiles(watch)):
        if row in wanted:
            buffer = io.BytesIO()
            Image.fromarray(tile.squeeze(-1) if tile.shape[-1] == 1 else tile).save(buffer, "PNG")
            pictures[row] = buffer.getvalue()
    return [pictures[row] for row in rows.tolist()]
