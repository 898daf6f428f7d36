"""The launch form: a recipe's fields, checked while they are typed, an estimate, and a button that starts the run."""

from __future__ import annotations

import contextlib
import threading
import warnings
from typing import Any

import anywidget
import ipywidgets
import traitlets

from twist.runs.batch import BatchWarning
from twist.runs.config import ConfigError, Recipe, with_fields
from twist.runs.estimates import Cancelled, Estimate, EstimateFailed, Rehearsal
from twist.runs.handle import Run, TrainingFailed
from twist.runs.launcher import launch
from twist.runs.recipes import recipe as recipe_named
from twist.view.browser import script, style
from twist.view.latest import Latest
from twist.view.launch_fields import (
    Checked,
    check,
    command_line,
    field_table,
    python_line,
    recipe_table,
    values_of,
)

_NOT_MEASURED = {"state": "none", "text": ""}


class LaunchPanel(anywidget.AnyWidget):
    """The form itself; `LaunchForm` puts the monitor of the started run below it."""

    _esm = script("dom", "launch_form")
    _css = style("base", "launch_form")

    recipes: traitlets.List[Any] = traitlets.List().tag(sync=True)
    groups: traitlets.List[Any] = traitlets.List().tag(sync=True)
    values = traitlets.Dict().tag(sync=True)
    checked = traitlets.Dict().tag(sync=True)
    estimate: traitlets.Dict[str, Any] = traitlets.Dict(dict(_NOT_MEASURED)).tag(sync=True)
    status: traitlets.Dict[str, Any] = traitlets.Dict({"state": "ready", "text": ""}).tag(sync=True)
    recipe = traitlets.Unicode("digits").tag(sync=True)
    changes = traitlets.Dict().tag(sync=True)
    run_name = traitlets.Unicode("").tag(sync=True)


