"""The pictures of the README, made anew: ``make pictures`` trains digits, opens each view, and photographs it.

Each view is opened as ``twist app`` serves it, in headless Chromium, in both lightings. The runs stay in
``build/pictures``, so that the next call only photographs.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, expect, sync_playwright

import twist

HOME = Path(__file__).parents[1]
RUNS = HOME / "build" / "pictures" / "runs"
PICTURES = HOME / "docs" / "pictures"
WIDTH = 1180
LONGEST_MS = 120_000
#: The runs: the recipe of digits as it is, with another seed, and without the term whose lack lets it collapse.
SETTINGS = {"digits": {}, "another-seed": {"seed": 1}, "no-sharpness": {"objective__sharpness_weight": 0.0}}
expect.set_options(timeout=LONGEST_MS)


def main() -> None:
    """Train what is missing, then take the pictures asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pictures", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help=f"which: {', '.join(VIEWS)}; all when left out")
    wanted = parser.parse_args().names or list(VIEWS)
    os.environ["TWIST_RUNS"] = str(RUNS)
    train()
    PICTURES.mkdir(parents=True, exist_ok=True)
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        chrome = playwright.chromium.launch(
            executable_path=program, args=["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
        )
        for name in wanted:
            for theme in ("light", "dark"):
                page = chrome.new_page(
                    viewport={"width": WIDTH, "height": 1500},
                    color_scheme=theme,
                    reduced_motion="reduce",
                    device_scale_factor=1.5,
                )
                page.set_default_timeout(LONGEST_MS)
                arguments, show = VIEWS[name]
                with served(*arguments, "--theme", theme) as address:
                    page.goto(address)
                    keep(show(page), PICTURES / f"{name}-{theme}.webp")
                page.close()
        chrome.close()


def train() -> None:
    """Train what is not there yet."""
    for name, changes in SETTINGS.items():
        twist.launch("digits", name=name, exist_ok=True, **changes).wait()


@contextlib.contextmanager
def served(*arguments: str) -> Iterator[str]:
    """The address of an app while the block lasts."""
    command = [sys.executable, "-m", "twist", "app", *arguments, "--no-browser", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as server:
        try:
            yield next(json.loads(line)["address"] for line in server.stdout or () if line.startswith(b"{"))
        finally:
            server.terminate()


def keep(picture: bytes, path: Path) -> None:
    """Write a screenshot as WebP: a fifth of a PNG that keeps the classes' colors apart."""
    Image.open(io.BytesIO(picture)).convert("RGB").save(path, quality=86, method=6)
    print(f"{path.relative_to(HOME)}  {path.stat().st_size / 1000:.0f} kB")


def explorer(page: Page) -> bytes:
    """The class explorer, one of the least sure images pinned."""
    root = page.locator(".twist-explorer")
    expect(root.locator(".twist-tile").first).to_be_visible()
    page.wait_for_timeout(30_000)  # the aligned maps
    root.get_by_label("Order of the images").select_option("least")
    root.locator(".twist-tile").nth(5).click()
    page.mouse.move(0, 0)
    page.wait_for_timeout(1500)
    return root.screenshot()


def monitor(page: Page) -> bytes:
    """The monitor of a run that ended."""
    expect(page.locator(".js-plotly-plot").first).to_be_visible()
    page.wait_for_timeout(4000)
    return crop(page)


def crop(page: Page) -> bytes:
    """The page down to where its static copy begins."""
    end = page.get_by_text(re.compile("^Static copy")).first.bounding_box()
    height = min(1500, end["y"]) if end else 1500
    return page.screenshot(clip={"x": 0, "y": 0, "width": WIDTH, "height": height})


def compare(page: Page) -> bytes:
    """All three runs side by side."""
    table = page.locator(".twist-compare")
    for name in SETTINGS:
        table.get_by_role("checkbox", name=f"compare {name}", exact=True).click()
        page.wait_for_timeout(1500)
    expect(page.locator(".js-plotly-plot").first).to_be_visible()
    page.wait_for_timeout(8000)
    return crop(page)


def views(page: Page) -> bytes:
    """Two views of an image, and what the network says of them."""
    root = page.locator(".twist-two-views")
    measure = root.get_by_role("button", name="Measure")
    expect(measure).to_be_enabled()
    root.get_by_label("Order of the images").select_option("least")
    root.locator(".twist-picks button").nth(5).click()
    page.wait_for_timeout(3000)
    measure.click()
    expect(root).to_have_attribute("data-sensitivity", "done")
    page.wait_for_timeout(1000)
    return root.screenshot()


def lab(page: Page) -> bytes:
    """The toy of the collapse lab, healthy, with the pulls of the three terms."""
    page.set_viewport_size({"width": 1280, "height": 720})
    root = page.locator(".twist-lab")
    root.get_by_role("button", name="Pulls").click()
    page.wait_for_function("Number(document.querySelector('.twist-lab [data-step]')?.dataset.step) >= 125")
    root.get_by_role("button", name="Pause").first.click()
    page.mouse.move(0, 0)
    page.wait_for_timeout(1000)
    return root.screenshot()


#: Picture -> the arguments of `twist app`, and what photographs it.
VIEWS: dict[str, tuple[tuple[str, ...], Callable[[Page], bytes]]] = {
    "explorer": (("classes", "digits"), explorer),
    "monitor": (("monitor", "digits"), monitor),
    "compare": (("compare",), compare),
    "views": (("views", "digits"), views),
    "lab": (("lab",), lab),
}

if __name__ == "__main__":
    main()
