"""What `smartrt index build` reads: a JSON Lines file, or a folder of images, texts and PDF files.

Everything is listed first, so that progress has an end and a mistake in a name shows at once; contents are
read when their turn comes.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from .errors import InputError
from .jsonl import check_records, read_records
from .pdf import count_pages, render_page

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

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

    def about(self, item: Item) -> dict[str, Any]:
        """What comes back with a hit, `item` being what `load` returned."""


@dataclass(frozen=True)
class ImageFile:
    """An image of a folder; its id is its path in the folder."""

    id: str
    path: Path

    def load(self) -> Item:
        """See `Source`."""
        return {"image": self.path}

    def about(self, item: Item) -> dict[str, Any]:  # noqa: ARG002  (an image is not kept)
        """See `Source`."""
        return {"path": self.id}


@dataclass(frozen=True)
class TextFile:
    """A text of a folder."""

    id: str
    path: Path

    def load(self) -> Item:
        """See `Source`."""
        try:
            return self.path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise InputError(f"{self.id} is not UTF-8 ({error.reason} at byte {error.start})") from None
        except OSError as error:
            raise InputError(f"cannot read {self.id}: {error.strerror}") from None

    def about(self, item: Item) -> dict[str, Any]:
        """See `Source`."""
        return {"path": self.id, "text": item}


@dataclass(frozen=True)
class PdfPage:
    """One page of a PDF file; pages count from 1."""

    id: str
    path: Path
    page: int

    def load(self) -> Item:
        """See `Source`."""
        return {"image": render_page(self.id.rsplit("#", 1)[0], self.path, self.page)}

    def about(self, item: Item) -> dict[str, Any]:  # noqa: ARG002  (a page is not kept)
        """See `Source`."""
        return {"path": self.id.rsplit("#", 1)[0], "page": self.page}


@dataclass(frozen=True)
class ItemRecord:
    """A line of a JSON Lines file with an instruction or images, which are named relative to the file."""

    record: Record
    folder: Path

    @property
    def id(self) -> str:
        """See `Source`."""
        return self.record.id

    def load(self) -> Item:
        """See `Source`."""
        about = self.record.meta
        names = about.get("image") or []
        paths = [self.folder / name for name in ([names] if isinstance(names, str) else names)]
        item: dict[str, Any] = {"image": paths, "instruction": about.get("instruction")}
        return item | ({"text": self.record.text} if self.record.text or not paths else {})

    def about(self, item: Item) -> dict[str, Any]:
        """See `Source`."""
        return self.record.about(item)


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
        ignored_kinds: Their suffixes, sorted.
    """

    count: int
    sources: tuple[Source, ...] = ()
    file: Path | None = None
    images: bool = False
    bad: tuple[tuple[str, InputError], ...] = field(default=())
    ignored: int = 0
    ignored_kinds: tuple[str, ...] = ()

    @classmethod
    def open(cls, path: Path, modalities: Sequence[str], *, allow_empty: bool) -> Corpus:
        """List the documents at `path`.

        Raises:
            InputError: There is nothing at `path`, a line is not valid, or a folder holds nothing to read.
            MissingDependencyError: The folder holds a PDF file and pypdfium2 is not installed.
        """
        images = "image" in modalities
        if path.suffix.lower() in (*IMAGE_SUFFIXES, *TEXT_SUFFIXES, PDF_SUFFIX) and path.is_file():
            raise InputError(f"{path} is a single document: give the folder that holds it, or a JSON Lines file")
        if not _is_folder(path):
            return cls(check_records(path, allow_empty=allow_empty, images=images), file=path, images=images)
        sources: list[Source] = []
        bad: list[tuple[str, InputError]] = []
        ignored: list[str] = []
        for file in _files(path, bad):
            name = file.relative_to(path).as_posix()
            try:
                found = _read_kind(name, file, images=images)
            except InputError as error:
                bad.append((name, error))
                continue
            sources += found
            ignored += [] if found else [file.suffix.lower() or "no suffix"]
        if not sources and not bad:
            kinds = ", ".join((*IMAGE_SUFFIXES, PDF_SUFFIX, *TEXT_SUFFIXES) if images else TEXT_SUFFIXES)
            raise InputError(f"{path} holds no file that this bundle can index ({kinds})")
        return cls(len(sources), tuple(sources), None, images, tuple(bad), len(ignored), tuple(sorted(set(ignored))))

    def __iter__(self) -> Iterator[Source]:
        if self.file is None:
            return iter(self.sources)
        return self._records(self.file)

    def _records(self, file: Path) -> Iterator[Source]:
        for record in read_records(file, images=self.images):
            more = self.images and (record.meta.get("image") or record.meta.get("instruction"))
            yield ItemRecord(record, file.parent) if more else record


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError as error:
        raise InputError(f"cannot read {str(path)[:200]}: {error.strerror}") from None


def _files(folder: Path, bad: list[tuple[str, InputError]]) -> list[Path]:
    """Files below `folder` in the order of their names, hidden ones left out; what cannot be listed goes to `bad`."""

    def refuse(error: OSError) -> None:
        if Path(error.filename) == folder:
            raise InputError(f"cannot read {folder}: {error.strerror}") from None
        name = os.path.relpath(error.filename, folder)
        bad.append((name, InputError(f"cannot read {name}: {error.strerror}")))

    found: list[Path] = []
    for parent, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(parent, name) for name in names if not name.startswith(".")]
    return sorted(found, key=lambda path: path.relative_to(folder).parts)


def _read_kind(name: str, file: Path, *, images: bool) -> list[Source]:
    suffix = file.suffix.lower()
    kinds = (*TEXT_SUFFIXES, *IMAGE_SUFFIXES, PDF_SUFFIX) if images else TEXT_SUFFIXES
    if suffix not in kinds:
        return []
    try:
        name.encode()
        regular = file.is_file()
    except UnicodeEncodeError:
        raise InputError(f"the name of {name!a} is not UTF-8: rename the file") from None
    except OSError as error:
        raise InputError(f"cannot read {name}: {error.strerror}") from None
    if not regular:
        return []
    if suffix in TEXT_SUFFIXES:
        return [TextFile(name, file)]
    if suffix in IMAGE_SUFFIXES:
        return [ImageFile(name, file)]
    return [PdfPage(f"{name}#page={page}", file, page) for page in range(1, count_pages(name, file) + 1)]
