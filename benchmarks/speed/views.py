"""Images per second and core that become views: two of 32 pixels, and two of 224 with six of 96 from JPEG files."""

from __future__ import annotations

import dataclasses
import inspect
import itertools
from collections.abc import Callable

import torch
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg
from torchvision.transforms.v2 import functional

from benchmarks.speed.memory import peak_bytes
from benchmarks.speed.peers import pil, tensors
from benchmarks.speed.pictures import photographs, pictures
from benchmarks.speed.rows import Figure, Goal, Part, Row, at_least, best, compare, describe, figures_of, missing
from benchmarks.speed.settings import Settings
from benchmarks.speed.turns import Contender, cpu_seconds, take_turns, wall_seconds
from twist.learn.views import make_views
from twist.runs.config import ViewsConfig
from twist.runs.recipes.paper import IMAGENET_MEAN, IMAGENET_STD

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
NO_FAST_COLOR = "this version has no views.color"
NOT_COMPILED = "this version compiles no views, or no compiler is there"


def our_views(config: ViewsConfig, *, compiled: bool = False) -> Callable[[Tensor], list[Tensor]] | None:
    """Our views of a batch, a new epoch at every call; None when this version does not have what is asked for."""
    if compiled and "compiled" not in inspect.signature(make_views).parameters:
        return None
    chosen = {"compiled": True} if compiled else {}
    epochs = itertools.count()
    ids: dict[int, Tensor] = {}

    def views(images: Tensor) -> list[Tensor]:
        known = ids.setdefault(len(images), torch.arange(len(images), device=images.device))
        return make_views(images, known, config, seed=0, epoch=next(epochs), **chosen)

    return views


def fast(config: ViewsConfig) -> ViewsConfig | None:
    """The same views in the fast color mode; None when this version has none."""
    if "color" not in {each.name for each in dataclasses.fields(config)}:
        return None
    return dataclasses.replace(config, color="fast")


def measure_small(settings: Settings) -> Part:
    """Two views of 32 pixels."""
    count = 4096 if settings.gpu else 512
    images = pictures(count, (32, 32)).to(settings.device)
    arrays = [image.permute(1, 2, 0).numpy() for image in images.cpu()]
    contenders, memory, kornia_note = _ours(images, SMALL), {}, ""
    if not settings.gpu:
        dataset = pil.Views(arrays, SMALL)
        contenders.append(Contender("PIL, in process", lambda: sum(1 for i in range(64) if dataset[i])))
        contenders.append(_in_workers("PIL, 2 workers", dataset, 64))
        transforms = tensors.transforms_of(SMALL)
        contenders.append(
            Contender(
                "torchvision v2, per image", lambda: sum(1 for i in range(64) if [f(images[i]) for f in transforms])
            )
        )
    else:
        contenders.append(_in_workers("PIL, workers", pil.Views(arrays, SMALL), 256, workers=16))
    try:
        from benchmarks.speed.peers import kornia_views

        of_kornia = kornia_views.transforms_of(SMALL)
        contenders.append(Contender("kornia", lambda: len([f(images) for f in of_kornia]) and count))
    except ImportError:
        kornia_note = KORNIA_MISSING
    clock = wall_seconds if settings.gpu else cpu_seconds
    unit = "images/s" if settings.gpu else "images/s/core"
    for contender in contenders:
        if "PIL" not in contender.name and "v2" not in contender.name:
            contender.work()
            memory[contender.name] = peak_bytes(contender.work)
    figures = figures_of(take_turns(contenders, repeats=settings.repeats, clock=clock), unit, memory=memory)
    return Part("a", _rows_small(figures, settings, kornia_note), list(figures.values()))


