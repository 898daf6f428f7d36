"""Contact sheets read back, each held against the manifest before a pixel of it is decoded, and some tiles as one."""

from __future__ import annotations

import functools
import io
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from twist.runs.columns import Stamped, stamped
from twist.runs.store import RecordError
from twist.runs.watched import Watch

if TYPE_CHECKING:
    from PIL.Image import Image

_MOST_PIXELS = 64_000_000  # a sheet of ours has 4 million at most


class ContactSheets(NamedTuple):
    """The contact sheets of a run's watch images as they lie on disk; hashable, a key for what was read from them.

    Attributes
    ----------
    files
        The sheets, in order.
    tile, columns, per_sheet
        Side of a thumbnail in pixels, thumbnails per row, thumbnails per sheet.
    num_images
        Number of watch images.
    """

    files: tuple[Stamped, ...]
    tile: int
    columns: int
    per_sheet: int
    num_images: int

    @classmethod
    def of(cls, watch: Watch) -> ContactSheets:
        """The sheets of these watch images.

        Raises
        ------
        RecordError
            When one is missing, or there are more or fewer than so many images fill.
        """
        needed = math.ceil(len(watch) / watch.per_sheet)
        if len(watch.sheets) != needed:
            raise RecordError(
                f"watch/manifest.json lists {len(watch.sheets)} contact sheets, but {len(watch)} images with "
                f"per_sheet {watch.per_sheet} fill {needed}: it is damaged"
            )
        files = tuple(stamped(path) for path in watch.sheets)
        return cls(files, watch.tile, watch.columns, watch.per_sheet, len(watch))

    def picture(self, number: int) -> Image:
        """One sheet, decoded: mode ``L`` or ``RGB``.

        Raises
        ------
        RecordError
            When it cannot be read, or has another size than its thumbnails fill: names it.
        """
        from PIL import Image, UnidentifiedImageError

        path = self.files[number].path
        name = f"the thumbnails in watch/{path.name}"
        held = min(self.per_sheet, self.num_images - number * self.per_sheet)
        size = self.columns * self.tile, math.ceil(held / self.columns) * self.tile
        if math.prod(size) > _MOST_PIXELS:
            raise RecordError(f"watch/manifest.json asks for sheets of {_spell(size)} pixels: it is damaged")
        try:
            with Image.open(path, formats=("PNG", "JPEG")) as picture:
                if picture.size != size or picture.mode not in ("L", "RGB"):
                    found, wanted = f"{_spell(picture.size)} pixels of {picture.mode}", f"{_spell(size)} of L or RGB"
                    raise RecordError(f"{name} are {found}, not {wanted}: the file is damaged")
                picture.load()
                return picture
        except RecordError:
            raise
        except UnidentifiedImageError as error:  # its own words name the whole path
            raise RecordError(f"{name} cannot be read: it is no PNG and no JPEG") from error
        except Exception as error:  # decoders raise anything on damaged data: SyntaxError, DecompressionBombError …
            raise RecordError(f"{name} cannot be read: {error or type(error).__name__}") from error

    def tiles(self) -> Iterator[np.ndarray]:
        """The thumbnails of one sheet after the other, uint8 ``[N, tile, tile, 1 or 3]``.

        Raises
        ------
        RecordError
            As `picture` does.
        """
        for number in range(len(self.files)):
            yield self.tiles_of(number)

    def tiles_of(self, number: int) -> np.ndarray:
        """The thumbnails of one sheet, uint8 ``[N, tile, tile, 1 or 3]``.

        Raises
        ------
        RecordError
            As `picture` does.
        """
        pixels = np.asarray(self.picture(number))
        grid = pixels.reshape(-1, self.tile, self.columns, self.tile, 3 if pixels.ndim == 3 else 1)
        tiles = grid.swapaxes(1, 2).reshape(-1, self.tile, self.tile, grid.shape[-1])
        return tiles[: min(self.per_sheet, self.num_images - number * self.per_sheet)]


def contact_sheet(watch: Watch, rows: Sequence[int]) -> tuple[bytes, str]:
    """The thumbnails of some watch images on one sheet, in their order, up to ``watch.columns`` in a row of it.

    Returns
    -------
    bytes
        The encoded picture.
    str
        Its MIME type: PNG where the run's own sheets are lossless, else JPEG.

    Raises
    ------
    RecordError
        When a sheet is missing or damaged, or a row is not one of the watch images.
    """
    wrong = next((row for row in rows if not 0 <= row < len(watch)), None)
    if wrong is not None:
        raise RecordError(f"row {wrong:,} is asked for, but the run watches {len(watch):,} images")
    sheets = ContactSheets.of(watch)
    images = thumbnails_of(sheets, rows)
    return encode_tiles(images, sheets.columns, lossless=all(file.path.suffix == ".png" for file in sheets.files))


def thumbnails_of(sheets: ContactSheets, rows: Sequence[int] | np.ndarray) -> np.ndarray:
    """The thumbnails of some watch images, uint8 ``[K, tile, tile, 1 or 3]``, in their order; a sheet at a time.

    Raises
    ------
    RecordError
        When a sheet is missing or damaged.
    """
    numbers, places = np.divmod(np.asarray(rows, np.int64), sheets.per_sheet)
    images = np.zeros((len(numbers), sheets.tile, sheets.tile, 1), np.uint8)
    for number in np.unique(numbers).tolist():
        here = numbers == number
        tiles = _tiles(sheets, number)
        if tiles.shape[-1] > images.shape[-1]:  # gray sheets before the first in color
            images = images.repeat(tiles.shape[-1], -1)
        images[here] = tiles[places[here]]
    return images


def encode_tiles(tiles: np.ndarray, columns: int, *, lossless: bool) -> tuple[bytes, str]:
    """Square pictures, uint8 ``[K, side, side, 1 or 3]``, on one sheet of so many columns: its bytes and MIME type."""
    from PIL import Image

    count, side, _, channels = tiles.shape
    columns = max(1, min(count, columns))
    lines = max(1, math.ceil(count / columns))
    sheet = np.zeros((lines * columns, side, side, channels), np.uint8)
    sheet[:count] = tiles
    sheet = sheet.reshape(lines, columns, side, side, channels).swapaxes(1, 2)
    sheet = sheet.reshape(lines * side, columns * side, channels)
    buffer = io.BytesIO()
    picture = Image.fromarray(sheet[..., 0] if channels == 1 else sheet)
    if lossless:
        picture.save(buffer, "PNG", compress_level=1)  # for the way to the browser, not for the disk
    else:
        picture.save(buffer, "JPEG", quality=90)
    return buffer.getvalue(), "image/png" if lossless else "image/jpeg"


_tiles = functools.lru_cache(maxsize=4)(ContactSheets.tiles_of)  # a sheet of 1,000 in color at 64 pixels is 12 MB


def _spell(size: tuple[int, int]) -> str:
    return f"{size[0]:,} x {size[1]:,}"
