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
import shutil
import signal
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
                    viewport={"width": WIDTH, "height": 1000},
                    color_scheme=theme,
                    reduced_motion="reduce",
                    device_scale_factor=1.5,
                )
                arguments, show = VIEWS[name]
                with served(*arguments, "--theme", theme) as address:
                    page.goto(address)
                    keep(show(page), PICTURES / f"{name}-{theme}.png")
                page.close()
        chrome.close()


def train() -> None:
    """Three runs of digits: the recipe as it is, one that collapses, one of another seed."""
    settings = {"digits": {}, "no-sharpness": {"objective__sharpness_weight": 0.0}, "another-seed": {"seed": 1}}
    for name, changes in settings.items():
        twist.launch("digits", name=name, exist_ok=True, **changes).wait()


@contextlib.contextmanager
def served(*arguments: str) -> Iterator[str]:
    """The address of an app while the block lasts."""
    command = [sys.executable, "-m", "twist", "app", *arguments, "--no-browser", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as server:
        try:
            yield next(json.loads(line)["address"] for line in server.stdout or () if line.startswith(b"{"))
        finally:
            server.send_signal(signal.SIGINT)


def keep(picture: bytes, path: Path) -> None:
    """Write a screenshot with as many colors as it needs, at most 256, which is a third of its size."""
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    image.quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path.relative_to(HOME)}  {path.stat().st_size / 1000:.0f} kB")


def explorer(page: Page) -> bytes:
    """The class explorer, a class chosen and an image pinned."""
    root = page.locator(".twist-explorer")
    expect(root.locator(".twist-tile").first).to_be_visible(timeout=90_000)
    page.wait_for_timeout(30_000)  # the aligned maps
    root.get_by_role("button", name="Class 3:").click()
    root.locator(".twist-tile").nth(5).click()
    page.mouse.move(0, 0)
    page.wait_for_timeout(1500)
    return root.screenshot()


def monitor(page: Page) -> bytes:
    """The monitor of a run that ended."""
    expect(page.locator(".js-plotly-plot").first).to_be_visible(timeout=90_000)
    page.wait_for_timeout(4000)
    return page.screenshot(full_page=True)


def compare(page: Page) -> bytes:
    """Two runs side by side."""
    expect(page.locator(".twist-compare").first).to_be_visible(timeout=90_000)
    page.wait_for_timeout(4000)
    return page.screenshot(full_page=True)


def views(page: Page) -> bytes:
    """Two views of an image, and what the network says of them."""
    root = page.locator(".twist-two-views")
    expect(root).to_be_visible(timeout=90_000)
    page.wait_for_timeout(8000)
    return root.screenshot()


#: Picture -> the arguments of `twist app`, and what photographs it.
VIEWS: dict[str, tuple[tuple[str, ...], Callable[[Page], bytes]]] = {
    "explorer": (("classes", "digits"), explorer),
    "monitor": (("monitor", "digits"), monitor),
    "compare": (("compare",), compare),
    "views": (("views", "digits"), views),
}

if __name__ == "__main__":
    main()
