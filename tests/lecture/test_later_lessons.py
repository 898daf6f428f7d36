"""What lessons 7 to 13 compute besides their exercises: operations, views as pictures, shapes."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

import twist
from twist.lecture.a_table import PUBLISHED, flop_per_image
from twist.lecture.seen import rows_picture, views_picture
from twist.lecture.your_own_images import COLORS, SHAPES, draw_shapes, write_shapes
from twist.runs.sources import folder_images


def test_operations_of_one_image_are_those_of_its_layers_by_hand():
    recipe = twist.recipe("images").replace(
        network__widths=(8,), network__pool_side=1, network__hidden_dim=16, network__num_classes=5, views__size=8
    )
    convolution, head = 8 * 8 * 9 * 3 * 8, 8 * 16 + 16 * 16 + 16 * 5
    # Forward, gradient of the weights, gradient of the inputs, which the first layer has none of; two views.
    assert flop_per_image(recipe) == 2 * 2 * (2 * convolution + 3 * head)


def test_published_numbers_are_the_recipes_own_where_both_have_them():
    from twist.runs.recipes.paper import FACTS

    linear = {round(row.percent / 100, 3) for row in PUBLISHED if row.asked == "linear"}
    assert linear == {facts.published for facts in FACTS.values()}


def test_views_are_drawn_below_their_images_and_local_ones_smaller():
    recipe = twist.recipe("digits").replace(views__num_local_views=2, views__local_size=8)
    figure = views_picture(recipe, count=3)
    assert list(figure.layout.yaxis.ticktext) == ["image", "view 1", "view 2", "local view 1", "local view 2"]
    seen = (_pixels(figure)[..., 3] > 0).reshape(5, 70, 3, 70).sum((1, 3))
    assert (seen[:3] == 64 * 64).all() and (seen[3:] == 32 * 32).all()


def test_rows_of_gray_and_color_images_are_shown_as_they_are():
    gray, color = np.full((2, 4, 4), 200, np.uint8), np.zeros((2, 4, 4, 3), np.uint8)
    color[..., 0] = 90
    pixels = _pixels(rows_picture({"gray": gray, "color": color}))
    assert pixels[35, 35].tolist() == [200, 200, 200, 255] and pixels[105, 105].tolist() == [90, 0, 0, 255]


def test_shapes_come_in_every_color_equally_often_and_files_say_both(tmp_path):
    folder = write_shapes(tmp_path / "shapes", 32)
    found = folder_images(folder)
    assert found.label_names == sorted(SHAPES) and len(found.paths) == 32
    kinds = {(path.parent.name, path.stem.split("-")[0]) for path in found.paths}
    assert kinds == {(shape, color) for shape in SHAPES for color in COLORS}
    again = draw_shapes(32)
    assert np.array_equal(np.asarray(Image.open(folder / "cross" / "red-0000.png")), again[0])


def _pixels(figure) -> np.ndarray:
    source = figure.data[0].source.split(",", 1)[1]
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(source))))
