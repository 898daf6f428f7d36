"""Contact sheets read back: each is held against the manifest before a pixel of it is decoded."""

from __future__ import annotations

import math
from collections.abc import Iterator
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
            pixels = np.asarray(self.picture(number))
            grid = pixels.reshape(-1, self.tile, self.columns, self.tile, 3 if pixels.ndim == 3 else 1)
            tiles = grid.swapaxes(1, 2).reshape(-1, self.tile, self.tile, grid.shape[-1])
            yield tiles[: min(self.per_sheet, self.num_images - number * self.per_sheet)]


def _spell(size: tuple[int, int]) -> str:
    return f"{size[0]:,} x {size[1]:,}"
