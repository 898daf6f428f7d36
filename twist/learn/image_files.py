"""Image files as pixels: what their headers promise, and the one decoder behind every way of keeping them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from twist.learn.stored_images import StoredImages, num_threads
from twist.runs.config import ConfigError

#: Raised whenever other pixels come out of the same file; older caches are then made again.
DECODER = 1

# Formats by name, as Pillow's full list includes some that start other programs.
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
_MOST_PIXELS = 64_000_000  # a photograph of 8,000 x 8,000; more is refused before it is decoded
_SHOWN = 5  # broken images named in a message
_TURNED = (5, 6, 7, 8)  # EXIF orientations that swap width and height
_BLOCK_BYTES = 64 * 2**20

Progress = Callable[[int, int], None]


class ImageFiles(StoredImages):
    """Image files of a folder, decoded as they are read.

    Parameters
    ----------
    folder
        The folder, for messages.
    paths
        One file per image.
    side
        Side to which images are brought; none means that they have one size.
    shape
        What all files become together.
    """

    def __init__(self, folder: Path, paths: Sequence[Path], side: int | None, shape: tuple[int, int, int, int]):
        self.folder, self.paths, self.side, self.shape = folder, paths, side, shape

    def read(self, rows: Int64[Tensor, " n"], pixels: UInt8[Tensor, "n ch H W"]) -> None:
        """Decode the files of these rows.

        Raises
        ------
        ConfigError
            When one is damaged: names it.
        """
        for row, place in zip(rows.tolist(), pixels.numpy(), strict=True):
            if reason := self._decode_into(row, place):
                raise ConfigError(
                    f"the image {_relative(self.folder, self.paths[row])} in {str(self.folder)!r} {reason}: put the "
                    "sound file back and resume, or repair or remove it and launch a new run; with data.keep=cache all "
                    "images are decoded before a run begins"
                )

    def reading(self) -> AbstractContextManager[None]:
        """Pillow's warnings out of the way."""
        return _strict_pillow()

    def blocks(
        self, whole: UInt8[np.ndarray, "N ch H W"] | None = None, *, on_progress: Progress | None = None
    ) -> Iterator[UInt8[np.ndarray, "n ch H W"]]:
        """All images, in order, block after block of at most 64 MB.

        Parameters
        ----------
        whole
            Where all images go; without it every block is decoded into the same memory.
        on_progress
            Called with (images done, images) after every block; an exception in it ends the reading.

        Raises
        ------
        ConfigError
            After the last block, when images are damaged: names them.
        """
        step = max(1, _BLOCK_BYTES * len(self) // max(1, self.nbytes))
        block = np.empty((min(step, len(self)), *self.shape[1:]), np.uint8) if whole is None else whole
        broken: dict[int, str] = {}
        with self.reading(), ThreadPoolExecutor(num_threads()) as pool:
            for first in range(0, len(self), step):
                rows = range(first, min(first + step, len(self)))
                places = block[: len(rows)] if whole is None else whole[first : rows.stop]
                reasons = pool.map(self._decode_into, rows, places)
                broken |= {row: reason for row, reason in zip(rows, reasons, strict=True) if reason}
                yield places
                if on_progress is not None:
                    on_progress(rows.stop, len(self))
        _refuse_broken(self.folder, self.paths, broken)

    def read_sound(self, rows: Sequence[int]) -> tuple[UInt8[Tensor, "n ch H W"], dict[int, str]]:
        """The images of these rows but for damaged ones, in order, and why each of those cannot be used, by row."""
        pixels = np.empty((len(rows), *self.shape[1:]), np.uint8)
        with self.reading(), ThreadPoolExecutor(num_threads()) as pool:
            reasons = dict(zip(rows, pool.map(self._decode_into, rows, pixels), strict=True))
        broken = {row: reason for row, reason in reasons.items() if reason}
        return torch.from_numpy(pixels[[row not in broken for row in rows]]), broken

    def _decode_into(self, row: int, place: np.ndarray) -> str | None:
        """Decode one file into its place, or say why that cannot be."""
        pixels = _decode(self.paths[row], self.side)
        if isinstance(pixels, str):
            return pixels
        channels = 1 if pixels.ndim == 2 else 3
        if pixels.shape[:2] != self.shape[2:] or channels > self.shape[1]:
            return "was changed after the images were counted"
        place[:] = pixels if channels == 1 else pixels.transpose(2, 0, 1)  # gray ones become three equal channels
        return None


def survey(folder: Path, paths: Sequence[Path], side: int | None) -> ImageFiles:
    """The images of these files, after a look at every header.

    Parameters
    ----------
    folder
        The folder, for messages.
    paths
        One file per image.
    side
        Side to which images are brought, or None.

    Raises
    ------
    ConfigError
        When files are no images or too large: names them. When images differ in size and no side is given.
    """
    with _strict_pillow():
        headers = _read_headers(paths, need_size=side is None)
        _refuse_broken(folder, paths, {row: one for row, one in enumerate(headers) if isinstance(one, str)})
        known = [one for one in headers if not isinstance(one, str)]
        first = known[0]
        other = next((row for row, one in enumerate(known) if one.size != first.size), None)
        if side is None and other is not None and isinstance(reason := _decode(paths[other], None), str):
            _refuse_broken(folder, paths, {other: reason})  # what it says of its size means nothing
    if side is None and other is not None:
        (columns, rows), (other_columns, other_rows) = first.size, known[other].size
        raise ConfigError(
            f"images in {str(folder)!r} differ in size: {_relative(folder, paths[0])} is {columns} x {rows} pixels, "
            f"{_relative(folder, paths[other])} is {other_columns} x {other_rows}; "
            "bring them to one side N with `--set data.image_size=N`"
        )
    width, height = (side, side) if side is not None else first.size
    return ImageFiles(folder, paths, side, (len(paths), 1 if all(one.is_gray for one in known) else 3, height, width))


def survey_sound(
    folder: Path, paths: Sequence[Path], *, side: int | None, side_if_mixed: int
) -> tuple[ImageFiles | None, dict[Path, str]]:
    """Those of the files that are images by their headers, and why others are none.

    Parameters
    ----------
    folder, paths
        As for `survey`.
    side
        Side to which images are brought; none keeps a common size.
    side_if_mixed
        The same where no side is given and the images have no common size.
    """
    with _strict_pillow():
        headers = dict(zip(paths, _read_headers(paths, need_size=side is None), strict=True))
    broken = {path: one for path, one in headers.items() if isinstance(one, str)}
    known = {path: one for path, one in headers.items() if not isinstance(one, str)}
    if not known:
        return None, broken
    sizes = {one.size for one in known.values()}
    if side is None and len(sizes) > 1:
        side = side_if_mixed
    width, height = (side, side) if side is not None else next(iter(sizes))
    channels = 1 if all(one.is_gray for one in known.values()) else 3
    return ImageFiles(folder, list(known), side, (len(known), channels, height, width)), broken


def _read_headers(paths: Sequence[Path], *, need_size: bool) -> list[_Header | str]:
    with ThreadPoolExecutor(num_threads()) as pool:
        return list(pool.map(partial(_read_header, need_size=need_size), paths))


def _refuse_broken(folder: Path, paths: Sequence[Path], broken: Mapping[int, str]) -> None:
    if not broken:
        return
    more = f", and {len(broken) - _SHOWN} more" if len(broken) > _SHOWN else ""
    raise ConfigError(
        f"{len(broken)} of {len(paths)} images in {str(folder)!r} cannot be used, repair or remove them: "
        + "; ".join(f"{_relative(folder, paths[row])} {broken[row]}" for row in sorted(broken)[:_SHOWN])
        + more
    )


def _relative(folder: Path, path: Path) -> str:
    return repr(str(path.relative_to(folder)))


@contextmanager
def _strict_pillow() -> Iterator[None]:
    """Pillow's warning of a huge image as an error, its others silent: what they announce is checked here."""
    # Around all threads, never inside one: these filters belong to the process.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


class _Header(NamedTuple):
    size: tuple[int, int]  # columns, rows, upright
    is_gray: bool


def _read_header(path: Path, need_size: bool) -> _Header | str:
    """Size and kind of an image, or the reason why there is none; its pixels are not decoded where that can be."""
    return _opened(path, partial(_describe, need_size=need_size))


def _describe(file: Image.Image, need_size: bool) -> _Header:
    is_gray = _is_gray(file)
    # The mark of a PNG may stand behind its pixels, so it is only looked for where it matters.
    turned = need_size and file.width != file.height and _orientation(file) in _TURNED
    return _Header(file.size[::-1] if turned else file.size, is_gray)


def _decode(path: Path, side: int | None) -> np.ndarray | str:
    """The pixels of one file as uint8 ``[H, W]`` or ``[H, W, 3]``, or the reason why there are none."""
    return _opened(path, partial(_pixels, side=side))


def _pixels(file: Image.Image, side: int | None) -> np.ndarray:
    file.load()
    image = file
    if _orientation(file) != 1:
        with suppress(Exception):  # a damaged EXIF block says nothing of the pixels
            image = ImageOps.exif_transpose(file)
    return np.asarray(_fit(_gray_or_rgb(image), side))


def _opened(path: Path, use: Callable[[Image.Image], Any]) -> Any:
    """What ``use`` makes of the opened image, or the reason why that cannot be."""
    try:
        with Image.open(path, formats=_FORMATS) as file:
            if file.width * file.height > _MOST_PIXELS:
                return f"is too large ({file.width} x {file.height} pixels)"
            return use(file)
    except UnidentifiedImageError:
        return "is no image of a known format" if path.stat().st_size else "is empty"
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        return f"is too large (more than {_MOST_PIXELS:,} pixels)"
    except FileNotFoundError:
        return "is missing"
    except Exception as error:  # decoders raise anything on damaged data: struct.error, SyntaxError, KeyError …
        return f"is damaged ({error or type(error).__name__})"


def _orientation(file: Image.Image) -> int:
    with suppress(Exception):  # a damaged EXIF block says nothing of the pixels
        return file.getexif().get(ExifTags.Base.Orientation, 1)
    return 1


def _is_gray(image: Image.Image) -> bool:
    if image.mode in ("I", "F"):
        raise ValueError("its pixels have 32 bits, of which the white is unknown; save it with 8 or 16")
    if image.mode == "P":
        palette = np.array(image.getpalette("RGB")).reshape(-1, 3)
        return bool((palette == palette[:, :1]).all())
    return image.mode in ("1", "L", "LA", "La") or image.mode.startswith("I;16")


def _gray_or_rgb(image: Image.Image) -> Image.Image:
    """The image with 8 bits in mode L or RGB; what is transparent becomes white."""
    is_gray = _is_gray(image)
    if image.mode.startswith("I;16"):
        # Pillow's own conversion clips at 255, which turns such an image white.
        return Image.fromarray(np.rint(np.asarray(image) * (255 / 65535)).astype(np.uint8))
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    elif image.mode in ("L", "RGB"):
        return image
    return image.convert("RGB").convert("L" if is_gray else "RGB")


def _fit(image: Image.Image, side: int | None) -> Image.Image:
    """The central square, resized; the image itself when no side is asked for."""
    if side is None:
        return image
    edge = min(image.size)
    left, top = (image.width - edge) / 2, (image.height - edge) / 2
    return image.resize((side, side), Image.Resampling.BICUBIC, box=(left, top, left + edge, top + edge))
