"""What a precision stores, computes and costs, in lines for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..manifest import Manifest
    from ..price import GraphProof, Verified

_MOST_NAMES = 4


def precision_rows(manifest: Manifest) -> Iterator[tuple[str, str]]:
    """Label and text: what was asked for, and what every graph really holds."""
    precision = manifest.precision
    rounding = f", rounding {precision.rounding}" if precision.rounding else ""
    activations = "" if precision.activations == "float" else f", {precision.activations} int8 activations"
    yield "precision", f"{precision.name}{activations}, products otherwise {precision.compute}{rounding}"
    for name, proof in precision.graphs.items():
        yield "", f"{name} stores {_bytes(proof)}; {_products(proof)}"
    if table := manifest.token_table:
        yield "", f"token table {table.dtype}, {sum(_table_bytes(manifest)) / 1e6:,.1f} MB"
    for name, kept in precision.kept.items():
        more = f" and {len(kept) - _MOST_NAMES} more" if len(kept) > _MOST_NAMES else ""
        yield "", f"{name} keeps wide {', '.join(kept[:_MOST_NAMES])}{more}"
    if precision.calibration:
        yield "", f"calibrated on {precision.calibration}"


def price_lines(verified: Verified) -> Iterator[str]:
    """The built-in check, then each retrieval set."""
    for label, found in (("pooled", verified.pooled), ("token", verified.token)):
        yield f"{label} cosine mean {found.mean:.5f}, 1st percentile {found.percentile_1:.5f}, min {found.min:.5f}"
    agreement = verified.agreement
    yield f"same best document {agreement.first:.0%}, document pairs in the same order {agreement.pairs:.1%}"
    for entry in verified.sets:
        for system, loss in entry.losses.items():
            yield (
                f"{entry.name} {system} nDCG@10 {loss.found:.4f} against {loss.reference:.4f}: "
                f"{loss.difference:+.4f} [{loss.low:+.4f}, {loss.high:+.4f}]"
            )


def _bytes(proof: GraphProof) -> str:
    return ", ".join(
        f"{kind} {size / 1e6:,.1f} MB" for kind, size in sorted(proof.bytes.items(), key=lambda pair: -pair[1])
        if size >= 1e4
    ) or "no weights"  # fmt: skip


def _products(proof: GraphProof) -> str:
    total = sum(proof.weights.values()) or 1
    stored = ", ".join(f"{count / total:.0%} {kind}" for kind, count in proof.weights.items())
    computed = ", ".join(f"{count / total:.0%} {kind}" for kind, count in proof.computed.items())
    return f"product weights {stored or 'none'}, multiplied as {computed or 'none'}"


def _table_bytes(manifest: Manifest) -> Iterator[int]:
    table = manifest.token_table
    for name in (table.path, table.scales) if table else ():
        if name:
            yield manifest.files[name].bytes
