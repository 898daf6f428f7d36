"""The lecture: exercises of the notebooks, each with a judge that says what is wrong and never the answer.

Loads no torch, no plotly and no widgets, so that a notebook asks its first question at once.
"""

from twist.lecture.exercise import Exercise, Feedback, exercise

__all__ = ["Exercise", "Feedback", "exercise"]
