"""What a step says of itself beyond its loss, every so many steps."""

from __future__ import annotations

from twist.learn import diagnostics
from twist.learn.step import StepReport, gradient_norms
from twist.runs.config import Recipe


def diagnose(report: StepReport, recipe: Recipe) -> dict[str, float]:
    """The collapse numbers of a step's batch and of its gradient, by glossary name without prefix.

    Those of `twist.learn.diagnostics.summarize`; ``row_std_before_norm`` and ``column_std_before_norm``, the same
    spreads as ``row_std`` and ``column_std`` of what the final norm saw; and, while the TWIST terms teach,
    ``consistency_gradient``, ``sharpness_gradient`` and ``diversity_gradient``. All of them are read from
    the device at once, which is waited for there and by the eigenvalues. In several processes gradients are those of
    the joined batch, and all else is what this one sees.
    """
    before_norm = report.before_norm.float()
    beside = {
        "row_std_before_norm": diagnostics.row_std(before_norm),
        "column_std_before_norm": diagnostics.column_std(before_norm),
    }
    if report.self_label is None:
        beside |= {f"{name}_gradient": norm for name, norm in gradient_norms(report, recipe).items()}
    return diagnostics.summarize(
        list(report.logits), report.features.detach(), temperature=recipe.objective.temperature, beside=beside
    )
