"""Drawing with Pillow alone: at twice the size and then reduced, because Pillow's own lines have steps."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import PIL
from PIL import Image, ImageDraw, ImageFont

from smartrt.errors import MissingDependencyError

if TYPE_CHECKING:
    from collections.abc import Sequence

    Colour = tuple[int, int, int]
    XY = tuple[float, float]

SCALE = 2


class Canvas:
    """A white picture; coordinates and sizes are pixels of what `reduced` returns."""

    def __init__(self, width: int, height: int, paper: Colour = (255, 255, 255)) -> None:
        self._image = Image.new("RGB", (width * SCALE, height * SCALE), paper)
        self._draw = ImageDraw.Draw(self._image)

    def line(self, points: Sequence[XY], colour: Colour, width: float = 1) -> None:
        """A line through `points`."""
        self._draw.line(_scaled(points), colour, round(width * SCALE), joint="curve")

    def polygon(self, points: Sequence[XY], fill: Colour, outline: Colour | None = None, width: float = 1) -> None:
        """The area inside `points`."""
        self._draw.polygon(_scaled(points), fill)
        if outline:  # Pillow's own outline of a polygon has no joints
            self.line([*points, *points[:2]], outline, width)

    def rectangle(self, corners: Sequence[XY], fill: Colour | None, outline: Colour | None = None) -> None:
        """The area between the top left corner and the bottom right one, which is outside."""
        (left, top), (right, bottom) = _scaled(corners)
        self._draw.rectangle((left, top, right - 1, bottom - 1), fill, outline, SCALE)

    def circle(self, centre: XY, radius: float, fill: Colour, outline: Colour | None = None, width: float = 1) -> None:
        """A disc."""
        (x, y), reach = _scaled([centre])[0], radius * SCALE
        self._draw.ellipse((x - reach, y - reach, x + reach, y + reach), fill, outline, round(width * SCALE))

    def text(self, at: XY, text: str, size: float, colour: Colour, anchor: str = "ls") -> None:
        """`text`, `size` pixels high, `anchor` being where of it `at` is, in Pillow's two letters."""
        self._draw.text(_scaled([at])[0], text, colour, _font(size), anchor)

    def reduced(self) -> Image.Image:
        """The picture, each pixel the mean of those it was drawn with."""
        return self._image.reduce(SCALE)


def text_width(text: str, size: float) -> float:
    """Pixels that `text` takes across."""
    return _font(size).getlength(text) / SCALE


def _scaled(points: Sequence[XY]) -> list[XY]:
    return [(x * SCALE, y * SCALE) for x, y in points]


@functools.cache
def _font(size: float) -> ImageFont.FreeTypeFont:
    """The font inside Pillow: no machine has another."""
    try:
        font = ImageFont.load_default(size * SCALE)
    except (ImportError, TypeError):
        font = None
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise MissingDependencyError(
            f"drawing pages needs Pillow 10.1 or newer with FreeType, this is {PIL.__version__}: "
            "pip install --upgrade pillow"
        )
    return font
