"""The collapse lab: training that one turns knobs of while it goes on, and sees what each of them does.

Points in the plane train in the page itself and need no kernel; digits are ordinary runs in processes of their own.
Two panes from one seed can stand side by side. What happens in a pane of digits is `twist.view.lab_lane.Lane`'s.
"""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import threading
import time
import weakref
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from twist.runs.config import ConfigError
from twist.runs.experiments import EXPERIMENTS, experiment
from twist.runs.handle import Run
from twist.runs.store import RecordError
from twist.view.arguments import check_traits
from twist.view.browser import script, style
from twist.view.lab_knobs import KNOBS, check_knobs, healthy_knobs, knob_help
from twist.view.lab_lane import Lane
from twist.view.lab_runs import KEPT, tidy
from twist.view.lighting import OnAPage

PANES = ("a", "b")
_BEAT_S = 2.0
_LABS: weakref.WeakSet[CollapseLab] = weakref.WeakSet()


class CollapseLab(OnAPage, anywidget.AnyWidget):
    """Live training with knobs that act while it trains, drawn as entropy plane, simplex and arrows.

    Parameters
    ----------
    data
        ``"toy"``, points in the plane, trained in the page itself; or ``"digits"``, 1,797 scanned digits, trained by
        the real code in a process of its own, which starts when the lab is first seen.
    experiment
        Name of an experiment to begin with, as in `twist.runs.experiments`; none begins healthy.
    knobs
        Knobs to begin with, by name, on top of the experiment's.
    side_by_side
        Whether two panes from the same seed stand beside each other.
    seed
        Seed of weights, order and views; the same seed is the same training.
    hide
        Controls to leave out, for a lesson on a few of them.

    Attributes
    ----------
    panes
        What each pane of digits shows, by its letter: state, words, knobs, turns, verdict.
    note
        What the lab did beside training, as deleting old runs of its own.

    Raises
    ------
    ConfigError
        For data, an experiment or a knob that there is not.

    Examples
    --------
    ::

        lab = twist.CollapseLab("digits", experiment="uniform")
        lab
        lab.turn(objective__sharpness_weight=1)  # the cure
    """

    _esm = script(
        *("dom", "lighting"),
        *("toy_random", "toy_data", "toy_terms", "toy_network", "toy_bench", "lab_verdict", "lab_digits"),
        *("lab_bounds", "lab_canvas", "lab_plane", "lab_simplex", "lab_regions", "lab_arrows"),
        *("lab_knobs", "lab_panes", "lab_controls", "lab_share", "lab"),
    )
    _css = style("base", "lab")

    data = traitlets.Enum(["toy", "digits"], "toy").tag(sync=True)
    experiment = traitlets.Unicode("").tag(sync=True)
    knobs = traitlets.Dict().tag(sync=True)
    side_by_side = traitlets.Bool(False).tag(sync=True)
    seed = traitlets.Int(0, min=0, max=2**31 - 1).tag(sync=True)
    hide = traitlets.List(traitlets.Unicode()).tag(sync=True)
    experiments: traitlets.List = traitlets.List().tag(sync=True)
    sentences = traitlets.Dict().tag(sync=True)
    defaults = traitlets.Dict().tag(sync=True)
    panes = traitlets.Dict().tag(sync=True)
    note = traitlets.Unicode("").tag(sync=True)
    beat = traitlets.Int(0).tag(sync=True)

    _lanes: dict[str, Lane] = {}  # of its own when it is made; one that is refused is closed as well

    def __init__(
        self,
        data: str = "toy",
        *,
        experiment: str | None = None,
        knobs: Mapping[str, Any] | None = None,
        side_by_side: bool = False,
        seed: int = 0,
        hide: Iterable[str] = (),
        **traits: Any,
    ):
        check_traits(type(self), traits)
        if data not in ("toy", "digits"):
            raise ConfigError(f"data is {data!r}: give 'toy', points in the plane, or 'digits', scanned digits")
        self._lanes = {}
        self._shown: dict[str, dict[str, tuple[Any, Any]]] = {}  # of a pane: its views, each with its page and load
        self._heartbeat: threading.Thread | None = None
        self._lock = threading.RLock()
        begins = _first_knobs(data, experiment, dict(knobs or {}), seed)
        super().__init__(
            data=data,
            experiment=experiment or "",
            knobs=begins,
            side_by_side=side_by_side,
            seed=seed,
            hide=[hide] if isinstance(hide, str) else list(hide),
            experiments=[{**dataclasses.asdict(each)} for each in EXPERIMENTS],
            defaults=healthy_knobs(),
            sentences={name: knob_help(name) for name in KNOBS},
            **traits,
        )
        self.on_msg(self._hear)
        self.observe(self._on_seen, "seen")
        self.observe(self._on_side_by_side, "side_by_side")
        _LABS.add(self)

    def __repr__(self) -> str:
        runs = f", run={self.run.name!r}" if self.run else ""
        return f"CollapseLab({self.data!r}{runs})"

    # -- from Python --------------------------------------------------------------------------------------------------

    @property
    def run(self) -> Run | None:
        """The run of the first pane; None for points in the plane, and before the lab was seen."""
        lane = self._lanes.get("a")
        return lane.run if lane else None

    @property
    def runs(self) -> list[Run]:
        """The runs of this lab that are still there, oldest first."""
        found = [run for lane in self._lanes.values() for run in lane.runs if (run.path / "run.json").is_file()]
        return sorted(found, key=lambda run: (run.path / "run.json").stat().st_mtime_ns)

    @property
    def turns(self) -> list[dict[str, Any]]:
        """Knobs turned in the first pane, oldest first: at which step, to what, from what."""
        return list(self.panes.get("a", {}).get("turns", []))

    def turn(self, pane: str = "a", **changes: Any) -> None:
        """Turn knobs, with two underscores for the dot, as a hand in the page does; returns at once.

        Parameters
        ----------
        pane
            Which of two, ``"a"`` or ``"b"``.
        **changes
            New values, as in ``objective__sharpness_weight=0`` or ``views__strength=1.5``.

        Raises
        ------
        ConfigError
            For a knob that the lab does not have, or a value that it cannot have.
        """
        named = {name.replace("__", "."): value for name, value in changes.items()}
        if not named:
            raise ConfigError(f"no knob is turned: give one or more of {', '.join(_python_names())}")
        if pane not in PANES:
            raise ConfigError(f"pane is {pane!r}: give 'a' or 'b'")
        if self.data == "toy":
            _check_names(named)
            self.send({"type": "python", "do": "turn", "pane": pane, "changes": named})
            return
        check_knobs({**self._lane(pane).knobs, **named})
        self._lane(pane).ask("turn", changes=named)

    def restart(self, pane: str = "a", **changes: Any) -> None:
        """Begin anew from the same seed, with the present knobs and these changes."""
        named = {name.replace("__", "."): value for name, value in changes.items()}
        _check_names(named)
        if self.data == "toy":
            self.send({"type": "python", "do": "restart", "pane": pane, "changes": named})
            return
        check_knobs({**self._lane(pane).knobs, **named})
        self._lane(pane).ask("restart", knobs=named)

    def keep(self, name: str, pane: str = "a") -> None:
        """Keep the run of a pane under a name: the lab deletes its old runs that have none.

        A run that still trains gets its name when it rests; its tag keeps it until then.
        """
        if self.data == "toy":
            raise ConfigError("points in the plane leave no run: copy the page's link, or export the lesson")
        self._lane(pane).keep(name)

    def export(self, path: str | Path, *, title: str = "") -> Path:
        """Write what was done as one HTML file that opens in any browser, offline.

        Of digits, the runs shown, with every turned knob; of points in the plane, the lab itself.
        """
        from twist.view.lesson import write_lesson

        if self.data == "toy":
            return write_lesson("toy", path, title=title)
        shown = [lane.run for _, lane in sorted(self._lanes.items()) if lane.run is not None]
        if not shown:
            raise ConfigError("nothing has trained yet: look at the lab, let it train, then export it")
        return write_lesson(shown if self.side_by_side else shown[:1], path, title=title)

    def close(self) -> None:
        """End the lab: its runs are stopped, and stay on disk; press play in another lab, or `Run.resume` them."""
        for lane in self._lanes.values():
            lane.close()
        super().close()

    # -- from the page ------------------------------------------------------------------------------------------------

    def _hear(self, _: Any, message: Any, buffers: Any) -> None:
        if self.hear_of_page(message) or not isinstance(message, dict):
            return
        pane, view, do = str(message.get("pane")), str(message.get("view", "")), message.get("do")
        if message.get("type") == "lab" and do == "export":
            threading.Thread(target=self._export_for_page, args=[message], name="twist-lab-export", daemon=True).start()
        if message.get("type") != "lab" or pane not in PANES:
            return
        lane = self._lane(pane)
        if do in ("drawn", "here"):
            lane.drawn(int(message.get("number", 0)))
        elif do == "leave":
            self._leave(pane, view)
        elif do == "images":
            self._send_images(lane, message)
        elif do in ("open", "play", "pause", "step", "restart", "turn", "undo", "rewind", "keep"):
            if do == "open":
                self._enter(pane, view, (message.get("page"), message.get("load")))
                lane.seen = self.seen
                self._rest_others()
            details = {key: value for key, value in message.items() if key not in ("type", "pane", "do")}
            lane.ask(do, **details)
            self._beat()

    def _lane(self, pane: str) -> Lane:
        with self._lock:
            if pane not in self._lanes:
                self._lanes[pane] = Lane(
                    pane,
                    {**self.knobs, "seed": self.seed},
                    on_state=self._on_state,
                    on_frame=self._send_frame,
                    on_launch=self._on_launch,
                )
            return self._lanes[pane]

    def _on_state(self, lane: Lane) -> None:
        with self._lock:
            self.panes = {**self.panes, lane.pane: lane.state}

    def _send_frame(self, facts: dict[str, Any], arrays: list[bytes]) -> None:
        self.send(facts, arrays)

    def _on_launch(self, lane: Lane) -> None:
        spare = {run.path for lab in list(_LABS) for each in list(lab._lanes.values()) for run in each.runs[-2:]}
        gone = tidy(spare)
        if gone:
            what = "1 old run" if len(gone) == 1 else f"{len(gone)} old runs"
            self.note = (
                f"The lab deleted {what} of its own ({', '.join(gone)}): of those that nobody named, the newest {KEPT} "
                "are kept. “Keep” gives a run a name."
            )

    def _enter(self, pane: str, view: str, place: tuple[Any, Any]) -> None:
        """A view shows a pane; those of the same page before it was loaded again are gone."""
        views = self._shown.get(pane, {})
        self._shown[pane] = {
            **{name: there for name, there in views.items() if there[0] != place[0] or there[1] == place[1]},
            view: place,
        }

    def _leave(self, pane: str, view: str) -> None:
        views = self._shown.get(pane, {})
        views.pop(view, None)
        if not views and pane in self._lanes:
            self._lanes[pane].ask("leave")

    def _rest_others(self) -> None:
        """Have labs whose views are gone end their runs: two processors are few."""
        for lab in list(_LABS):
            if lab is not self and lab._lanes and not any(lab._shown.values()):
                for lane in lab._lanes.values():
                    if lane.alive:
                        lane.ask("stop")

    def _on_seen(self, change: Any) -> None:
        for lane in self._lanes.values():
            lane.seen = change["new"]

    def _on_side_by_side(self, change: Any) -> None:
        if not change["new"] and "b" in self._lanes:
            self._lanes["b"].ask("stop")

    def _send_images(self, lane: Lane, message: Mapping[str, Any]) -> None:
        """Send the contact sheets and labels of a lane's images, once for each who asks."""
        answer: dict[str, Any] = {"type": "images", "pane": lane.pane, "id": message.get("id")}
        sheets: list[bytes] = []
        try:
            watch = None if lane.run is None else lane.run.record.watch()
            if watch is None:
                answer["problem"] = "no images yet"
            else:
                sheets = [path.read_bytes() for path in watch.sheets]
                answer |= {"tile": watch.tile, "columns": watch.columns, "per_sheet": watch.per_sheet}
                answer |= {"mime": "image/png" if watch.sheets[0].suffix == ".png" else "image/jpeg"}
                if watch.labels is not None:
                    answer |= {"labels": watch.labels.tolist(), "label_names": watch.label_names}
        except (RecordError, OSError) as error:
            answer["problem"] = str(error)
        self.send(answer, sheets)

    def _export_for_page(self, message: Mapping[str, Any]) -> None:
        """Write the lesson beside the notebook, and say where it is, or why it is not."""
        from twist.view.lesson import write_toy_lesson

        try:
            stem = self.run.name if self.data == "digits" and self.run else "collapse-lab"
            path = _free_file(stem)
            written = self.export(path) if self.data == "digits" else write_toy_lesson(path, start=message.get("state"))
            text = f"Written: {written.name}, in {written.resolve().parent}. It opens in any browser, offline."
        except (ConfigError, RecordError, OSError, ValueError) as error:
            text = f"Nothing was written: {error}"
        self.send({"type": "exported", "id": message.get("id"), "text": text})

    def _beat(self) -> None:
        """Tell the page every two seconds that the kernel is there, as long as there is something to see."""
        with self._lock:
            if self._heartbeat is None or not self._heartbeat.is_alive():
                self._heartbeat = threading.Thread(target=self._beat_on, name="twist-lab-beat", daemon=True)
                self._heartbeat.start()

    def _beat_on(self) -> None:
        while any(lane.alive for lane in list(self._lanes.values())):
            if self.seen:
                self.beat += 1
            time.sleep(_BEAT_S)


