"""Damage: sizes, shapes and checksums are compared when an index is opened, every byte by `check`."""

from __future__ import annotations

import itertools
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest

from indexes import fill, listing, reseal
from smartrt import Bundle, Index, IndexOptions
from smartrt.errors import CorruptIndexError, IndexStoreError, UnsupportedFormatError
from smartrt.index.layout import read_manifest, segment_files
from support import edit_json, embeddings, flip_bit, message_of, set_key

SEGMENT_FILES = segment_files("int16")
STONES = "deleted-000003.npy"


@pytest.fixture(scope="module")
def bundle(tiny_path):
    return Bundle.open(tiny_path)


@pytest.fixture(scope="module")
def original(bundle, tmp_path_factory):
    """Two segments, a b c and d e, of which e is deleted; token vectors are projected."""
    options = IndexOptions(projection="orthogonal", dim=8)
    index = fill(Index.create(tmp_path_factory.mktemp("original") / "docs.index", bundle, options))
    index.delete(["e"])
    return index.path


@pytest.fixture
def filled(original, tmp_path):
    return Index.open(shutil.copytree(original, tmp_path / "docs.index"))


def changed(keys, value):
    """index.json says something else, and its checksum is left as it was."""
    return lambda path: set_key(path / "index.json", keys, value)


def sealed(change):
    """index.json says something else and has the checksum that belongs to it."""
    return lambda path: reseal(path, change)


def in_segment(**entries):
    return sealed(lambda data: data["segments"][1].update(entries))


def swap(path: Path, one: str, other: str) -> None:
    one, other, spare = (path / "segment-000002" / name for name in (one, other, "spare"))
    one.rename(spare)
    other.rename(one)
    spare.rename(other)


def shorten(path: Path, count: int = 1) -> None:
    path.write_bytes(path.read_bytes()[:-count])


def rewrite(name: str, array: np.ndarray):
    """An array with other numbers, and the same size."""
    return lambda path: np.save(path / "segment-000002" / name, array)


def moved_out(path: Path) -> None:
    (path / "segment-000002").rename(path.parent / "outside")
    in_segment(name="../outside")(path)


def without(*keys):
    def drop(data):
        for key in keys[:-1]:
            data = data[key]
        data.pop(keys[-1])

    return lambda path: edit_json(path / "index.json", drop)


