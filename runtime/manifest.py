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

from .price import Precision, Verified  # noqa: TC001  (strict_json reads the types when it runs)

if TYPE_CHECKING:
    from collections.abc import Iterator

FORMAT_VERSION = 4
"""Bundle format written and read by this version. docs/format.md keeps the history."""

Side = Literal["query", "document"]

QueryMask = Literal["bundle", "text-only"]
"""Which query tokens take part in late interaction: those the bundle says, or of these the text alone
(composed image retrieval: the query picture's own tokens mislead; SMART, arXiv 2605.24938)."""

Dialect = Literal["portable", "fused"]
"""Which operators the graphs use: those every engine takes (opset 21 and less), or ONNX's own attention, RMS norm and
rotary embedding (opset 23), which newer engines run faster. docs/engines.md says which takes what."""

Parts = Literal[
    "text", "image", "image+text", "instruction", "instruction+text", "instruction+image", "instruction+image+text"
]
"""What an item consists of."""


@dataclass(frozen=True)
class FileEntry:
    """Size and SHA-256 of one file of a bundle, or of a segment of an index."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Source:
    """Where the weights came from.

    `checkpoint` is the directory name, hub id or package the user named; `preset` the embedding model that a
    backbone is run as; `weights_sha256` is the hash over the checkpoint's weight files, sorted by name.
    """

    checkpoint: str
    revision: str | None
    architecture: str
    preset: str | None
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
    """Text put in front of the user's text, per side; text encoders have these."""

    query: str
    document: str


@dataclass(frozen=True)
class SideTemplates:
    """How one side of a chat model is written.

    Attributes:
        templates: Per kind of item, a text with the fields ``{instruction}``, ``{images}`` and ``{text}``;
            a kind that is not there is refused.
        instruction: The default; empty for none.
        own_instruction: Whether an item's own instruction replaces the default.
    """

    templates: dict[str, str]
    instruction: str
    own_instruction: bool


@dataclass(frozen=True)
class Chat:
    """How a chat model's input is written. Ids of special tokens come from the templates alone.

    Attributes:
        query: Templates of queries.
        document: Templates of documents.
        image_span: What stands for one image; its placeholder is repeated once per visual token.
        end_sentence: Strip an item's instruction and end it with a full stop unless punctuation ends it.
        empty_text: Stands for an item without text and image.
        suffix_ids: What the tokenizer's own post-processor appends; a cut at `max_length` keeps it.
        pool_before_id: The pooled vector is read before the last token of this id, or at the last token.
        positions: ``mrope`` or 0, 1, 2 … on all three axes.
    """

    query: SideTemplates
    document: SideTemplates
    image_span: str
    end_sentence: bool
    empty_text: str
    suffix_ids: tuple[int, ...]
    pool_before_id: int | None
    positions: Literal["mrope", "sequential"]


@dataclass(frozen=True)
class ResizeStage:
    """One resizing of an image; `images.resize` has the rules. `min_pixels` and `max_pixels` are width times height."""

    rule: Literal["qwen-vl-utils", "transformers", "tiny-square"]
    min_pixels: int
    max_pixels: int
    long_images: Literal["refuse", "clamp"]


@dataclass(frozen=True)
class Images:
    """How an image becomes visual tokens.

    `mean` and `std` are folded into the graph's first weight and stand here for people. `rotary_dim` angles
    a patch with base `rotary_theta`; `position_grid` is the side of the learned position table, if there is one;
    `deepstack_layers` counts the decoder layers behind which visual features are added (DeepStack, arXiv 2406.04334).
    """

    placeholder_id: int
    patch_size: int
    merge_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    transparency: Literal["white", "drop"]
    stages: tuple[ResizeStage, ...]
    max_images: int | None
    rotary_dim: int
    rotary_theta: float
    position_grid: int | None
    deepstack_layers: int


@dataclass(frozen=True)
class TokenTable:
    """The token embeddings beside the graphs: rows times dim numbers, little-endian, no header.

    ``bfloat16`` is stored as its 16 bits. ``int8`` has a file of scales, one float32 a row: a number is its code
    times the row's scale.
    """

    path: str
    dtype: Literal["float32", "float16", "bfloat16", "int8"]
    rows: int
    dim: int
    scales: str | None


@dataclass(frozen=True)
class Adapter:
    """What projects the token states: its kind and the SHA-256 of the file it came from."""

    kind: Literal["linear", "mlp"]
    sha256: str


@dataclass(frozen=True)
class LateMask:
    """Ids whose token states do not take part in late interaction, per side.

    `visual` holds the placeholders of images and video: a text-only query mask drops them too.
    """

    query: tuple[int, ...]
    document: tuple[int, ...]
    visual: tuple[int, ...]


@dataclass(frozen=True)
class Scoring:
    """Default fusion: ``pooled_weight * cos(pooled) + late_weight * mean_i max_j cos(q_i, d_j)``."""

    pooled_weight: float
    late_weight: float
    late: Literal["mean"]


@dataclass(frozen=True)
class Manifest:
    """Everything the runtime knows about a bundle. See docs/format.md for each key."""

    format_version: int
    name: str
    family: Literal["text-encoder", "qwen3-vl", "qwen2-vl"]
    modalities: tuple[Literal["text", "image"], ...]
    source: Source
    exporter: dict[str, str]
    opset: int
    dialect: Dialect
    precision: Precision
    graphs: dict[str, GraphEntry]
    files: dict[str, FileEntry]
    tokenizer: TokenizerEntry
    token_table: TokenTable | None
    prompts: Prompts | None
    chat: Chat | None
    images: Images | None
    pooling: Literal["mean", "cls", "last"]
    pooled_token_id: int | None
    normalized: bool
    dims: Dims
    token_layers: tuple[int, ...]
    adapter: Adapter | None
    late_mask: LateMask
    scoring: Scoring
    verified: Verified

    def problems(self) -> Iterator[str]:
        """What the types allow and no bundle can have, as ``key: reason``. See `manifest_check`."""
        from .manifest_check import problems

        return problems(self)

    def identity(self) -> str:
        """SHA-256 over all that decides the vectors: equal identities give comparable vectors.

        Left out is what does not: the name, who exported it and with what, and the check's figures.
        """
        decides: dict[str, Any] = dataclasses.asdict(self)
        for key in ("name", "source", "exporter", "verified", "scoring"):
            del decides[key]
        del decides["precision"]["calibration"]  # a name; its SHA-256 counts
        canonical = json.dumps(decides, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(canonical.encode()).hexdigest()