class LaunchForm(ipywidgets.VBox):
    """Set up a run and start it; its monitor appears below.

    Every field has the config's own sentence as its explanation and is checked by the config's own rules while it is
    typed. *Measure* takes a few steps of the recipe in a process of its own and says how long the run takes and how
    much memory and disk it needs. The line of Python and the command that start the same run stand below.

    Parameters
    ----------
    recipe
        Name of the recipe to begin with.
    name
        Name of the run; empty makes one from the recipe and the time.
    **changes
        Fields changed at first, with two underscores for the dot: ``optim__epochs=5``.

    Attributes
    ----------
    run
        The run that was started last, or None.
    estimate
        The newest `twist.runs.estimates.Estimate`, or None.

    Raises
    ------
    ConfigError
        For an unknown recipe or field. A wrong value is told beside its field.
    """

    panel: LaunchPanel
    monitor: Any = None
    _checks: Latest | None = None
    _rehearsal: Rehearsal | None = None

    def __init__(self, recipe: str = "digits", *, name: str = "", **changes: Any):
        base = recipe_named(recipe)
        texts = {field.replace("__", "."): value for field, value in changes.items()}
        moved = with_fields(base, texts)
        known = values_of(moved)
        self.run: Run | None = None
        self.estimate: Estimate | None = None
        self._working, self._starting = threading.Lock(), threading.Lock()
        self._found = Checked(None, {})
        self.panel = LaunchPanel(
            recipes=recipe_table(),
            groups=field_table(),
            recipe=recipe,
            values=values_of(base),
            changes={field: known[field] for field in texts if known[field] != values_of(base)[field]},
            run_name=name,
        )
        super().__init__([self.panel], layout={"width": "100%"})
        self._checks = Latest(self._check, self._tell, name="launch-form")
        self.panel.observe(self._recipe_changed, "recipe")
        self.panel.observe(lambda _: self._ask(), ["changes", "run_name"])
        self.panel.on_msg(self._hear)
        self._ask()

    def __repr__(self) -> str:
        return f"LaunchForm({self.panel.recipe!r}, run={self.run.name if self.run else None})"

    @property
    def recipe(self) -> Recipe:
        """What would be run.

        Raises
        ------
        ConfigError
            While a value is wrong: the first sentence that stands in the form.
        """
        found = check(self.panel.recipe, dict(self.panel.changes), self.panel.run_name)
        if found.recipe is None:
            raise ConfigError(next(iter(found.errors.values())))
        return found.recipe

    def measure(self) -> None:
        """Take a few steps of the recipe beside the kernel; the estimate appears in the form and as `estimate`."""
        threading.Thread(target=self._measure, name="launch-form-measure", daemon=True).start()

    def cancel(self) -> None:
        """End the measuring."""
        if self._rehearsal is not None:
            self._rehearsal.cancel()

    def start(self) -> Run:
        """Start the run and show its monitor; a measuring under way is ended.

        Raises
        ------
        ConfigError
            When a value is wrong, or the run cannot be made.
        """
        panel = self.panel
        while not self._working.acquire(timeout=0.1):
            self.cancel()
        try:
            panel.status = {"state": "starting", "text": "Starting the training process …"}
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", BatchWarning)  # they stand in the form
                run = self.run = launch(self.recipe, name=panel.run_name or None)
            self._show_monitor(run)
            with panel.hold_sync():
                panel.status = {"state": "started", "text": f"{run.name} is started.", "run": run.name}
                panel.run_name = ""  # the next run needs another
            return run
        except Exception as error:
            self._tell(error)
            raise
        finally:
            self._working.release()

    def close(self) -> None:
        """End the form, its threads, a measuring under way and the monitor; a started run goes on."""
        self.cancel()
        if self._checks is not None:
            self._checks.close()
        for part in (self.monitor, getattr(self, "panel", None)):  # none where the recipe was refused
            if part is not None:
                part.close()
        super().close()

    # -- what a person does -------------------------------------------------------------------------------------------

    def _ask(self) -> None:
        if self._checks is not None:
            self._checks.ask()

    def _recipe_changed(self, change: Any) -> None:
        try:
            base = values_of(recipe_named(change["new"]))
        except ConfigError as error:
            self._tell(error)
            return
        kept = {name: text for name, text in self.panel.changes.items() if base.get(name, text) != text}
        with self.panel.hold_sync():
            self.panel.values = base
            self.panel.changes = kept
        self._ask()

    def _hear(self, _: Any, content: dict[str, Any], __: Any) -> None:
        kind = content.get("type")
        if kind == "measure":
            self.measure()
        elif kind == "cancel":
            threading.Thread(target=self.cancel, daemon=True).start()
        elif kind == "start":
            threading.Thread(target=self._start_told, name="launch-form-start", daemon=True).start()

    def _start_told(self) -> None:
        if not self._starting.acquire(blocking=False):
            return  # a double click is one start
        try:
            with contextlib.suppress(Exception):  # a thread has nobody to raise to, and the form shows it
                self.start()
        finally:
            self._starting.release()

    def _show_monitor(self, run: Run) -> None:
        from twist.view.monitor import RunMonitor

        before, self.monitor = self.monitor, RunMonitor(run)
        self.children = (self.panel, self.monitor)
        if before is not None:
            before.close()

    # -- threads ------------------------------------------------------------------------------------------------------

    def _check(self) -> bool:
        panel = self.panel
        name, changes, run_name = panel.recipe, dict(panel.changes), panel.run_name
        found = self._found = check(name, changes, run_name)
        lines = {"python": "", "command": command_line(name, changes, run_name)}
        if found.recipe is not None:
            lines["python"] = python_line(name, found.recipe, changes, run_name)
        about = {"errors": found.errors, "warnings": found.warnings, "facts": found.facts, "follows": found.follows}
        panel.checked = {**about, **lines, "ok": found.recipe is not None}
        if panel.estimate["state"] in ("ready", "outdated"):
            state = "ready" if panel.estimate["of"] == [name, changes] else "outdated"
            if state != panel.estimate["state"]:
                panel.estimate = {**panel.estimate, "state": state}
        return False

    def _measure(self) -> None:
        panel = self.panel
        if not self._working.acquire(blocking=False):
            return
        of = [panel.recipe, dict(panel.changes)]
        try:
            panel.estimate = {"state": "measuring", "text": "Getting ready …", "of": of}
            self._rehearsal = Rehearsal(self.recipe)
            self.estimate = self._rehearsal.wait(
                lambda words: setattr(panel, "estimate", {"state": "measuring", "text": f"{words} …", "of": of})
            )
            text = str(self.estimate)
            panel.estimate = {"state": "ready", "text": text, "notes": list(self.estimate.notes), "of": of}
        except Cancelled:
            panel.estimate = dict(_NOT_MEASURED)
        except (ConfigError, EstimateFailed) as error:
            details = error.details if isinstance(error, EstimateFailed) else ""
            panel.estimate = {"state": "error", "text": str(error), "details": details, "of": of}
        except Exception as error:  # the person sees it in the form
            panel.estimate = {"state": "error", "text": f"{type(error).__name__}: {error}", "of": of}
        finally:
            self._rehearsal = None
            self._working.release()
        self._ask()

    def _tell(self, error: Exception) -> None:
        known = isinstance(error, ConfigError | TrainingFailed)
        text = str(error) if known else f"{type(error).__name__}: {error}"
        sentence, _, details = text.partition("\n")
        self.panel.status = {"state": "error", "text": sentence, "details": details.strip()}
