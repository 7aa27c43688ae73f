"""The two pages of a pair as pictures: everything but the codes is drawn once and shared."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .canvas import Canvas
from .layout import PAGE, RADIUS
from .plots import draw_panel
from .proof import check_only_boxes_differ
from .shapes import draw_marker

if TYPE_CHECKING:
    from PIL import Image

    from .bindings import Page, Pair
    from .canvas import Colour
    from .layout import Box

CODE_SIZE = 15.0
"""Of a code's letters, twice that of the words around it: it must be reading that is tested, not eyesight."""

_PAPER: Colour = (255, 255, 255)
_INK: Colour = (20, 20, 20)
_FAINT: Colour = (118, 120, 124)
_MARGIN = 20


def draw_pair(pair: Pair) -> tuple[Image.Image, Image.Image]:
    """Draw the positive page and the negative one, and prove that only the codes in the label boxes differ.

    Returns:
        Two RGB pictures of `layout.PAGE` pixels square, the same for one version of Pillow.

    Raises:
        InputError: They differ elsewhere, or do not differ in a box: a bug of the drawing.
        MissingDependencyError: This Pillow has no scalable font.
    """
    shared = _shared(pair)
    positive, negative = (_labelled(shared, pair, page) for page in (pair.positive, pair.negative))
    boxes = [panel.label for panel in pair.layout.panels]
    check_only_boxes_differ(np.asarray(positive), np.asarray(negative), boxes)
    return positive, negative


def _shared(pair: Pair) -> Image.Image:
    canvas = Canvas(PAGE, PAGE)
    canvas.text((_MARGIN, 26), pair.layout.heading, 19, _INK)
    canvas.text((_MARGIN, 41), "Figures are provisional and may be revised; sources and notes at the end.", 9, _FAINT)
    canvas.line([(_MARGIN, 47), (PAGE - _MARGIN, 47)], _FAINT, 0.5)
    canvas.text((PAGE / 2, PAGE - 12), "Internal use. Totals may not add up because of rounding.", 8, _FAINT, "mm")
    for panel, marker in zip(pair.layout.panels, pair.positive.markers, strict=True):
        draw_panel(canvas, panel)
        box, (x, y) = panel.label, panel.marker
        canvas.line([(x, y), (box.left if x < box.left else box.right, y)], _INK, 1)
        draw_marker(canvas, marker, panel.marker, RADIUS)
    return canvas.reduced()


def _labelled(shared: Image.Image, pair: Pair, page: Page) -> Image.Image:
    result = shared.copy()
    for panel, code in zip(pair.layout.panels, page.codes, strict=True):
        # A picture of its own, pasted: no stroke of a letter can leave the box.
        result.paste(_label(panel.label, code), (panel.label.left, panel.label.top))
    return result


def _label(box: Box, code: str) -> Image.Image:
    canvas = Canvas(box.width, box.height)
    canvas.rectangle([(0, 0), (box.width, box.height)], _PAPER, _INK)
    canvas.text((box.width / 2, box.height / 2), code, CODE_SIZE, _INK, "mm")
    return canvas.reduced()
