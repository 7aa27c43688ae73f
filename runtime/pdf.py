"""Pages of PDF files as images, through pypdfium2 (extra ``pdf``)."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .errors import InputError, MissingDependencyError

if TYPE_CHECKING:
    from pathlib import Path

DPI = 144
"""Twice a PDF point: A4 becomes 1190 x 1684, about what Qwen3-VL-Embedding keeps of it."""

MAX_PIXELS = 40_000_000


MAX_PAGES = 10_000
"""A file of 600 bytes can claim a million."""


def count_pages(name: str, path: Path) -> int:
    """Number of pages.

    Raises:
        InputError: It is no PDF, is damaged, wants a password, or claims more than `MAX_PAGES`.
    """
    document = _open(name, path)
    try:
        pages = len(document)
    finally:
        document.close()
    if pages > MAX_PAGES:
        raise InputError(f"{name} claims {pages:,} pages, {MAX_PAGES:,} are allowed: split it")
    return pages


def render_page(name: str, path: Path, page: int) -> Any:
    """Page `page` of the file `name` at `path`, counted from 1, as a PIL image of mode RGB.

    Raises:
        InputError: The page is damaged, or larger than `MAX_PIXELS` at `DPI`.
    """
    document = _open(name, path)
    try:
        sheet = document[page - 1]
        width, height = (side * DPI / 72 for side in sheet.get_size())
        if not 0 < width * height <= MAX_PIXELS:
            raise InputError(f"{name} page {page} is {width:.0f} x {height:.0f} at {DPI} dpi: too large, or empty")
        return sheet.render(scale=DPI / 72).to_pil().convert("RGB")
    except _library().PdfiumError as error:
        raise InputError(f"{name} page {page} is damaged ({error})") from None
    finally:
        document.close()


def _open(name: str, path: Path) -> Any:
    library = _library()
    try:
        return library.PdfDocument(path)
    except (library.PdfiumError, OSError) as error:
        raise InputError(f"{name} is no PDF that can be read ({error})") from None


def _library() -> Any:
    try:
        return importlib.import_module("pypdfium2")
    except ImportError as error:
        raise MissingDependencyError("PDF files need pypdfium2: pip install 'smartrt[pdf]'") from error
