"""The table of token embeddings: exact for every stored type, never read as a whole."""

from __future__ import annotations

import os
import shutil
import tracemalloc
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from smartrt import Bundle, Encoder
from smartrt.backbones.token_table import STORED, MappedTable
from smartrt.errors import CorruptBundleError
from smartrt.manifest import TokenTable
from support import edit_json, message_of, rehash, set_key

torch = pytest.importorskip("torch", reason="PyTorch's own tensors are the truth")

NAME = "token_table.bin"
SCALES = "token_table.scales.bin"
TYPES = tuple(STORED)


def opened(directory: Path, dtype: str, rows: int, dim: int) -> MappedTable:
    bundle = Bundle(directory, cast(Any, None))  # the table needs to know where it lies, nothing else
    return MappedTable.open(bundle, TokenTable(NAME, cast(Any, dtype), rows, dim, SCALES if dtype == "int8" else None))


def write(directory: Path, tensor: Any, name: str = NAME) -> None:
    """The bytes of a tensor, as an exporter writes them."""
    (directory / name).write_bytes(tensor.contiguous().view(torch.uint8).numpy().tobytes())


def made(directory: Path, dtype: str, rows: int, dim: int) -> Any:
    """A table on disk, scales included, and what its rows are, float32."""
    tensor = values(dtype, rows, dim)
    write(directory, tensor)
    if dtype != "int8":
        return tensor.float().numpy()
    scales = values("float32", rows, 1).abs()
    write(directory, scales, SCALES)
    return (tensor.double() * scales.double()).float().numpy()  # the product fits float64: rounded once


def resident_bytes() -> int:
    """Memory of this process, mapped pages that were read included."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGESIZE")


def values(dtype: str, rows: int, dim: int) -> Any:
    """Numbers of all sizes that `dtype` has."""
    generator = torch.Generator().manual_seed(20240521)
    if dtype == "int8":
        return torch.randint(-128, 128, (rows, dim), generator=generator, dtype=torch.int8)
    exponents = torch.randint(-20, 15, (rows, dim), generator=generator)
    return (torch.randn(rows, dim, generator=generator) * 2.0**exponents).to(getattr(torch, dtype))


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("shape", [(50, 32), (1, 1), (7, 3)])
def test_rows_are_those_of_the_tensor_bit_for_bit(tmp_path, dtype, shape):
    wanted = made(tmp_path, dtype, *shape)
    got = opened(tmp_path, dtype, *shape)[np.arange(shape[0])]
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got.view(np.uint32), wanted.view(np.uint32))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_every_number_of_16_bits_comes_out_exact(tmp_path, dtype):
    """Zeros of both signs, subnormals and infinities included."""
    tensor = torch.arange(1 << 16, dtype=torch.int32).to(torch.uint16).view(getattr(torch, dtype)).reshape(256, 256)
    write(tmp_path, tensor)
    got, wanted = opened(tmp_path, dtype, 256, 256)[np.arange(256)], tensor.float().numpy()
    number = ~np.isnan(wanted)
    assert number.sum() > 63_000
    np.testing.assert_array_equal(got[number].view(np.uint32), wanted[number].view(np.uint32))
    assert np.isnan(got[~number]).all()


@pytest.mark.parametrize("scale", [1.0, 1 / 127, 3.0e-39, 1.25e36], ids=str)
def test_every_code_is_multiplied_by_the_scale_of_its_row(tmp_path, scale):
    codes = torch.arange(-128, 128).to(torch.int8).reshape(1, 256).repeat(3, 1)
    scales = torch.tensor([[scale], [0.0], [2 * scale]])
    write(tmp_path, codes)
    write(tmp_path, scales, SCALES)
    got = opened(tmp_path, "int8", 3, 256)[np.array([2, 0, 1, 0])]
    wanted = (codes.double() * scales.double()).float().numpy()[[2, 0, 1, 0]]
    assert np.isfinite(wanted).all()
    np.testing.assert_array_equal(got.view(np.uint32), wanted.view(np.uint32))


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("shape", [(), (0,), (5,), (2, 3), (2, 0)], ids=str)
def test_ids_of_any_shape_get_one_more_axis(tmp_path, dtype, shape, rng):
    wanted = made(tmp_path, dtype, 20, 6)
    ids = rng.integers(0, 20, shape)
    got = opened(tmp_path, dtype, 20, 6)[ids]
    assert got.shape == (*shape, 6)
    np.testing.assert_array_equal(got, wanted[ids])


@pytest.mark.parametrize("dtype", TYPES)
def test_rows_may_be_written_to_and_the_file_stays(tmp_path, dtype):
    """The images' rows are written over those of their placeholders."""
    made(tmp_path, dtype, 20, 6)
    before = [path.read_bytes() for path in sorted(tmp_path.iterdir())]
    table = opened(tmp_path, dtype, 20, 6)
    rows = table[np.array([[3, 3], [1, 19]])]
    assert type(rows) is np.ndarray
    assert not table._values.flags.writeable
    rows[:] = 7
    assert (table[np.array([3])] != 7).any()
    assert [path.read_bytes() for path in sorted(tmp_path.iterdir())] == before


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(
    ("rows", "more"),
    [(19, 0), (20, -1), (20, 1), (21, 0), (0, 0)],
    ids=["row less", "byte less", "byte more", "row more", "empty"],
)
def test_a_file_of_another_size_is_corrupt(tmp_path, dtype, rows, more):
    row = 6 * np.dtype(STORED[dtype]).itemsize
    path, size = tmp_path / NAME, rows * row + more
    path.write_bytes(bytes(size))
    with pytest.raises(CorruptBundleError) as caught:
        opened(tmp_path, dtype, 20, 6)
    message_of(caught.value, str(path), f"{size} bytes", f"20 x 6 {dtype} are {20 * row}", "export")


