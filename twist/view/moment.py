"""What the views of one run look at together: a step, and the images and the class chosen there."""

from __future__ import annotations

import threading
import weakref
from pathlib import Path

import traitlets


class Moment(traitlets.HasTraits):
    """The step, class and images that all views of a run show: set it in one view, and the others follow.

    Every view of a run asks `moment_of` for the one of its folder, so that views find each other without being told
    of each other, also across cells of a notebook. A view observes what it can show and leaves the rest.

    Attributes
    ----------
    step
        The step to look at; -1 means the newest, and views follow the run.
    selected_class
        The class to look at, -1 for none.
    selected_samples
        Rows of the watch images chosen, a tuple; empty for none.
    """

    step = traitlets.Int(-1, min=-1)
    selected_class = traitlets.Int(-1, min=-1)
    selected_samples = traitlets.Tuple()


_MOMENTS: weakref.WeakValueDictionary[Path, Moment] = weakref.WeakValueDictionary()
_LOCK = threading.Lock()


def moment_of(path: Path) -> Moment:
    """The moment of a run, the same for every view of it while one of them lives.

    Examples
    --------
    >>> one, other = moment_of(Path("runs/a")), moment_of(Path("runs/../runs/a"))
    >>> one is other, one is moment_of(Path("runs/b"))
    (True, False)
    """
    key = Path(path).resolve()
    with _LOCK:
        moment = _MOMENTS.get(key)
        if moment is None:
            moment = _MOMENTS[key] = Moment()
        return moment