@atexit.register
def _stop_runs() -> None:
    """Ask the runs of a kernel that ends to end with it; they stay on disk."""
    for lab in list(_LABS):
        for lane in lab._lanes.values():
            with contextlib.suppress(RecordError, OSError):
                if lane.run is not None and lane.alive:
                    lane.run.stop(wait=False)


def _first_knobs(data: str, name: str | None, knobs: dict[str, Any], seed: int) -> dict[str, Any]:
    """Knobs that differ from the healthy ones when the lab begins: the experiment's, and those given."""
    given = {key.replace("__", "."): value for key, value in knobs.items()}
    _check_names(given)
    begins = {**(dict(getattr(experiment(name), data)) if name else {}), **given}
    if data == "digits":
        checked = check_knobs({**begins, "seed": seed})
        begins = {key: checked[key] for key in begins}
    return begins


def _free_file(stem: str) -> Path:
    """A page of that name in this folder, with a number where it is taken."""
    for number in range(1, 1000):
        path = Path(f"{stem}.html" if number == 1 else f"{stem}-{number}.html")
        if not path.exists():
            return path
    raise ConfigError(f"{stem}.html and its like are taken: move them away, or give lab.export a path")


def _check_names(knobs: Iterable[str]) -> None:
    from twist.runs.config import nearest

    for name in knobs:
        if name not in KNOBS:
            raise ConfigError(f"the lab has no knob {name!r}{nearest(name, KNOBS)}: it has {', '.join(KNOBS)}")


def _python_names() -> list[str]:
    return [name.replace(".", "__") for name in KNOBS]


__all__ = ["CollapseLab", "healthy_knobs"]