CORRUPT, UNSUPPORTED = CorruptIndexError, UnsupportedFormatError
DAMAGE = {
    "newer version": (changed("format_version", 3), UNSUPPORTED, "index format 3"),
    "version 0": (changed("format_version", 0), CORRUPT, "format_version"),
    "version as a string": (changed("format_version", "2"), CORRUPT, "format_version"),
    "version as a bool": (changed("format_version", True), CORRUPT, "format_version"),
    "unknown key": (changed("surprise", 1), UNSUPPORTED, "surprise: unknown key"),
    "unknown nested key": (changed("bundle/path", "x"), UNSUPPORTED, "bundle.path: unknown key"),
    "missing key": (without("options"), CORRUPT, "options: missing key"),
    "missing nested key": (without("segments", 0, "groups"), CORRUPT, "segments[0].groups: missing key"),
    "no checksum": (without("checksum"), CORRUPT, "checksum"),
    "unknown storage": (changed("options/storage", "int4"), CORRUPT, "storage"),
    "pooling 0": (changed("options/pooling", 0), CORRUPT, "pooling"),
    "projection without dim": (changed("options/dim", None), CORRUPT, "dim"),
    "another generation": (changed("generation", 2), CORRUPT, "checksum is wrong"),
    "another bundle": (changed("bundle/identity", "0" * 64), CORRUPT, "checksum is wrong"),
    "another checksum": (changed("checksum", "0" * 64), CORRUPT, "checksum is wrong"),
    "manifest is cut off": (lambda path: shorten(path / "index.json", 2), CORRUPT, "JSON"),
    "manifest is empty": (lambda path: (path / "index.json").write_bytes(b""), CORRUPT, "JSON"),
    "manifest is a list": (lambda path: (path / "index.json").write_text("[]"), CORRUPT, "index.json"),
    "other pooled dim": (sealed(lambda data: data.update(pooled_dim=16)), CORRUPT, "pooled.npy"),
    "other dim": (sealed(lambda data: data["options"].update(dim=16)), CORRUPT, "codes.npy"),
    "other storage": (sealed(lambda data: data["options"].update(storage="float16")), CORRUPT, "scale.npy"),
    "one document more": (in_segment(documents=3), CORRUPT, "segment-000002"),
    "fewer than no documents": (in_segment(documents=-1), CORRUPT, "segment-000002"),
    "more documents than there are numbers": (in_segment(documents=10**30), CORRUPT, "segment-000002"),
    "one group more": (in_segment(groups=3), CORRUPT, "codes.npy"),
    "a file not listed": (sealed(lambda data: data["segments"][1]["files"].pop("lines.npy")), CORRUPT, "lines.npy"),
    "a segment outside": (moved_out, CORRUPT, "../outside"),
    "a segment named like none": (in_segment(name="segment-1"), CORRUPT, "segment-1"),
    "tombstones outside": (
        sealed(lambda data: data["segments"][1]["deleted"].update(name="../segment-000001/pooled.npy")),
        CORRUPT,
        "../segment-000001/pooled.npy",
    ),
    "one more deleted": (sealed(lambda data: data["segments"][1]["deleted"].update(documents=2)), CORRUPT, STONES),
    "tombstones of others": (rewrite(STONES, np.array([True, True])), CORRUPT, STONES),
    "a segment missing": (lambda path: shutil.rmtree(path / "segment-000001"), CORRUPT, "segment-000001"),
    "starts and lines swapped": (lambda path: swap(path, "starts.npy", "lines.npy"), CORRUPT, "starts.npy"),
    "pooled and codes swapped": (lambda path: swap(path, "pooled.npy", "codes.npy"), CORRUPT, "pooled.npy"),
    "starts that fall": (rewrite("starts.npy", np.array([0, 3, 2])), CORRUPT, "starts.npy"),
    "starts with an empty document": (rewrite("starts.npy", np.array([0, 2, 2])), CORRUPT, "starts.npy"),
    "starts from 1": (rewrite("starts.npy", np.array([1, 1, 2])), CORRUPT, "starts.npy"),
    "a scale of zero": (rewrite("scale.npy", np.zeros(8, np.float32)), CORRUPT, "scale.npy"),
    "a scale of NaN": (rewrite("scale.npy", np.full(8, np.nan, np.float32)), CORRUPT, "scale.npy"),
    "big-endian": (rewrite("lengths.npy", np.array([4, 2], ">i8")), CORRUPT, "lengths.npy"),
    **{
        f"{name} {how}": (lambda path, n=name, do=change: do(path / "segment-000002" / n), CORRUPT, name)
        for name in (*SEGMENT_FILES, STONES)
        for how, change in {"missing": Path.unlink, "one byte short": shorten}.items()
    },
}


