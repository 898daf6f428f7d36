"""What a run takes on the disk, by part, and fewer old checkpoints and snapshots by a rule that is said first."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from twist.runs.config import ConfigError
from twist.runs.keeping import held
from twist.runs.store import RecordError, read_manifest, step_folder, steps_in, sync_folder

#: Folders of a run that count by themselves; everything else is ``rest``.
_PARTS = ("checkpoints", "snapshots", "epochs", "layouts", "features")


class DiskUse(NamedTuple):
    """Bytes of a run's files, by part; what is linked to from there is not counted.

    Attributes
    ----------
    checkpoints
        Weights and optimizer states, to resume and to fork from.
    snapshots
        What the network said of the watch images, through time.
    epochs
        What training saw of every image, epoch by epoch.
    layouts
        Maps by UMAP; they can be made again.
    features
        Features that evaluations keep; they can be made again as long as their checkpoint is there.
    rest
        Log, watch images, images handed over in memory, results of evaluations, reports.
    """

    checkpoints: int = 0
    snapshots: int = 0
    epochs: int = 0
    layouts: int = 0
    features: int = 0
    rest: int = 0

    @property
    def total(self) -> int:
        """Bytes of everything."""
        return sum(self)


def disk_use(path: Path) -> DiskUse:
    """What a run takes on the disk; files that vanish meanwhile count for nothing."""
    parts = dict.fromkeys(DiskUse._fields, 0)
    for entry in _entries(path):
        part = entry.name if entry.name in _PARTS else "rest"
        parts[part] += _bytes_of(entry)
    return DiskUse(**parts)


def spell_bytes(count: float) -> str:
    """Bytes as a person says them.

    Examples
    --------
    >>> spell_bytes(512), spell_bytes(96_300), spell_bytes(4_560_000_000)
    ('512 B', '96.3 kB', '4.56 GB')
    """
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.5:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB" if count < 999.5 else f"{count:,.0f} TB"


class Thinning(NamedTuple):
    """What thinning a run would take away; nothing has been done yet.

    Attributes
    ----------
    path
        The run folder.
    rule
        The rule in one sentence.
    checkpoints, snapshots
        Steps of those that would go, ascending.
    kept_checkpoints, kept_snapshots
        Steps of those that would stay, ascending.
    leftovers
        Folders of damaged checkpoints, of writes that were killed, and of maps without a snapshot.
    bytes
        Bytes that this would free.
    features
        Folders of cached features that would go; empty unless that is asked for.
    """

    path: Path
    rule: str
    checkpoints: tuple[int, ...]
    snapshots: tuple[int, ...]
    kept_checkpoints: tuple[int, ...]
    kept_snapshots: tuple[int, ...]
    leftovers: tuple[Path, ...]
    bytes: int
    features: tuple[Path, ...] = ()

    @property
    def empty(self) -> bool:
        """Whether nothing would go."""
        return not (self.checkpoints or self.snapshots or self.leftovers or self.features)

    @property
    def sentence(self) -> str:
        """What would go and what would stay, in one sentence."""
        counted = (
            _spell(len(self.checkpoints), "checkpoint"),
            _spell(len(self.snapshots), "snapshot"),
            _spell(len(self.features), "set of cached features", "sets of cached features"),
            _spell(len(self.leftovers), "leftover of a kill or a fault", "leftovers of kills and faults"),
        )
        gone = [words for words in counted if not words.startswith("0 ")]
        kept = f"{_spell(len(self.kept_checkpoints), 'checkpoint')} and {_spell(len(self.kept_snapshots), 'snapshot')}"
        if self.empty:
            return f"Nothing of {self.path.name} would go: all of its {kept} stay."
        return f"{', '.join(gone)} of {self.path.name} would go, {spell_bytes(self.bytes)} in all; {kept} stay."


def plan_thinning(path: Path, *, checkpoints: int = 2, snapshots: int = 4, features: bool = False) -> Thinning:
    """What thinning a run would take away.

    Of the checkpoints, and of the snapshots with their maps, stay the newest ones, the first, and of the others the
    first at or past every doubling of its step: dense where a run changes fast, sparse where it changes little. The
    newest sound checkpoint always stays. Results of evaluations always stay; the features that these keep go where
    that is asked for.

    Parameters
    ----------
    path
        The run folder.
    checkpoints, snapshots
        How many of the newest stay, at least 1.
    features
        Whether cached features go: an evaluation makes them again while their checkpoint is there.

    Raises
    ------
    ConfigError
        When less than 1 is asked to stay.
    """
    path = Path(path)
    for name, count in (("checkpoints", checkpoints), ("snapshots", snapshots)):
        if count < 1:
            raise ConfigError(f"{name} to keep is {count}: give 1 or more")
    there = {part: steps_in(path / part) for part in ("checkpoints", "snapshots")}
    keep = {
        "checkpoints": kept_steps(there["checkpoints"], checkpoints),
        "snapshots": kept_steps(there["snapshots"], snapshots),
    }
    sound = _newest_sound(path, there["checkpoints"])
    if sound is not None:
        keep["checkpoints"].add(sound)
    gone = {part: tuple(step for step in there[part] if step not in keep[part]) for part in there}
    leftovers = [
        Path(entry.path)
        for part in ("checkpoints", "snapshots")  # in layouts a process may be writing, whoever holds the run
        for entry in _entries(path / part)
        if entry.name.startswith((".", "damaged-")) and entry.is_dir(follow_symlinks=False)
    ]
    # A map that was being made when its snapshot went.
    leftovers += [path / "layouts" / step_folder(n) for n in steps_in(path / "layouts") if n not in there["snapshots"]]
    cached = tuple(Path(e.path) for e in _entries(path / "features") if e.is_dir(follow_symlinks=False)) * features
    folders = [*_folders(path, gone), *leftovers, *cached]
    rule = (
        f"Kept are the newest {_spell(checkpoints, 'checkpoint')} and the newest {_spell(snapshots, 'snapshot')}, the "
        "first of each, and of the others the first at or past every doubling of its step; "
        "the newest sound checkpoint always stays." + (" Cached features go: evaluating makes them again." * features)
    )
    return Thinning(
        path,
        rule,
        gone["checkpoints"],
        gone["snapshots"],
        tuple(sorted(keep["checkpoints"])),
        tuple(sorted(keep["snapshots"])),
        tuple(leftovers),
        sum(_bytes_below(folder) for folder in folders),
        cached,
    )


def thin(plan: Thinning) -> int:
    """Do what a plan says; returns the bytes that were freed.

    Every folder first gets a hidden name, so that a kill leaves no half of one in sight; what it leaves, the next
    thinning or resume takes away.

    Raises
    ------
    ConfigError
        When a process works on the run.
    """
    with held(plan.path, "thinned"):
        newest = _newest_sound(plan.path, steps_in(plan.path / "checkpoints"))
        gone = {
            "checkpoints": tuple(step for step in plan.checkpoints if step != newest),
            "snapshots": plan.snapshots,
        }
        freed = 0
        for folder in [*_folders(plan.path, gone), *plan.leftovers, *plan.features]:
            if folder.is_symlink() or not folder.is_dir():
                continue
            size = _bytes_below(folder)
            outgoing = folder.with_name(f".{folder.name.lstrip('.')}.{secrets.token_hex(4)}.thinned")
            os.rename(folder, outgoing)
            shutil.rmtree(outgoing, ignore_errors=True)
            freed += size - _bytes_below(outgoing)
        for part in ("checkpoints", "snapshots"):
            sync_folder(plan.path / part)
    return freed


def kept_steps(steps: Sequence[int], newest: int) -> set[int]:
    """The newest steps, the first, and of the others the first at or past every doubling of the first above 0.

    Examples
    --------
    >>> sorted(kept_steps(range(0, 101, 10), 2))
    [0, 10, 20, 40, 80, 90, 100]
    """
    kept = set(steps[-newest:]) | set(steps[:1])
    mark = next((step for step in steps if step > 0), None)
    for step in steps:
        if mark is not None and step >= mark:
            kept.add(step)
            while mark <= step:
                mark *= 2
    return kept


def _folders(path: Path, gone: dict[str, tuple[int, ...]]) -> list[Path]:
    """Folders of the steps that go; a snapshot takes its map along."""
    mapped = set(steps_in(path / "layouts"))
    found = [path / part / step_folder(step) for part, steps in gone.items() for step in steps]
    return [*found, *(path / "layouts" / step_folder(step) for step in gone["snapshots"] if step in mapped)]


def _newest_sound(path: Path, steps: Sequence[int]) -> int | None:
    for step in reversed(steps):
        try:
            read_manifest(path / "checkpoints" / step_folder(step), verify=True)
        except RecordError:
            continue
        return step
    return None


def _entries(folder: Path | str) -> list[os.DirEntry]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:
        return []


def _bytes_of(entry: os.DirEntry) -> int:
    try:
        if entry.is_dir(follow_symlinks=False):
            return _bytes_below(entry.path)
        return entry.stat(follow_symlinks=False).st_size
    except OSError:
        return 0


def _bytes_below(folder: Path | str) -> int:
    return sum(_bytes_of(entry) for entry in _entries(folder))


def _spell(count: int, one: str, many: str = "") -> str:
    return f"{count:,} {one if count == 1 else many or one + 's'}"
