"""Where a picture comes from, in one line: run, step, seed, images and code, so that an exported file can be traced."""

from __future__ import annotations

import re

import twist
from twist.runs.record import RunRecord


def provenance(record: RunRecord, step: int | None = None) -> str:
    """One line that names the run, the step, the seed, the images (their fingerprint) and the code (its commit).

    Plain text: escape it where markup acts. What a run does not know of itself is left out.
    """
    identity = record.identity
    parts = [f"run {record.name} ({identity['id']})"] if identity.get("id") else [f"run {record.name}"]
    frozen = record.frozen
    if frozen:
        parts.append(f"features of {frozen.get('model')}, classes by {frozen.get('labeler')}")
    elif step is not None:
        parts.append(f"step {step:,}")
    parts.append(f"seed {record.recipe.seed}")
    if images := record.images_fingerprint:
        parts.append(f"images {images}")
    commit = (identity.get("code") or {}).get("commit")
    parts.append(f"twist {identity.get('twist', twist.__version__)}" + (f" at {commit[:7]}" if commit else ""))
    return " · ".join(parts)


def file_name(record: RunRecord, view: str, step: int | None = None) -> str:
    """A name without ending for an exported file: ``run-step-view``, safe on every system.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> file_name(SimpleNamespace(name="my run/ü"), "map", 40)
    'my-run-ü-step40-map'
    """
    when = "" if step is None else f"-step{step}"
    return re.sub(r"[^\w.-]+", "-", f"{record.name}{when}-{view}").strip("-.") or view
