"""What systems are called: ``LABEL SYSTEM``, and ``LABEL hybrid, STORAGE`` as an index keeps the vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smartrt.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Sequence

BM25 = "bm25"
HYBRID = "hybrid"


def system_name(label: str, system: str, stored: str | None = None) -> str:
    """``fp32 pooled``, or with a storage ``fp32 hybrid, int8, pool 2``.

    Args:
        label: Of the encoder: a bundle's name, or `pytorch_label`.
        system: ``pooled``, ``late`` or ``hybrid``.
        stored: A name in `stored.VARIANTS`, None for the vectors as they were encoded.
    """
    return f"{label} {system}" if stored is None else f"{label} {system}, {stored}"


def pytorch_label(kind: str) -> str:
    """The label of PyTorch as it runs under a name in `pytorch.KINDS`."""
    return f"PyTorch {kind}"


def check_labels(labels: Sequence[str]) -> None:
    """Refuse two encoders of one name: their figures could not be told apart.

    Raises:
        OptionError: A label comes twice.
    """
    twice = sorted({label for label in labels if labels.count(label) > 1})
    if twice:
        raise OptionError(
            f"two encoders are called {twice[0]!r}: give each bundle once; of two different ones, change the name in "
            "the manifest.json of one, which decides no vector"
        )
