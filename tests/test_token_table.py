"""The table of token embeddings: exact for every stored type, never read as a whole."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from smartrt import Bundle
from smartrt.backbones.token_table import STORED, MappedTable
from smartrt.errors import CorruptBundleError
from smartrt.manifest import TokenTable
from support import message_of

torch = pytest.importorskip("torch", reason="PyTorch's own tensors are the truth")

NAME = "token_table.bin"
TYPES = tuple(STORED)


def opened(directory: Path, dtype: str, rows: int, dim: int) -> MappedTable:
    bundle = Bundle(directory, cast(Any, None))  # the table needs to know where it lies, nothing else
    return MappedTable.open(bundle, TokenTable(NAME, cast(Any, dtype), rows, dim))


def write(directory: Path, tensor: Any) -> None:
    """The bytes of a tensor, as an exporter writes them."""
    (directory / NAME).write_bytes(tensor.contiguous().view(torch.uint8).numpy().tobytes())


def resident_bytes() -> int:
    """Memory of this process, mapped pages that were read included."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGESIZE")


def values(dtype: str, rows: int, dim: int) -> Any:
    """Numbers of all sizes that `dtype` has."""
    generator = torch.Generator().manual_seed(20240521)
    exponents = torch.randint(-20, 15, (rows, dim), generator=generator)
    return (torch.randn(rows, dim, generator=generator) * 2.0**exponents).to(getattr(torch, dtype))


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("shape", [(50, 32), (1, 1), (7, 3)])
def test_rows_are_those_of_the_tensor_bit_for_bit(tmp_path, dtype, shape):
    tensor = values(dtype, *shape)
    write(tmp_path, tensor)
    got = opened(tmp_path, dtype, *shape)[np.arange(shape[0])]
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got.view(np.uint32), tensor.float().numpy().view(np.uint32))


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


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("shape", [(), (0,), (5,), (2, 3), (2, 0)], ids=str)
def test_ids_of_any_shape_get_one_more_axis(tmp_path, dtype, shape, rng):
    tensor = values(dtype, 20, 6)
    write(tmp_path, tensor)
    ids = rng.integers(0, 20, shape)
    got = opened(tmp_path, dtype, 20, 6)[ids]
    assert got.shape == (*shape, 6)
    np.testing.assert_array_equal(got, tensor.float().numpy()[ids])


@pytest.mark.parametrize("dtype", TYPES)
def test_rows_may_be_written_to_and_the_file_stays(tmp_path, dtype):
    """The images' rows are written over those of their placeholders."""
    write(tmp_path, values(dtype, 20, 6))
    before = (tmp_path / NAME).read_bytes()
    table = opened(tmp_path, dtype, 20, 6)
    rows = table[np.array([[3, 3], [1, 19]])]
    assert type(rows) is np.ndarray
    assert not table._values.flags.writeable
    rows[:] = 7
    assert (table[np.array([3])] != 7).any()
    assert (tmp_path / NAME).read_bytes() == before


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


def test_a_table_of_the_wrong_type_is_noticed_by_its_size(tmp_path):
    write(tmp_path, values("bfloat16", 20, 6))
    with pytest.raises(CorruptBundleError):
        opened(tmp_path, "float32", 20, 6)


@pytest.mark.parametrize("dtype", TYPES)
def test_a_table_of_a_gigabyte_is_never_read_whole(tmp_path, dtype):
    dim = 2048
    rows = (1 << 30) // (dim * np.dtype(STORED[dtype]).itemsize)
    path = tmp_path / NAME
    last = values(dtype, 1, dim)
    content = last.view(torch.uint8).numpy().tobytes()
    try:
        with path.open("wb") as file:
            file.truncate(1 << 30)
            file.seek(-len(content), os.SEEK_END)
            file.write(content)
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
    np.testing.assert_array_equal(got, np.concatenate([np.zeros((2, dim), np.float32), last.float().numpy()]))
    assert peak < 1 << 20
    assert grown < 32 << 20
