"""One line that tells a waiting person what is under way."""

from __future__ import annotations

import sys


class Line:
    """One line on a terminal that is written over; in a log file only whole lines appear."""

    def __init__(self) -> None:
        self._shown = ""

    def draw(self, text: str) -> None:
        """Show a text in place of the one before."""
        if sys.stderr.isatty() and text != self._shown:
            print(f"\r{text[:150]:<{min(150, len(self._shown))}}", end="", file=sys.stderr, flush=True)
            self._shown = text

    def say(self, text: str) -> None:
        """Print a text that stays."""
        self.clear()
        print(text, file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Free the line."""
        if self._shown:
            print(f"\r{'':<{min(150, len(self._shown))}}\r", end="", file=sys.stderr, flush=True)
        self._shown = ""