@pytest.mark.parametrize("size", [0, 76, 79, 81, 84, 480], ids=lambda size: f"{size} bytes")
def test_a_file_of_scales_of_another_size_is_corrupt(tmp_path, size):
    made(tmp_path, "int8", 20, 6)
    (tmp_path / SCALES).write_bytes(bytes(size))
    with pytest.raises(CorruptBundleError) as caught:
        opened(tmp_path, "int8", 20, 6)
    message_of(caught.value, str(tmp_path / SCALES), f"{size} bytes", "20 x 1 float32 are 80", "export")


def test_a_table_of_the_wrong_type_is_noticed_by_its_size(tmp_path):
    write(tmp_path, values("bfloat16", 20, 6))
    with pytest.raises(CorruptBundleError):
        opened(tmp_path, "float32", 20, 6)


def lengthen(path: Path, size: int) -> None:
    """Put zeros before the content of a file, as a hole where the disk has them."""
    content = path.read_bytes()
    with path.open("wb") as file:
        file.truncate(size)
        file.seek(-len(content), os.SEEK_END)
        file.write(content)


@pytest.mark.parametrize("dtype", TYPES)
def test_a_table_of_a_gigabyte_is_never_read_whole(tmp_path, dtype):
    dim = 2048
    rows = (1 << 30) // (dim * np.dtype(STORED[dtype]).itemsize)
    path = tmp_path / NAME
    last = made(tmp_path, dtype, 1, dim)
    try:
        lengthen(path, 1 << 30)
        if dtype == "int8":
            lengthen(tmp_path / SCALES, 4 * rows)
        sparse = path.stat().st_blocks * 512 < 1 << 20
    except OSError as error:
        pytest.skip(f"the disk takes no file of 1 GB: {error}")
    if not sparse:
        path.unlink()
        pytest.skip("the disk has no sparse files")
    tracemalloc.start()
    try:
        resident = resident_bytes()
        got = opened(tmp_path, dtype, rows, dim)[np.array([0, rows // 2, rows - 1])]
        grown = resident_bytes() - resident
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        path.unlink()
    np.testing.assert_array_equal(got, np.concatenate([np.zeros((2, dim), np.float32), last]))
    assert peak < 1 << 20
    assert grown < 32 << 20


# In a bundle.

TEXTS = ("sort a list", "北京 2024! café", "how do I copy a file?")


def with_table(source: Path, copy: Path, arrays: dict[str, Any], **entry: Any) -> Path:
    """A copy of a Qwen-VL bundle with another token table: its files, and what the manifest says of them."""
    shutil.copytree(source, copy)
    for name, array in arrays.items():
        (copy / name).write_bytes(array.tobytes())

    def change(manifest: dict[str, Any]) -> None:
        manifest["token_table"] |= entry
        manifest["files"] |= {name: {"bytes": 0, "sha256": ""} for name in arrays}

    edit_json(copy / "manifest.json", change)
    rehash(copy)
    return copy


@pytest.fixture
def rounded(page_path: Path, tmp_path: Path) -> tuple[Path, np.ndarray]:
    """A tiny Qwen-VL with an int8 table, and its rows as float32."""
    entry = Bundle.open(page_path).manifest.token_table
    assert entry is not None
    assert entry.dtype == "float32"
    table = np.fromfile(page_path / entry.path, "<f4").reshape(entry.rows, entry.dim)
    scales = np.maximum(abs(table).max(axis=1, keepdims=True), 1e-9) / np.float32(127)
    codes = np.rint(table / scales).astype(np.int8)
    path = with_table(page_path, tmp_path / "int8.smartrt", {NAME: codes, SCALES: scales}, dtype="int8", scales=SCALES)
    return path, codes * scales


def test_an_int8_table_gives_the_vectors_of_a_float32_one_with_the_same_numbers(page_path, tmp_path, rounded):
    path, numbers = rounded
    same = with_table(page_path, tmp_path / "float32.smartrt", {NAME: numbers})
    with Encoder.open(path) as encoder, Encoder.open(same) as other, Encoder.open(page_path) as before:
        got, wanted, unrounded = (each.encode_document(TEXTS) for each in (encoder, other, before))
    np.testing.assert_array_equal(got.pooled, wanted.pooled)
    np.testing.assert_array_equal(got.tokens.values, wanted.tokens.values)
    assert not np.array_equal(got.pooled, unrounded.pooled)
    assert len({Bundle.open(each).identity for each in (path, same, page_path)}) == 3


def test_a_bundle_without_its_file_of_scales_is_refused(rounded):
    path, _ = rounded
    (path / SCALES).unlink()
    with pytest.raises(CorruptBundleError) as caught:
        Bundle.open(path, verify=False)
    message_of(caught.value, f"misses {SCALES}", "copy the bundle again")


def test_a_bundle_that_does_not_list_its_file_of_scales_is_refused(rounded):
    path, _ = rounded
    edit_json(path / "manifest.json", lambda manifest: manifest["files"].pop(SCALES))
    with pytest.raises(CorruptBundleError) as caught:
        Bundle.open(path)
    message_of(caught.value, f"{SCALES!r} is used but not listed")


def test_scales_for_other_rows_are_refused_though_their_hash_fits(rounded):
    path, numbers = rounded
    (path / SCALES).write_bytes(np.ones(len(numbers) - 1, "<f4").tobytes())
    rehash(path)
    with pytest.raises(CorruptBundleError) as caught:
        Encoder.open(path)
    message_of(caught.value, SCALES, f"{len(numbers)} x 1 float32")


@pytest.mark.parametrize(
    ("keys", "value", "mentions"),
    [
        ("scales", None, "token_table.scales: None with int8"),
        ("scales", "", "'' is used but not listed"),
        ("dtype", "float32", f"token_table.scales: {SCALES!r} with float32"),
        ("dtype", "bfloat16", f"token_table.scales: {SCALES!r} with bfloat16"),
        ("scales", "elsewhere.bin", "'elsewhere.bin' is used but not listed"),
    ],
)
def test_a_type_and_scales_that_contradict_each_other_are_refused(rounded, keys, value, mentions):
    path, _ = rounded
    set_key(path / "manifest.json", f"token_table/{keys}", value)
    with pytest.raises(CorruptBundleError) as caught:
        Bundle.open(path)
    message_of(caught.value, mentions)
