"""Folders, pictures and PDF files that several test files make."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from smartrt import Encoder, Index
from smartrt.corpus import Corpus
from smartrt.index.build import fill

TEXT, BOTH = ("text",), ("text", "image")

TEXTS = {"notes.txt": "sort a list by key", "sub/readme.md": "# open a file"}
IMAGES = ("a.png", "sub/b.jpg", "sub/deep/c.webp")
IDS = ["a.png", "notes.txt", "paper.pdf#page=1", "paper.pdf#page=2", "sub/b.jpg", "sub/deep/c.webp", "sub/readme.md"]


def write(folder: Path, *names: str, content: bytes = b"a list") -> Path:
    """Files below `folder`, their folders included."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def pixels(seed: int, width: int = 64, height: int = 64) -> np.ndarray:
    """Noise, ``[height, width, 3]``."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def picture(seed: int, width: int = 64, height: int = 64) -> Image.Image:
    """The same as an image."""
    return Image.fromarray(pixels(seed, width, height))


def write_pdf(path: Path, pages: int) -> Path:
    """A PDF file, every page of which has another grey."""
    first, *rest = (Image.new("RGB", (20, 20), (page,) * 3) for page in range(pages))
    first.save(path, "PDF", save_all=True, append_images=rest)
    return path


def listed(path: Path, modalities=BOTH) -> Corpus:
    """What a bundle of these modalities is given of `path`."""
    return Corpus.open(path, modalities, allow_empty=False)


def make_folder(folder: Path) -> Path:
    """Two texts, three images, a PDF file of two pages (`IDS`), two files of other kinds, a hidden one."""
    for name, text in TEXTS.items():
        write(folder, name, content=text.encode())
    for seed, name in enumerate(IMAGES):
        write(folder, name)
        picture(seed).save(folder / name)
    picture(8, 48, 48).save(folder / "paper.pdf", save_all=True, append_images=[picture(9, 48, 64)])
    return write(folder, "table.csv", "sub/Makefile", ".hidden.txt", content=b"x")


def make_index(folder: Path, encoder: Encoder) -> Path:
    """An index of `folder` beside it, filled by the library."""
    index = Index.create(folder.with_suffix(".index"), encoder)
    fill(index, encoder, listed(folder))
    return index.path


def stored_ids(path: Path) -> list[str]:
    """The documents of an index, every byte of which is as it was written."""
    index = Index.open(path)
    index.check()
    return index.ids()


def stored_vectors(path: Path) -> dict[str, np.ndarray]:
    """The token vectors of every document of an index, as they are stored."""
    return {
        segment.document(int(row)).id: segment.documents.tokens.exact(int(row))[: int(segment.lengths[row])]
        for segment in Index.open(path).segments
        for row in segment.alive
    }


def close(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let `folder` be one that may not be listed; chmod would not stop root."""
    scandir = os.scandir

    def refuse(path="."):
        if Path(path) == folder:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
