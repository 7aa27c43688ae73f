"""The format. A test that fails here means that indexes on disk can no longer be read: raise FORMAT_VERSION."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import struct

import numpy as np
import pytest

from indexes import listing
from smartrt import Bundle, Embeddings, Index, IndexOptions, TokenStates
from smartrt.errors import IndexStoreError
from smartrt.index.layout import FORMAT_VERSION, segment_files
from smartrt.manifest import Dims
from support import embeddings, message_of


def npy(descr: str, shape: str, content: bytes) -> bytes:
    """An array file, format 1.0: magic, header length, a header padded to 128 bytes in all, the numbers."""
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}"
    return b"\x93NUMPY\x01\x00v\x00" + header.encode().ljust(117) + b"\n" + content


# Document "a" has the token vectors (1, 0) and (0, 1), document "ü\n" has (0.8, -0.6): a group of 8 rows each, the
# first row repeated. The scale is 1 / 32767 in both dimensions, a bit up: 0.8 is stored as 26214, -0.6 as -19660.
# bounds.npy holds three rows: the distance from what was given to what is stored, from there to its form in 8 bits, and
# the length of that form in units of its codes.
COMMON = {
    "pooled.npy": npy("<f4", "(2, 2)", struct.pack("<4f", 0.6, 0.8, 0.0, -1.0)),
    "starts.npy": npy("<i8", "(3,)", struct.pack("<3q", 0, 1, 2)),
    "lengths.npy": npy("<i8", "(2,)", struct.pack("<2q", 2, 1)),
    "truncated.npy": npy("<i8", "(2,)", struct.pack("<2q", 0, 7)),
    "documents.jsonl": '{"id": "a", "meta": null}\n{"id": "ü\\n", "meta": {"page": 1.5}}\n'.encode(),
    "lines.npy": npy("<i8", "(3,)", struct.pack("<3q", 0, 26, 64)),
}
A, B = [1, 0, 0, 1] + [1, 0] * 6, [0.8, -0.6] * 8
CODES_A, CODES_B = [32767, 0, 0, 32767] + [32767, 0] * 6, [26214, -19660] * 8
ROUGH = (1.1827433610278604e-07, 1.370141762890853e-05, 0.005502903833985329, 0.002451379783451557)
GOLDEN = {
    "float32": COMMON
    | {
        "codes.npy": npy("<f4", "(2, 8, 2)", struct.pack("<32f", *A, *B)),
        "bounds.npy": npy("<f4", "(3, 2)", bytes.fromhex("01000000" * 2 + "00000000" * 4)),
    },
    "int16": COMMON
    | {
        "codes.npy": npy("<i2", "(2, 8, 2)", struct.pack("<32h", *CODES_A, *CODES_B)),
        "scale.npy": npy("<f4", "(2,)", bytes.fromhex("01010038" * 2)),
        "bounds.npy": npy("<f4", "(3, 2)", struct.pack("<6f", *ROUGH, 127.50099182128906, 127.90036010742188)),
    },
}
TOMBSTONES = npy("|b1", "(2,)", b"\x01\x00")
INDEX = """{
  "bundle": {
    "identity": "%(identity)s",
    "name": "tiny"
  },
  "checksum": "%(checksum)s",
  "format_version": 2,
  "generation": 2,
  "next_segment": 2,
  "options": {
    "dim": null,
    "pooling": 1,
    "projection": null,
    "storage": "%(storage)s"
  },
  "pooled_dim": 2,
  "projection": null,
  "segments": [
    {
      "deleted": {
        "documents": 1,
        "file": {
          "bytes": 130,
          "sha256": "%(tombstones)s"
        },
        "name": "deleted-000002.npy"
      },
      "documents": 2,
      "files": {
%(files)s
      },
      "groups": 2,
      "name": "segment-000001"
    }
  ],
  "token_dim": 2
}
"""


@pytest.fixture(scope="module")
def small(tiny_path):
    """A bundle of two dimensions."""
    bundle = Bundle.open(tiny_path)
    return Bundle(bundle.path, dataclasses.replace(bundle.manifest, dims=Dims(2, 2)))


@pytest.fixture(params=GOLDEN)
def golden(request, small, tmp_path):
    """An index of two documents of two dimensions, the first one deleted."""
    index = Index.create(tmp_path / "golden.index", small, IndexOptions(request.param))
    pooled = np.array([[3, 4], [0, -2]], np.float32)
    tokens = TokenStates(np.array([[1, 0], [0, 1], [0.8, -0.6]], np.float32), np.array([0, 2, 3]))
    index.add(["a", "ü\n"], Embeddings(pooled, tokens, np.array([0, 7])), [None, {"page": 1.5}])
    index.delete(["a"])
    return index


def test_a_segment_is_these_bytes(golden):
    storage = golden.manifest.options.storage
    assert sorted(GOLDEN[storage]) == sorted(segment_files(storage))
    wanted = GOLDEN[storage] | {"deleted-000002.npy": TOMBSTONES}
    assert listing(golden.path / "segment-000001") == wanted


def test_the_index_file_is_this_text(golden):
    storage = golden.manifest.options.storage
    files = ",\n".join(
        f'        "{name}": {{\n          "bytes": {len(content)},\n'
        f'          "sha256": "{hashlib.sha256(content).hexdigest()}"\n        }}'
        for name, content in sorted(GOLDEN[storage].items())
    )
    values = {
        "identity": golden.manifest.bundle.identity,
        "storage": storage,
        "tombstones": hashlib.sha256(TOMBSTONES).hexdigest(),
        "files": files,
    }
    content = json.loads(INDEX % (values | {"checksum": ""}))
    del content["checksum"]  # SHA-256 of the rest with sorted keys and no spaces
    plain = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    expected = INDEX % (values | {"checksum": hashlib.sha256(plain).hexdigest()})
    assert (golden.path / "index.json").read_text(encoding="utf-8") == expected


def test_an_index_holds_nothing_else(golden):
    assert {path.name for path in golden.path.iterdir()} == {"index.json", "segment-000001", "writer.lock"}


def test_a_compacted_index_is_as_if_the_document_had_never_been_there(golden):
    golden.compact()
    storage = golden.manifest.options.storage
    segment = listing(golden.path / "segment-000002")
    width = {"int16": 2, "float32": 4}[storage]
    assert segment["pooled.npy"] == npy("<f4", "(1, 2)", struct.pack("<2f", 0.0, -1.0))
    assert segment["starts.npy"] == npy("<i8", "(2,)", struct.pack("<2q", 0, 1))
    assert segment["lengths.npy"] == npy("<i8", "(1,)", struct.pack("<q", 1))
    assert segment["truncated.npy"] == npy("<i8", "(1,)", struct.pack("<q", 7))
    assert segment["documents.jsonl"] == COMMON["documents.jsonl"][26:]
    assert segment["lines.npy"] == npy("<i8", "(2,)", struct.pack("<2q", 0, 38))
    assert segment["codes.npy"][128:] == GOLDEN[storage]["codes.npy"][128 + 16 * width :]
    assert segment.get("scale.npy") == GOLDEN[storage].get("scale.npy")
    bounds = GOLDEN[storage]["bounds.npy"]
    assert segment["bounds.npy"][128:] == b"".join(bounds[128 + at : 132 + at] for at in (4, 12, 20))
    assert set(segment) == set(segment_files(storage))


FORMAT_1 = """{
  "bundle": {
    "identity": "%s",
    "name": "tiny"
  },
  "format_version": 1,
  "pooled_dim": 32,
  "segments": [],
  "storage": "float32",
  "token_dim": 32
}
"""


def test_an_index_of_format_1_is_refused_with_what_to_do(small, tmp_path):
    assert FORMAT_VERSION == 2
    index = Index.create(tmp_path / "old.index", small)
    (index.path / "index.json").write_text(FORMAT_1 % index.manifest.bundle.identity)
    batch = Embeddings(embeddings([1], dim=2).pooled, embeddings([1], dim=2).tokens, np.zeros(1, np.int64))
    for use in (lambda: Index.open(index.path), lambda: index.add(["a"], batch), index.compact):
        with pytest.raises(IndexStoreError) as caught:
            use()
        message_of(caught.value, str(index.path), "format_version", "1", "build the index again")
