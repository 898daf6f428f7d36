"""Images per second and core that become views: two of 32 pixels, and two of 224 with six of 96 from JPEG files."""

from __future__ import annotations

import itertools
import os
import statistics
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg
from torchvision.transforms.v2 import functional

from benchmarks.speed.memory import peak_bytes
from benchmarks.speed.nets import ModelAlone, Subject, ready_views, resnet50
from benchmarks.speed.peers import pil, tensors
from benchmarks.speed.pictures import photographs, pictures
from benchmarks.speed.rows import (
    Figure,
    Goal,
    Part,
    Row,
    at_least,
    at_most,
    best,
    compare,
    describe,
    figures_of,
    missing,
)
from benchmarks.speed.settings import Settings
from benchmarks.speed.turns import Contender, cpu_seconds, take_turns, wall_seconds
from twist.learn.views import make_views
from twist.runs.config import ConfigError, ViewsConfig

SMALL = ViewsConfig(
    size=32, crop_scale=(0.08, 1.0), blur_probability=(1.0, 0.1), solarize_probability=(0.0, 0.2), mean=(0.5,)
)
LARGE = ViewsConfig(
    size=224,
    crop_scale=(0.4, 1.0),
    blur_probability=(1.0, 0.1),
    solarize_probability=(0.0, 0.2),
    num_local_views=6,
    local_size=96,
    local_crop_scale=(0.05, 0.4),
    local_blur_probability=0.5,
)
KORNIA_MISSING = "kornia is not installed: make bench installs it"
NOT_COMPILED = "views cannot be compiled here: no C++ compiler is there"


def our_views(config: ViewsConfig, *, compiled: bool = False) -> Callable[[Tensor], list[Tensor]]:
    """Our views of a batch, a new epoch at every call."""
    epochs = itertools.count()
    ids: dict[int, Tensor] = {}

    def views(images: Tensor) -> list[Tensor]:
        known = ids.setdefault(len(images), torch.arange(len(images), device=images.device))
        return make_views(images, known, config, seed=0, epoch=next(epochs), compiled=compiled)

    return views


def in_colors(config: ViewsConfig) -> dict[str, ViewsConfig]:
    """The same views in both color modes, by the mode's name."""
    return {color: replace(config, color=color) for color in ("exact", "fast")}


def measure_small(settings: Settings) -> Part:
    """Two views of 32 pixels."""
    count = 4096 if settings.gpu else 512
    images = pictures(count, (32, 32)).to(settings.device)
    batched = [*_ours(images, SMALL), *_of_kornia(images)]
    memory = {}
    for contender in batched:
        contender.work()
        memory[contender.name] = peak_bytes(contender.work)
    contenders = [*batched, *_per_image(images.cpu(), settings)]
    clock, unit = _clock(settings)
    rates = take_turns(contenders, repeats=settings.repeats, clock=clock)
    figures = figures_of(rates, unit, work="two views at 32 px", memory=memory)
    return Part("a", (_rows_on_gpu if settings.gpu else _rows_on_cpu)(figures), list(figures.values()))


def _clock(settings: Settings) -> tuple[Callable[[], float], str]:
    return (wall_seconds, "images/s") if settings.gpu else (cpu_seconds, "images/s/core")


def _of_kornia(images: Tensor) -> list[Contender]:
    try:
        from benchmarks.speed.peers import kornia_views
    except ImportError:
        return []
    transforms = kornia_views.transforms_of(SMALL)
    return [Contender("kornia", lambda: len([transform(images) for transform in transforms]) and len(images))]


def _per_image(images: Tensor, settings: Settings) -> list[Contender]:
    """The peers that see one image at a time; beside a GPU only what feeds it, with a worker for each core."""
    dataset = pil.Views([image.permute(1, 2, 0).numpy() for image in images], SMALL)
    if settings.gpu:
        return [_in_workers("PIL in workers", dataset, 256, workers=os.cpu_count() or 1)]
    transforms = tensors.transforms_of(SMALL)
    few = images[:64]
    return [
        Contender("PIL, in process", lambda: sum(len(dataset[index]) == 2 for index in range(len(few)))),
        _in_workers("PIL, 2 workers", dataset, len(few), workers=2),
        Contender("torchvision v2", lambda: sum(len([f(image) for f in transforms]) == 2 for image in few)),
    ]


def _rows_on_gpu(figures: dict[str, Figure]) -> list[Row]:
    ours = best([figure for name, figure in figures.items() if name.startswith(("exact", "fast"))])
    values, what = [2 * value for value in ours.values], "views of 32 px per second"
    return [
        Row("views32", what, 2 * ours.median, at_least(2e6), describe(ours), "", values, "views/s"),
        compare("views32/pil", "two views at 32 px against PIL in workers", ours, figures["PIL in workers"]),
    ]


