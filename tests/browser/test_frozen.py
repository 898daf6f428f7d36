"""Frozen features in a real JupyterLab: a timm model with random weights, and a backbone file of somebody else."""

from __future__ import annotations

import numpy as np
import pytest
from browsing import ask, command, expect, hover_any_point
from exploring import make_map

pytestmark = pytest.mark.browser

COUNT = 60


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """Images of three kinds, and a torchvision state dict as others save one."""
    import timm
    import torch
    from torchvision.models import resnet18

    assert timm.__version__
    folder = tmp_path_factory.mktemp("sources")
    rng = np.random.default_rng(0)
    labels = np.arange(COUNT) % 3
    images = rng.integers(0, 40, (COUNT, 32, 32, 3), dtype=np.uint8)
    for kind in range(3):
        images[labels == kind, :, :, kind] += 180
    np.savez(folder / "kinds.npz", images=images, labels=labels, label_names=np.array(["red", "green", "blue"]))
    torch.manual_seed(0)
    torch.save(resnet18().state_dict(), folder / "theirs.pth")
    return folder


@pytest.fixture(
    scope="module",
    params=[
        ("timm:resnet10t?weights=random&image_size=32", "timm:resnet10t", "timm-features"),
        ("theirs.pth", "theirs", "file-features"),
    ],
    ids=["timm", "file"],
)
def explored(request, lab, open_page, sources):
    """A notebook with the explorer of a frozen run, and the run's name."""
    from twist.learn.frozen import label

    spec, shown, name = request.param
    source = sources / spec if (sources / spec).is_file() else spec
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TWIST_RUNS", str(lab.runs))
        run = label(source, "kmeans", 3, data=sources / "kinds.npz", name=name)
    make_map(run.path, 0, COUNT)
    lab.write(f"{name}.ipynb", [f"import twist\nexplorer = twist.ClassExplorer({name!r})\nexplorer"])
    page = open_page()
    lab.open(page, f"{name}.ipynb")
    command(page, "notebook:run-all-cells")
    found = page.locator(".twist-explorer")
    expect(found).to_have_attribute("data-state", "ready", timeout=90_000)
    expect(found.locator(".twist-tile")).not_to_have_count(0)
    return page, found, shown, run


def test_frozen_features_are_explored_by_hover_lasso_and_selection(explored):
    page, explorer, shown, run = explored
    expect(explorer.locator(".twist-note")).to_contain_text("Nothing was trained here: features of")
    expect(explorer.locator(".twist-note")).to_contain_text(shown)
    expect(explorer.locator(".twist-note")).to_contain_text("classes by k-means.")
    expect(explorer).to_contain_text(f"frozen features · {COUNT} images")
    row = hover_any_point(page, explorer)
    card = explorer.locator(".twist-card")
    assert card.get_attribute("data-sample") == str(row)
    assert "blob:" in card.locator(".twist-picture").evaluate("node => node.style.backgroundImage")
    page.mouse.down()
    page.mouse.up()
    expect(explorer).not_to_have_attribute("data-selected-class", "-1")
    assert ask(page, "print(explorer.selected_samples, list(explorer.selection.index))") == f"[{row}] [{row}]"
    run.record.poll()
    assignment = np.asarray(run.record.snapshot().assignment)
    explorer.locator(".twist-map canvas").last.press("Escape")
    expect(explorer).to_have_attribute("data-selected-class", "-1")  # a class that is chosen would be given up
    explorer.get_by_role("button", name="Class 1:").click()
    members = np.flatnonzero(assignment == 1)
    expect(explorer.locator(".twist-gallery h3")).to_contain_text(f"Class 1 · {len(members)} of {COUNT} images")
    assert ask(page, "print(*sorted(explorer.selection.index))") == " ".join(map(str, members))
    explorer.locator(".twist-map canvas").last.press("Escape")
    box = explorer.locator(".twist-map canvas").last.bounding_box()
    edges = [(0.98, 0.02), (0.98, 0.98), (0.02, 0.98), (0.02, 0.02), (0.97, 0.02)]
    corners = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in edges]
    page.keyboard.down("Shift")
    page.mouse.move(*corners[0])
    page.mouse.down()
    for corner in corners[1:]:
        page.mouse.move(*corner, steps=8)
    page.mouse.up()
    page.keyboard.up("Shift")
    for _ in range(50):
        if ask(page, "print(len(explorer.selected_samples))") == str(COUNT):
            break
        page.wait_for_timeout(200)
    assert ask(page, "print(len(explorer.selected_samples), len(explorer.selection))") == f"{COUNT} {COUNT}"
