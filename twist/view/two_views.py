"""The two-view probe: one image, two augmented views of it, and what the network says of each.

A process beside the kernel (`twist.runs.probing`) holds the network; a thread here asks it for the newest of what the
sliders say. The kernel's main thread never waits.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import anywidget
import traitlets

from twist.runs.augmentations import TOGETHER, in_use
from twist.runs.config import ConfigError
from twist.runs.frozen import refuse_frozen
from twist.runs.probing import Probe, ProbeFailed
from twist.runs.record import RunRecord
from twist.runs.status import read_status
from twist.runs.store import steps_in
from twist.runs.turns import recipe_of_state
from twist.runs.watched import Snapshot, Watch
from twist.view.arguments import check_traits, is_newest
from twist.view.browser import script, style
from twist.view.latest import Latest
from twist.view.moment import Moment, moment_of
from twist.view.provenance import file_name, provenance
from twist.view.scene import run_path
from twist.view.two_views_static import static_bundle, static_html
from twist.view.two_views_tables import (
    answer_table,
    checked,
    consistency_near,
    dial_table,
    distributions_of,
    image_table,
    sensitivities_of,
    snapshot_near,
    unused,
)

if TYPE_CHECKING:
    import pandas as pd

_LOOK_EVERY_S = 1.0
_AT_ONCE_MS = 150.0  # of processor time: with cheaper answers, the sensitivity is measured without being asked for


class TwoViews(anywidget.AnyWidget):
    """Choose an image, move the augmentations, and see what they do to the class that the network gives it.

    Shows two views of one watch image as training makes them, the class distribution of each, how far they diverge,
    and how often the class survives each augmentation alone. The network is that of a checkpoint, in evaluation mode,
    in a process of its own.

    Parameters
    ----------
    run
        Name of a run, its path, ``"last"``, or anything with a ``path``.
    image
        Row of the watch image; none means what another view of the run has selected, else the first.
    step
        Step of the checkpoint; none means the newest, and a training run is followed.

    Attributes
    ----------
    image
        Row of the watch image shown.
    fields
        Fields of the recipe's ``views`` that were moved, by name; an empty one is the recipe.
    draw
        Which views are drawn: with the recipe's own fields, those of this epoch of training.
    first_plain
        Whether view 1 is the plain image.
    strength
        Of which views the sensitivity is measured: ``recipe``, or as they are set ``now``.
    draws
        How many views of each augmentation the sensitivity draws.

    Raises
    ------
    ConfigError
        When there is no such run. For ``last`` an empty folder of runs is no error: the probe waits for the first.
    """

    _esm = script(
        "dom", "thumbnails", "picker", "two_views_dials", "two_views_charts", "two_views_picture", "two_views"
    )
    _css = style("base", "two_views")

    status = traitlets.Dict({"state": "empty", "text": ""}).tag(sync=True)
    facts = traitlets.Dict().tag(sync=True)
    dials = traitlets.Dict().tag(sync=True)
    images = traitlets.Dict().tag(sync=True)
    answer = traitlets.Dict().tag(sync=True)
    found = traitlets.Dict().tag(sync=True)
    image = traitlets.Int(0, min=0).tag(sync=True)
    fields = traitlets.Dict().tag(sync=True)
    draw = traitlets.Int(0, min=0, max=2**31 - 1).tag(sync=True)
    first_plain = traitlets.Bool(False).tag(sync=True)
    strength = traitlets.Enum(["recipe", "now"], "recipe").tag(sync=True)
    draws = traitlets.Int(64, min=1, max=4096).tag(sync=True)
    step = traitlets.Int(-1, min=-1).tag(sync=True)
    ticket = traitlets.Int(0).tag(sync=True)

    _latest: Latest | None = None
    _kept: Any = None  # where the static copy stands
    _moment: Moment | None = None
    _probe: Probe | None = None

    def __init__(self, run: Any = "last", image: int | None = None, step: int | None = None, **traits: Any):
        check_traits(type(self), traits)
        self._record: RunRecord | None = None if is_newest(run) else RunRecord(run_path(run))
        self._run = run
        self._watch: Watch | None = None
        self._snapshot: Snapshot | None = None
        self._failed = False
        self._wanted = threading.Event()  # the sensitivity was asked for
        self._shown: tuple[Any, ...] = ()
        self._measured: tuple[Any, ...] = ()
        self._image_given = image is not None
        super().__init__(
            **traits, **({} if image is None else {"image": image}), **({} if step is None else {"step": step})
        )
        self.on_msg(self._hear)
        self._latest = Latest(self._work, self._tell, period_s=_LOOK_EVERY_S, name="two-views")
        self.observe(self._changed, ["image", "fields", "draw", "first_plain", "strength", "draws", "step", "ticket"])
        self._ask()

    def __repr__(self) -> str:
        name = self._record.name if self._record else self._run
        return f"TwoViews({str(name)!r}, image={self.image}, step={self.facts.get('step')})"

    @property
    def distributions(self) -> pd.DataFrame:
        """Probability of every class for the plain image and both views, a row for each class."""
        return distributions_of(self.answer)

    @property
    def sensitivities(self) -> pd.DataFrame:
        """What each augmentation alone does, a row for each, the one that changes the class most often first.

        Columns are ``draws``, ``stays`` (draws that keep the class), ``share`` of them, and ``divergence``, the mean
        consistency term between a draw and the plain image in nats.
        """
        return sensitivities_of(self.found)

    def measure(self) -> None:
        """Measure how the image's class takes each augmentation; the answers come into `sensitivities`."""
        self._measured = ()
        self._wanted.set()
        self._ask()

    def restart(self) -> None:
        """Start the probe's process anew."""
        self._failed = False
        self._drop_probe()
        self._ask()

    def close(self) -> None:
        """End the widget, its thread and the probe's process."""
        moment, self._moment = self._moment, None
        if moment is not None:
            moment.unobserve(self._follow_selection, "selected_samples")
            moment.unobserve(self._follow_step, "step")
        if self._latest is not None:
            self._latest.close()
        self._drop_probe()
        super().close()

    def static_html(self) -> str:
        """What is shown now as a few pictures and words of HTML that need neither kernel nor script."""
        return static_html(self.facts, self.answer, self.found)

    def _ipython_display_(self) -> None:
        """Show the widget, and below it, folded, a static copy that a saved notebook keeps."""
        from IPython.display import DisplayHandle, display

        shown: Any = self._repr_mimebundle_() or {}
        display(shown[0] if isinstance(shown, tuple) else shown, raw=True)
        self._kept = DisplayHandle()
        self._kept.display(self._static_bundle(), raw=True)

    def _static_bundle(self) -> dict[str, str]:
        return static_bundle(self._record.name if self._record else "", self.facts, self.answer, self.found)

    # -- what a person does -------------------------------------------------------------------------------------------

    def _changed(self, change: Any) -> None:
        if change["name"] == "image" and self._moment is not None:
            self._moment.selected_samples = (self.image,)
        elif change["name"] == "step":
            self._failed = False  # another checkpoint may be there where one was not
        self._ask()

    def _hear(self, _: Any, content: dict[str, Any], __: Any) -> None:
        kind = content.get("type")
        if kind == "restart":
            threading.Thread(target=self.restart, daemon=True).start()
        elif kind == "measure":
            self.measure()
        elif kind == "tiles":
            self._send_tiles(content)

    def _follow_selection(self, change: Any) -> None:
        rows = change["new"]
        if rows and self._watch is not None and 0 <= rows[0] < len(self._watch):
            self.image = int(rows[0])

    def _follow_step(self, change: Any) -> None:
        """Go to the checkpoint of the moment's step where there is one: few are kept."""
        if self._record is None:
            return
        if change["new"] == -1 or change["new"] in steps_in(self._record.path / "checkpoints"):
            self.step = int(change["new"])

    def _send_tiles(self, content: dict[str, Any]) -> None:
        from twist.runs.sheets import contact_sheet

        if self._watch is None:
            return
        rows = [int(row) for row in content.get("rows", [])[:400]]
        try:
            sheet, mime = contact_sheet(self._watch, rows)
        except Exception as error:  # the gallery says so; everything else goes on
            self.send({"type": "tiles", "id": content.get("id"), "problem": str(error)})
            return
        columns = max(1, min(len(rows), self._watch.columns))
        facts = {"columns": columns, "tile": self._watch.tile, "mime": mime}
        self.send({"type": "tiles", "id": content.get("id"), "rows": rows, **facts}, [sheet])

    def _ask(self) -> None:
        if self._latest is not None:
            self._latest.ask()

    # -- the thread ---------------------------------------------------------------------------------------------------

    def _work(self) -> bool:
        """The next thing to do; whether more is left."""
        if self._failed or not self._find_run() or not self._find_probe():
            return False
        assert self._record is not None and self._probe is not None
        wanted = self._key()
        if wanted != self._shown or self.answer.get("ticket") != self.ticket:
            self._ask_views(wanted)
            return True
        return self._measure_next()

    def _key(self) -> tuple[Any, ...]:
        fields = tuple(sorted((name, str(value)) for name, value in self.fields.items()))
        step = self._probe.facts["step"] if self._probe else -1
        return self.image, fields, self.draw, self.first_plain, step

    def _find_run(self) -> bool:
        if self._record is None:
            try:
                self._record = RunRecord(run_path(self._run))
            except ConfigError as error:
                self._say("empty", str(error))
                return False
        if self._moment is None:
            self._moment = moment_of(self._record.path)
            chosen = self._moment.selected_samples
            if not self._image_given and chosen:
                self.image = int(chosen[0])
            self._moment.observe(self._follow_selection, "selected_samples")
            self._moment.observe(self._follow_step, "step")
        return True

    def _find_probe(self) -> bool:
        """Have a process with the wanted checkpoint; False while there is none yet."""
        assert self._record is not None
        path, steps = self._record.path, steps_in(self._record.path / "checkpoints")
        if not steps:
            try:
                refuse_frozen(path, "probed")
            except ConfigError as error:
                self._say("empty", str(error))
                return False
            status = read_status(path)
            hope = "the first one is awaited here" if status.alive else f"`twist resume {path.name}` makes one"
            self._say("empty", f"No checkpoint yet: {path.name} is {status}; {hope}.")
            return False
        wanted = steps[-1] if self.step < 0 else self.step
        if self._probe is None:
            self._say("waiting", "Starting the probe …")
            self._probe = Probe(path, step=wanted, on_progress=self._progress)
            self._describe()
        elif self._probe.facts["step"] != wanted:
            self._probe.ask("load", step=wanted)
            self._describe()
        elif self.facts.get("steps") != steps:
            self.facts = {**self.facts, "steps": steps}
        return True

    def _progress(self, words: str) -> None:
        self._say("waiting", f"Starting the probe: {words} …")

    def _describe(self) -> None:
        """Say what the probe holds: checkpoint, images, dials."""
        assert self._record is not None and self._probe is not None
        record, facts = self._record, self._probe.facts
        record.poll()
        self._watch = self._watch or record.watch()
        assert self._watch is not None  # the probe found it
        self._snapshot = snapshot_near(record, facts["step"])
        if self.image >= len(self._watch):
            complaint = f"image {self.image} is not watched: rows go from 0 to {len(self._watch) - 1}; showing 0."
            self.image = 0
        else:
            complaint = ""
        with self.hold_sync():
            self.images = image_table(self._watch, self._snapshot)
            recipe = recipe_of_state(record, facts["step"])
            self.dials = dial_table(recipe, facts["channels"])
            self.facts = {
                "run": record.name,
                "step": facts["step"],
                "steps": steps_in(record.path / "checkpoints"),
                "epoch": facts["step"] / (record.steps_per_epoch or 1),
                "num_classes": facts["num_classes"],
                "consistency": consistency_near(record, facts["step"]),
                "unused": unused(recipe.views, facts["channels"]),
                "provenance": provenance(record, facts["step"]),
                "file": file_name(record, "two-views", facts["step"]),
                "note": " ".join(filter(None, [facts["note"], complaint])),
            }
            self._say("ready")

    def _ask_views(self, wanted: tuple[Any, ...]) -> None:
        assert self._probe is not None and self._record is not None
        ticket = self.ticket
        question: dict[str, Any] = {
            "row": self.image,
            "fields": dict(self.fields),
            "draw": self.draw,
            "first_plain": self.first_plain,
        }
        began = time.perf_counter()
        problem = ""
        try:
            said, arrays = self._probe.ask("views", **question)
        except ConfigError as error:
            self._shown = wanted
            self.answer = {**self.answer, "ticket": ticket, "problem": str(error)}
            return
        milliseconds = 1000 * (time.perf_counter() - began)
        said |= {"ticket": ticket, "draw": question["draw"], "milliseconds": round(milliseconds, 1), "problem": problem}
        if self._snapshot is not None and self._snapshot.step == said["step"]:
            said["recorded"] = float(self._snapshot.confidence[said["row"]])
        self.answer = answer_table(said, arrays)
        self._shown = wanted

    def _measure_next(self) -> bool:
        """Ask for one augmentation of the sensitivity; between two of them the sliders have their turn."""
        assert self._probe is not None and self._record is not None
        moved = dict(self.fields) if self.strength == "now" else {}
        asked = self.image, tuple(sorted((k, str(v)) for k, v in moved.items())), self.draws, self._probe.facts["step"]
        if self._measured != asked:
            if not (self._wanted.is_set() or self.answer.get("processor_ms", 1e9) <= _AT_ONCE_MS):
                if self.found.get("state") == "done":
                    self.found = {**self.found, "state": "stale"}
                return False
            self._measured = asked
            self._wanted.clear()
            names = in_use(
                checked(recipe_of_state(self._record, asked[3]), moved),
                channels=self._probe.facts["channels"],
            )
            about = {
                "row": self.image,
                "step": asked[3],
                "strength": self.strength,
                "all": [*names, TOGETHER] if names else [],
            }
            self.found = {**about, "rows": [], "state": "measuring" if names else "done"}
        if self.found.get("state") != "measuring":
            return False
        done = {row["augmentation"] for row in self.found["rows"]}
        left = [name for name in self.found["all"] if name not in done]
        said, _ = self._probe.ask(
            "sensitivity", row=self.image, augmentation=left[0], fields=moved, draws=self.draws, timeout_s=600
        )
        if said["row"] == self.found["row"]:
            state = "measuring" if len(left) > 1 else "done"
            self.found = {**self.found, "rows": [*self.found["rows"], said], "state": state}
            if state == "done" and self._kept is not None:
                self._kept.update(self._static_bundle(), raw=True)
        return True

    def _tell(self, error: Exception) -> None:
        self._failed = True
        details = error.details if isinstance(error, ProbeFailed) else ""
        known = isinstance(error, ConfigError | ProbeFailed)
        self._say("error", str(error) if known else f"{type(error).__name__}: {error}", details)
        if self._probe is not None and not self._probe.alive:
            self._drop_probe()

    def _say(self, state: str, text: str = "", details: str = "") -> None:
        said = {"state": state, "text": text, "details": details, "run": self._record.name if self._record else ""}
        if self.status != said:
            self.status = said

    def _drop_probe(self) -> None:
        probe, self._probe, self._shown = self._probe, None, ()
        if probe is not None:
            probe.close()