def _rows_small(figures: dict[str, Figure], settings: Settings, kornia_note: str) -> list[Row]:
    of_pil = best([figure for name, figure in figures.items() if name.startswith("PIL")])
    exact, exact_compiled = figures["exact, eager"], figures.get("exact, compiled")
    quick = [figures[name] for name in ("fast, eager", "fast, compiled") if name in figures]
    of_kornia = figures.get("kornia")
    if settings.gpu:
        ours = best([exact, *quick, *([exact_compiled] if exact_compiled else [])])
        views = [2 * value for value in ours.values]
        value = 2 * ours.median
        return [
            Row(
                "views32", "views of 32 px per second", value, at_least(2e6), describe(ours), "", views, unit="views/s"
            ),
            compare("views32/pil", "two views at 32 px against PIL in workers", ours, of_pil),
        ]
    what = "two views at 32 px, per core: "
    return [
        _either("views32/fast/pil", what + "fast color against PIL", quick, of_pil, at_least(15), NO_FAST_COLOR),
        _either(
            "views32/fast/kornia",
            what + "fast color against kornia",
            quick,
            of_kornia,
            at_least(7),
            kornia_note or NO_FAST_COLOR,
        ),
        _either(
            "views32/exact-compiled/pil",
            what + "exact, compiled, against PIL",
            [exact_compiled] if exact_compiled else [],
            of_pil,
            at_least(8),
            NOT_COMPILED,
        ),
        compare("views32/exact/pil", what + "exact, eager, against PIL", exact, of_pil, at_least(3.5)),
        _either("views32/exact/kornia", what + "exact, eager, against kornia", [exact], of_kornia, None, kornia_note),
        *(
            [
                compare(
                    "views32/exact/v2",
                    what + "exact, eager, against torchvision v2 per image",
                    exact,
                    figures["torchvision v2, per image"],
                )
            ]
        ),
    ]


def _either(key: str, what: str, ours: list[Figure], peer: Figure | None, goal: Goal | None, why: str) -> Row:
    if not ours or peer is None:
        return missing(key, what, goal, why)
    return compare(key, what, best(ours), peer, goal)


def _ours(images: Tensor, config: ViewsConfig) -> list[Contender]:
    found = []
    for color, chosen in (("exact", config), ("fast", fast(config))):
        for compiled in (False, True):
            views = None if chosen is None else our_views(chosen, compiled=compiled)
            if views is None:
                continue
            name = f"{color}, {'compiled' if compiled else 'eager'}"
            found.append(Contender(name, lambda views=views: len(views(images)) and len(images)))
    return found


def _in_workers(name: str, dataset: pil.Views, batch_size: int, *, workers: int = 2) -> Contender:
    fed = pil.Fed(dataset, batch_size, workers)
    return Contender(name, lambda: len(fed.next()[0]), fed.enter, fed.leave)


def measure_large(settings: Settings) -> Part:
    """Two views of 224 pixels and six of 96, from JPEG files of 500 x 375; every file is decoded once a turn."""
    files = photographs(64 if settings.gpu else 16)
    config = dataclasses.replace(LARGE, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    dataset = pil.Views(files, dataclasses.replace(LARGE, mean=(0.45,), std=(0.225,)))
    contenders = [Contender("PIL: decode, eight views", lambda: sum(1 for i in range(len(files)) if dataset[i]))]
    for color, chosen in (("exact", config), ("fast", fast(config))):
        views = None if chosen is None else our_views(chosen)
        if views is not None:
            contenders.append(_decode_and_view(f"decode, {color} views of the batch", files, views, settings.device))
    if settings.gpu:
        contenders[0] = _in_workers("PIL in 16 workers: decode, eight views", dataset, len(files), workers=16)
    clock = wall_seconds if settings.gpu else cpu_seconds
    unit = "images/s" if settings.gpu else "images/s/core"
    figures = figures_of(take_turns(contenders, repeats=settings.repeats, clock=clock), unit)
    of_pil, *ours = figures.values()
    what = "2 x 224 px + 6 x 96 px from JPEG files, decoded once"
    rows = [
        compare(
            f"views224/{figure.name.split()[1]}/pil",
            f"{what}: {figure.name.split()[1]} color against PIL",
            figure,
            of_pil,
            at_least(1),
        )
        for figure in ours
    ]
    return Part("b", rows, list(figures.values()))


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