@pytest.mark.parametrize(("damage", "kind", "mentions"), DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_index_is_refused_with_one_line_that_says_what(filled, damage, kind, mentions):
    damage(filled.path)
    with pytest.raises(kind) as caught:
        Index.open(filled.path)
    message_of(caught.value, mentions, str(filled.path))


@pytest.mark.parametrize("damage", [Path.unlink, shorten], ids=["missing", "one byte short"])
def test_a_damaged_projection_is_refused(filled, damage):
    damage(filled.path / "projection.npy")
    with pytest.raises(CorruptIndexError):
        Index.open(filled.path)


@pytest.mark.parametrize("damage", [Path.unlink, shorten], ids=["missing", "one byte short"])
def test_a_damaged_projection_is_an_error_when_it_is_used(filled, damage):
    damage(filled.path / "projection.npy")
    for use in (Index.check, lambda index: index.search(embeddings([1])), lambda index: index.add(["x"], BATCH)):
        with pytest.raises(CorruptIndexError) as caught:
            use(Index.open(filled.path))
        message_of(caught.value, "projection.npy", str(filled.path))


BATCH = embeddings([9])


@pytest.mark.parametrize("name", ["segment-000001/codes.npy", "segment-000002/documents.jsonl", "index.json"])
def test_a_refused_change_leaves_a_damaged_index_as_it_is(filled, name):
    shorten(filled.path / name, 2)
    before = listing(filled.path)
    for change in (lambda: filled.delete(["a"]), lambda: filled.add(["x"], BATCH), filled.compact):
        try:
            change()
        except IndexStoreError as error:
            message_of(error, str(filled.path))
            assert listing(filled.path) == before
        before = listing(filled.path)


def test_an_error_of_an_index_is_an_index_error_whatever_it_is(filled):
    set_key(filled.path / "index.json", "format_version", 3)
    with pytest.raises(IndexStoreError):
        Index.open(filled.path)


ALL_FILES = [*(f"segment-000002/{name}" for name in (*SEGMENT_FILES, STONES)), "projection.npy"]


@pytest.mark.parametrize("name", ALL_FILES)
def test_check_finds_a_flipped_bit(filled, name):
    filled.check()
    flip_bit(filled.path / name)
    with pytest.raises(CorruptIndexError) as caught:
        filled.check()
    message_of(caught.value, name, str(filled.path))


def test_no_file_is_left_out_of_these_tests(filled):
    own = {str(path.relative_to(filled.path)) for path in filled.path.rglob("*.*") if "segment-000001" not in str(path)}
    assert own == {*ALL_FILES, "index.json", "writer.lock"}


def test_check_finds_a_flipped_bit_in_the_manifest_of_an_open_index(filled):
    flip_bit(filled.path / "index.json", -10)
    with pytest.raises(IndexStoreError):
        filled.check()


def test_a_flipped_bit_of_the_manifest_is_found_when_it_is_read(filled):
    path = filled.path / "index.json"
    content = path.read_bytes()
    for position in range(len(content)):
        wrong = bytearray(content)
        wrong[position] ^= 1 << position * 5 % 8  # every eighth of the bits, or this takes long
        path.write_bytes(wrong)
        with pytest.raises(IndexStoreError) as caught:
            read_manifest(filled.path)
        assert len(str(caught.value).splitlines()) == 1


def test_check_finds_files_of_one_size_that_were_swapped(bundle, tmp_path):
    index = Index.create(tmp_path / "docs.index", bundle, IndexOptions("float32"))
    index.add(["a"], embeddings([8]))
    index.add(["b"], embeddings([8], seed=1))
    one, other = (index.path / f"segment-00000{i}" / "codes.npy" for i in (1, 2))
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)
    with pytest.raises(CorruptIndexError, match="changed since it was written"):
        Index.open(index.path).check()


@pytest.mark.parametrize("name", ["pooled.npy", "starts.npy", STONES])
def test_a_flipped_header_bit_is_a_corrupt_index_or_nothing(filled, name):
    path = filled.path / "segment-000002" / name
    content = path.read_bytes()
    for position, bit in itertools.product(range(128), (0, 4, 7)):
        wrong = bytearray(content)
        wrong[position] ^= 1 << bit
        path.write_bytes(wrong)
        with pytest.raises(CorruptIndexError) as caught:
            Index.open(filled.path)
        message_of(caught.value, name)


UNREADABLE = {
    "not UTF-8": ("documents.jsonl", lambda content: b"\xff" * len(content)),
    "not objects": ("documents.jsonl", lambda content: b"[]".ljust(len(content) - 1) + b"\n"),
    "other keys": ("documents.jsonl", lambda content: content.replace(b'"id"', b'"ie"')),
    "lines that lead nowhere": ("lines.npy", lambda content: content[:128] + struct.pack("<3q", 0, -5, 10**12)),
}


@pytest.mark.parametrize(("name", "content"), UNREADABLE.values(), ids=UNREADABLE)
@pytest.mark.parametrize("use", ["ids", "search", "delete"])
def test_documents_that_cannot_be_read_are_a_corrupt_index(filled, name, content, use):
    path = filled.path / "segment-000002" / name
    path.write_bytes(content(path.read_bytes()))
    uses = {
        "ids": Index.ids,
        "search": lambda index: index.search(embeddings([1]), k=5),
        "delete": lambda index: index.delete(["a"]),
    }
    opened, before = Index.open(filled.path), listing(filled.path)
    with pytest.raises(CorruptIndexError) as caught:
        uses[use](opened)
    message_of(caught.value, "segment-000002", str(filled.path))
    assert listing(filled.path) == before
