"""What a step says of itself beyond its loss, every so many steps."""

from __future__ import annotations

from twist.learn import diagnostics
from twist.learn.step import StepReport, gradient_norms
from twist.runs.config import Recipe


def diagnose(report: StepReport, recipe: Recipe) -> dict[str, float]:
    """The collapse numbers of a step's batch and of its gradient, by glossary name without prefix.

    Those of `twist.learn.diagnostics.summarize`; ``row_std_before_norm`` and ``column_std_before_norm``, the same
    spreads as ``row_std`` and ``column_std`` of what the final norm saw; and, while the TWIST terms teach,
    ``consistency_gradient``, ``sharpness_gradient`` and ``diversity_gradient``. The device is waited for. In several
    processes gradients are those of the joined batch, and all else is what this one sees.
    """
    numbers = diagnostics.summarize(
        [view.detach() for view in report.logits],
        report.features.detach(),
        temperature=recipe.objective.temperature,
    )
    before_norm = report.before_norm.float()
    numbers["row_std_before_norm"] = diagnostics.row_std(before_norm).item()
    numbers["column_std_before_norm"] = diagnostics.column_std(before_norm).item()
    if report.self_label is None:
        norms = gradient_norms(report, recipe)
        numbers |= {f"{name}_gradient": norm.item() for name, norm in norms.items()}
    return numbers
