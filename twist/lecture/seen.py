"""Pictures of the lecture that no view of the workbench draws: what a network sees of its images."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from twist.runs.config import Recipe

if TYPE_CHECKING:
    import plotly.graph_objects as go

_CELL = 64  # side of a picture in pixels, and the space around it
_SPACE = 6


def views_picture(recipe: Recipe, *, images: Any = None, count: int = 10, epoch: int = 0) -> go.Figure:
    """Some images and, below each, every view that the network sees of it in one epoch.

    Views are drawn on one scale, so that a local view is as much smaller as it is cheaper. What an augmentation lets
    through here is all that the network can learn from; what differs between two rows of a column it is told to forget.

    Parameters
    ----------
    recipe
        Whose images, views and seed.
    images
        uint8 ``[N, H, W]`` or ``[N, H, W, 3]`` in place of the recipe's own.
    count
        Images shown, the first ones.
    epoch
        Which epoch's views: another draws others.

    Raises
    ------
    ConfigError
        When the images are not there, as in training.
    """
    import torch

    from twist.learn import datasets
    from twist.learn.view_parameters import NUM_GLOBAL_VIEWS
    from twist.learn.views import make_views

    if images is None:
        pixels = datasets.load(recipe.data).images[torch.arange(count)]
    else:
        pixels = torch.as_tensor(_channels_first(np.asarray(images)[:count]).copy())
    views = make_views(pixels, torch.arange(len(pixels)), recipe.views, seed=recipe.seed, epoch=epoch)
    mean, std = (torch.tensor(values).reshape(1, -1, 1, 1) for values in (recipe.views.mean, recipe.views.std))
    rows, names = [_drawn(pixels.numpy(), _CELL)], ["image"]
    for number, view in enumerate(views):
        whole = number < NUM_GLOBAL_VIEWS
        side = _CELL if whole else max(8, round(_CELL * recipe.views.local_size / recipe.views.size))
        shown = (255 * (view * std + mean)).clamp(0, 255).numpy().astype(np.uint8)
        rows.append(_drawn(shown, min(side, _CELL)))
        names.append(f"view {number + 1}" if whole else f"local view {number - NUM_GLOBAL_VIEWS + 1}")
    return _figure(rows, names)


def rows_picture(rows: Mapping[str, Any]) -> go.Figure:
    """Rows of images, each with a name.

    Parameters
    ----------
    rows
        Name -> uint8 images ``[N, H, W]``, ``[N, H, W, 3]`` or ``[N, ch, H, W]``, arrays or tensors; all rows of one
        length.
    """
    drawn = [_drawn(_channels_first(np.asarray(images)), _CELL) for images in rows.values()]
    return _figure(drawn, list(rows))


def _channels_first(images: np.ndarray) -> np.ndarray:
    """Images as ``[N, ch, H, W]``."""
    if images.ndim == 3:
        return images[:, None]
    return images if images.shape[1] in (1, 3) else images.transpose(0, 3, 1, 2)


def _drawn(images: np.ndarray, side: int) -> np.ndarray:
    """Images ``[N, ch, H, W]`` as ``[N, cell, cell, 4]``, each ``side`` pixels wide in the middle of its cell."""
    cell = _CELL + _SPACE
    out = np.zeros((len(images), cell, cell, 4), np.uint8)
    at = np.arange(side) * images.shape[-1] // side
    large = images[:, :, np.arange(side)[:, None] * images.shape[-2] // side, at].transpose(0, 2, 3, 1)
    first = (cell - side) // 2
    inside = out[:, first : first + side, first : first + side]
    inside[..., :3] = large  # one channel spreads over three
    inside[..., 3] = 255
    return out


def _figure(rows: list[np.ndarray], names: list[str]) -> go.Figure:
    """The pictures row by row, each row named; the paper is that of the page."""
    import PIL.Image
    import plotly.graph_objects as go

    from twist.view.theme import FONT, REFERENCE

    cell = _CELL + _SPACE
    canvas = np.concatenate([row.transpose(1, 0, 2, 3).reshape(cell, -1, 4) for row in rows])
    png = io.BytesIO()
    PIL.Image.fromarray(canvas).save(png, "png")
    source = "data:image/png;base64," + base64.b64encode(png.getvalue()).decode()
    figure = go.Figure(go.Image(source=source, hoverinfo="skip"))
    ticks = [cell * (row + 0.5) for row in range(len(rows))]
    figure.update_xaxes(visible=False)
    figure.update_yaxes(tickvals=ticks, ticktext=names, showgrid=False, ticks="", zeroline=False)
    clear = {"paper_bgcolor": "rgba(0,0,0,0)", "plot_bgcolor": "rgba(0,0,0,0)"}  # on light pages and on dark ones
    font = {"family": FONT, "color": REFERENCE, "size": 13}
    margin = {"l": 90, "r": 10, "t": 10, "b": 10}
    return figure.update_layout(height=20 + cell * len(rows), margin=margin, font=font, template="none", **clear)
