"""The bundle manifest: what `manifest.json` says, as frozen dataclasses.

The manifest is the only truth the runtime reads about a model. docs/format.md describes every key; a
key that is not described there is an error (see `strict_json`).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator

FORMAT_VERSION = 1
"""Bundle format written and read by this version. docs/format.md keeps the history."""

Side = Literal["query", "document"]

_INPUTS = {"input_ids", "attention_mask", "token_type_ids"}
_OUTPUTS = {"pooled", "token_states"}


@dataclass(frozen=True)
class FileEntry:
    """Size and SHA-256 of one file of a bundle, or of a segment of an index."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Source:
    """Where the weights came from.

    `checkpoint` is the directory name, hub id or package the user named; `weights_sha256` is the hash
    over the checkpoint's weight files, sorted by name.
    """

    checkpoint: str
    revision: str | None
    architecture: str
    weights_sha256: str


@dataclass(frozen=True)
class GraphEntry:
    """One ONNX graph and its interface."""

    path: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class Dims:
    """Length of the pooled vector and of one token vector."""

    pooled: int
    token: int


@dataclass(frozen=True)
class TokenizerEntry:
    """How text becomes ids.

    `probe_text` must tokenise to `probe_ids`: that catches a tokenizer of another model, and a
    tokenizers library that reads the file differently, before any vector is computed.
    """

    path: str
    vocab_size: int
    max_length: int
    padding_side: Literal["left", "right"]
    pad_id: int
    probe_text: str
    probe_ids: tuple[int, ...]


@dataclass(frozen=True)
class Prompts:
    """Text put in front of the user's text, per side."""

    query: str
    document: str


@dataclass(frozen=True)
class LateMask:
    """Ids whose token states do not take part in late interaction, per side."""

    query: tuple[int, ...]
    document: tuple[int, ...]


@dataclass(frozen=True)
class Scoring:
    """Default fusion: ``pooled_weight * cos(pooled) + late_weight * mean_i max_j cos(q_i, d_j)``."""

    pooled_weight: float
    late_weight: float
    late: Literal["mean"]


@dataclass(frozen=True)
class Verified:
    """What the parity check at export measured against the PyTorch reference.

    `max_abs` is over both outputs on valid tokens; the cosines are minima over items and tokens;
    `ranking_agreement` is the share of queries whose hybrid order of the check's documents is the
    reference's; `inputs_sha256` is over the texts that were compared.
    """

    against: str
    tolerance: float
    items: int
    max_abs: float
    min_cosine_pooled: float
    min_cosine_token: float
    ranking_agreement: float
    inputs_sha256: str


@dataclass(frozen=True)
class Manifest:
    """Everything the runtime knows about a bundle. See docs/format.md for each key."""

    format_version: int
    name: str
    family: Literal["text-encoder"]
    modalities: tuple[Literal["text"], ...]
    source: Source
    exporter: dict[str, str]
    opset: int
    precision: Literal["fp32"]
    graphs: dict[str, GraphEntry]
    files: dict[str, FileEntry]
    tokenizer: TokenizerEntry
    prompts: Prompts
    pooling: Literal["mean", "cls", "last"]
    pooled_token_id: int | None
    normalized: bool
    dims: Dims
    token_layer: int
    adapter: None
    late_mask: LateMask
    scoring: Scoring
    verified: Verified

    def problems(self) -> Iterator[str]:
        """What the types allow and no bundle can have, as ``key: reason``."""
        graph, tokenizer, size = self.graphs.get("encoder"), self.tokenizer, self.tokenizer.vocab_size
        if graph is None:
            yield "graphs: there is no encoder"
        elif not {"input_ids", "attention_mask"} <= set(graph.inputs) <= _INPUTS or set(graph.outputs) != _OUTPUTS:
            yield f"graphs.encoder: {list(graph.inputs)} -> {list(graph.outputs)} is not a text encoder"
        for name in (tokenizer.path, *(entry.path for entry in self.graphs.values())):
            if name not in self.files:
                yield f"files: {name!r} is used but not listed"
        for key, number in (("max_length", tokenizer.max_length), ("dims", min(self.dims.pooled, self.dims.token))):
            if number < 1:
                yield f"{key}: {number} is below 1"
        ids = {
            "tokenizer.pad_id": (tokenizer.pad_id,),
            "late_mask.query": self.late_mask.query,
            "late_mask.document": self.late_mask.document,
        }
        for key, values in ids.items():
            if not all(0 <= value < size for value in values):
                yield f"{key}: {list(values)[:8]} holds an id outside the vocabulary of {size}"

    def identity(self) -> str:
        """SHA-256 over all that decides the vectors: equal identities give comparable vectors.

        Left out is what does not: the name, who exported it and with what, and the check's figures.
        """
        decides: dict[str, Any] = dataclasses.asdict(self)
        for key in ("name", "source", "exporter", "verified", "scoring"):
            del decides[key]
        canonical = json.dumps(decides, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(canonical.encode()).hexdigest()