def _rows_on_cpu(figures: dict[str, Figure]) -> list[Row]:
    of_pil = best([figure for name, figure in figures.items() if name.startswith("PIL")])
    exact, exact_compiled = figures["exact, eager"], figures.get("exact, compiled")
    fast = best([figure for name, figure in figures.items() if name.startswith("fast")])
    kornia, per_image = figures.get("kornia"), figures["torchvision v2"]
    return [
        _row("fast/pil", "fast color against PIL", fast, of_pil, at_least(15)),
        _row("fast/kornia", "fast color against kornia", fast, kornia, at_least(7)),
        _row("exact-compiled/pil", "exact, compiled, against PIL", exact_compiled, of_pil, at_least(8)),
        _row("exact/pil", "exact, eager, against PIL", exact, of_pil, at_least(3.5)),
        _row("exact/kornia", "exact, eager, against kornia", exact, kornia),
        _row("exact/v2", "exact, eager, against torchvision v2 per image", exact, per_image),
    ]


def _row(key: str, what: str, ours: Figure | None, peer: Figure | None, goal: Goal | None = None) -> Row:
    key, what = f"views32/{key}", f"two views at 32 px, per core: {what}"
    if ours is None or peer is None:
        return missing(key, what, goal, KORNIA_MISSING if peer is None else NOT_COMPILED)
    return compare(key, what, ours, peer, goal)


def _ours(images: Tensor, config: ViewsConfig) -> list[Contender]:
    found = []
    for color, chosen in in_colors(config).items():
        for how, compiled in (("eager", False), ("compiled", True)):
            views = our_views(chosen, compiled=compiled)
            try:
                views(images)  # compiles for this size
            except ConfigError:  # there is no compiler
                continue
            found.append(Contender(f"{color}, {how}", lambda views=views: len(views(images)) and len(images)))
    return found


def _in_workers(name: str, dataset: pil.Views, batch_size: int, *, workers: int) -> Contender:
    fed = pil.Fed(dataset, batch_size, workers)
    return Contender(name, lambda: len(fed.next()[0]), fed.enter, fed.leave)


def measure_large(settings: Settings) -> Part:
    """Two views of 224 pixels and six of 96, from JPEG files of 500 x 375; every file is decoded once a turn."""
    files = photographs(64 if settings.gpu else 16)
    dataset = pil.Views(files, LARGE)
    if settings.gpu:
        contenders = [_in_workers("PIL in workers", dataset, len(files), workers=os.cpu_count() or 1)]
    else:
        contenders = [Contender("PIL", lambda: sum(len(dataset[index]) == 8 for index in range(len(files))))]
    for color, config in in_colors(LARGE).items():
        contenders.append(_decode_and_view(color, files, our_views(config), settings.device))
    clock, unit = _clock(settings)
    rates = take_turns(contenders, repeats=settings.repeats, clock=clock)
    what = "2 x 224 px + 6 x 96 px from JPEG files, decoded once"
    of_pil, *ours = figures_of(rates, unit, work=what).values()
    rows = [
        compare(f"views224/{figure.name}/pil", f"{what}: {figure.name} color against PIL", figure, of_pil, at_least(1))
        for figure in ours
    ]
    if settings.gpu:
        rows.append(share_of_resnet50(resnet50(64), settings))
    return Part("b", rows, [of_pil, *ours])


def share_of_resnet50(subject: Subject, settings: Settings) -> Row:
    """The views' time over that of a step, in bfloat16, of the net they are made for."""
    model = ModelAlone(subject, settings.device, torch.bfloat16)
    contenders = [Contender("views", ready_views(model)), Contender("model", model.step)]
    rates = take_turns(contenders, repeats=settings.repeats, clock=wall_seconds)
    values = [100 * step / views for views, step in zip(rates["views"], rates["model"], strict=True)]
    what = f"views, of a step of {subject.name}"
    return Row("views224/resnet50", what, statistics.median(values), at_most(10), "", "", values, "%")


def _decode_and_view(
    name: str, files: list[bytes], views: Callable[[Tensor], list[Tensor]], device: torch.device
) -> Contender:
    encoded = [torch.frombuffer(bytearray(file), dtype=torch.uint8) for file in files]

    def work() -> int:
        batch = torch.stack([_square(decode_jpeg(file, ImageReadMode.RGB)) for file in encoded])
        views(batch.to(device))
        return len(files)

    return Contender(name, work)


def _square(image: Tensor) -> Tensor:
    """The central square at 256 pixels, as `twist.learn.datasets` keeps photographs."""
    side = min(image.shape[1:])
    return functional.resize(functional.center_crop(image, [side, side]), [256, 256], antialias=True)
