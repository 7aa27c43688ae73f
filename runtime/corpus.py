"""What `smartrt index build` reads: a JSON Lines file, or a folder of images, texts and PDF files.

Everything is listed first, so that progress has an end and a mistake in a name shows at once; contents are
read when their turn comes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from .errors import InputError
from .jsonl import check_records, read_records
from .pdf import count_pages, render_page

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from .items import Item
    from .jsonl import Record

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
TEXT_SUFFIXES = (".txt", ".md")
PDF_SUFFIX = ".pdf"


class Source(Protocol):
    """A document that is not read yet."""

    @property
    def id(self) -> str:
        """Its id in the index."""

    def load(self) -> Item:
        """Read it."""

    def about(self) -> dict[str, Any]:
        """What comes back with a hit."""


@dataclass(frozen=True)
class ImageFile:
    """An image of a folder; its id is its path in the folder."""

    id: str
    path: Path

    def load(self) -> Item:
        """See `Source`."""
        return {"image": self.path}

    def about(self) -> dict[str, Any]:
        """See `Source`."""
        return {"path": self.id}


@dataclass(frozen=True)
class TextFile:
    """A text of a folder."""

    id: str
    path: Path

    def load(self) -> Item:
        """See `Source`."""
        return self._read()

    def about(self) -> dict[str, Any]:
        """See `Source`."""
        return {"path": self.id, "text": self._read()}

    def _read(self) -> str:
        try:
            return self.path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise InputError(f"{self.id} is not UTF-8 ({error.reason} at byte {error.start})") from None
        except OSError as error:
            raise InputError(f"cannot read {self.id}: {error.strerror}") from None


@dataclass(frozen=True)
class PdfPage:
    """One page of a PDF file; pages count from 1."""

    id: str
    path: Path
    page: int

    def load(self) -> Item:
        """See `Source`."""
        return {"image": render_page(self.path, self.page)}

    def about(self) -> dict[str, Any]:
        """See `Source`."""
        return {"path": self.id.rsplit("#", 1)[0], "page": self.page}


@dataclass(frozen=True)
class ImageRecord:
    """A line of a JSON Lines file that names an image, relative to the file."""

    record: Record
    folder: Path

    @property
    def id(self) -> str:
        """See `Source`."""
        return self.record.id

    def load(self) -> Item:
        """See `Source`."""
        names = self.record.meta["image"]
        paths = [self.folder / str(name) for name in (names if isinstance(names, list) else [names])]
        item: dict[str, Any] = {"image": paths, "instruction": self.record.meta.get("instruction")}
        return item | ({"text": self.record.text} if self.record.text else {})

    def about(self) -> dict[str, Any]:
        """See `Source`."""
        return self.record.about()


@dataclass(frozen=True)
class Corpus:
    """What was found at a path.

    Attributes:
        count: Documents.
        sources: The documents, when they were listed; a JSON Lines file is read as it is needed instead.
        file: The JSON Lines file.
        images: Whether a line's ``image`` belongs to the document (a bundle that takes images) or is metadata.
        bad: Files that could not be listed, with the reason.
        ignored: How many files are of no kind that is read.
    """

    count: int
    sources: tuple[Source, ...] = ()
    file: Path | None = None
    images: bool = False
    bad: tuple[tuple[str, InputError], ...] = field(default=())
    ignored: int = 0

    @classmethod
    def open(cls, path: Path, modalities: Sequence[str], *, allow_empty: bool) -> Corpus:
        """List the documents at `path`.

        Raises:
            InputError: There is nothing at `path`, a line is not valid, or a folder holds nothing to read.
            MissingDependencyError: The folder holds a PDF file and pypdfium2 is not installed.
        """
        images = "image" in modalities
        if not path.is_dir():
            return cls(check_records(path, allow_empty=allow_empty, images=images), file=path, images=images)
        sources: list[Source] = []
        bad: list[tuple[str, InputError]] = []
        ignored = 0
        for file in _files(path):
            name = file.relative_to(path).as_posix()
            try:
                found = _read_kind(name, file, images=images)
            except InputError as error:
                bad.append((name, error))
                continue
            sources += found
            ignored += not found
        if not sources and not bad:
            kinds = ", ".join((*IMAGE_SUFFIXES, PDF_SUFFIX, *TEXT_SUFFIXES) if images else TEXT_SUFFIXES)
            raise InputError(f"{path} holds no file that this bundle can index ({kinds})")
        return cls(len(sources), tuple(sources), None, images, tuple(bad), ignored)

    def __iter__(self) -> Iterator[Source]:
        if self.file is None:
            return iter(self.sources)
        return self._records(self.file)

    def _records(self, file: Path) -> Iterator[Source]:
        for record in read_records(file, images=self.images):
            yield ImageRecord(record, file.parent) if self.images and "image" in record.meta else record


def _files(folder: Path) -> list[Path]:
    """Files below `folder` in the order of their names, hidden ones left out."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return sorted(path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts))


def _read_kind(name: str, file: Path, *, images: bool) -> list[Source]:
    suffix = file.suffix.lower()
    if suffix in TEXT_SUFFIXES:
        return [TextFile(name, file)]
    if images and suffix in IMAGE_SUFFIXES:
        return [ImageFile(name, file)]
    if images and suffix == PDF_SUFFIX:
        return [PdfPage(f"{name}#page={page}", file, page) for page in range(1, count_pages(name, file) + 1)]
    return []
