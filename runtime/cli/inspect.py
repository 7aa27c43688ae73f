"""`smartrt inspect`: what a bundle is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..bundle import Bundle
from .options import json_switch
from .price import precision_rows, price_lines
from .terminal import say, say_json, table

if TYPE_CHECKING:
    import argparse

    from ..manifest import Manifest


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("bundle", help="bundle directory")
    json_switch(parser)


def run(args: argparse.Namespace) -> int:
    """Open the bundle, compare every hash, print what the manifest says."""
    bundle = Bundle.open(args.bundle)
    if args.json:
        say_json({"identity": bundle.identity, "manifest": bundle.manifest})
        return 0
    for line in table(_rows(bundle.identity, bundle.manifest)):
        say(line)
    return 0


def _rows(identity: str, manifest: Manifest) -> list[tuple[str, str]]:
    source, tokenizer, checked = manifest.source, manifest.tokenizer, manifest.verified
    size = sum(entry.bytes for entry in manifest.files.values())
    revision = f" ({source.revision})" if source.revision else ""
    graphs = ", ".join(sorted(manifest.graphs))
    architecture = source.architecture + (f" as {source.preset}" if source.preset else "")
    normalised = "normalised" if manifest.normalized else "not normalised"
    limit = "" if checked.tolerance is None else f" (limit {checked.tolerance:.0e})"
    differences = f"{checked.items} items: max difference {checked.max_abs:.1e}{limit}"
    return [
        ("bundle", f"{manifest.name}, format {manifest.format_version}, identity {identity[:12]}"),
        ("source", f"{source.checkpoint}{revision}, {architecture}, weights {source.weights_sha256[:12]}"),
        ("exported by", ", ".join(f"{name} {version}" for name, version in sorted(manifest.exporter.items()))),
        (
            "graphs",
            f"{graphs}: {manifest.dialect}, opset {manifest.opset}, {len(manifest.files)} files, {size:,} bytes",
        ),
        *precision_rows(manifest),
        ("pooled", f"{manifest.dims.pooled} dims, {manifest.pooling}, {normalised}"),
        ("tokens", f"{manifest.dims.token} dims, {_token_source(manifest)}, normalised"),
        ("text", f"up to {tokenizer.max_length} tokens of {tokenizer.vocab_size:,}, padded {tokenizer.padding_side}"),
        *_prompts(manifest),
        ("late mask", f"drops ids {list(manifest.late_mask.query)} / {list(manifest.late_mask.document)}"),
        ("score", f"{manifest.scoring.pooled_weight:g} pooled + {manifest.scoring.late_weight:g} late (mean)"),
        ("verified", f"against {checked.against}"),
        ("", differences),
        *(("", line) for line in price_lines(checked)),
    ]


def _token_source(manifest: Manifest) -> str:
    layers = ", ".join(map(str, manifest.token_layers))
    adapter = f" through a {manifest.adapter.kind} adapter" if manifest.adapter else ""
    return f"layer{'s' if len(manifest.token_layers) > 1 else ''} {layers}{adapter}"


def _prompts(manifest: Manifest) -> list[tuple[str, str]]:
    if manifest.prompts:
        return [("prompts", f"query {manifest.prompts.query!r}, document {manifest.prompts.document!r}")]
    rows = []
    if manifest.chat:
        kinds = {"query": manifest.chat.query, "document": manifest.chat.document}
        rows = [("instruction", ", ".join(f"{side} {about.instruction!r}" for side, about in kinds.items()))]
    if manifest.images:
        last = manifest.images.stages[-1]
        rows.append(
            ("images", f"{last.min_pixels:,} to {last.max_pixels:,} pixels, a token per {_token_side(manifest)}")
        )
    return rows


def _token_side(manifest: Manifest) -> str:
    images = manifest.images
    side = images.patch_size * images.merge_size if images else 0
    return f"{side} x {side}"
