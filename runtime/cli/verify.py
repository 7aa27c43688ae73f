"""`smartrt verify`: is this bundle still what was exported?"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..bundle import Bundle
from ..errors import OptionError, ParityError
from .options import encoder_options, json_switch, open_encoder, option
from .price import price_lines
from .terminal import note, progress, say, say_json

if TYPE_CHECKING:
    import argparse

    from ..encoder import Encoder
    from ..items import Item

_TEXTS = (
    "Late interaction compares token vectors pair by pair.",
    "x",
    "Zehn zahme Ziegen zogen zehn Zentner Zucker.",
)
_RAMP = np.indices((96, 160)).sum(axis=0).astype(np.uint8)
_TOLERANCE = 1e-5
_HALF_TOLERANCE = 5e-3
"""Of a batch against single items where products are float16: kernels for another batch add in another order. Emulated
aarch64 with float16 kernels differed from x86-64, which widens, by 1.1e-3 (`make test-aarch64`)."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("bundle", help="bundle directory")
    option(parser, "--against", metavar="SOURCE", help="the checkpoint it came from: compare with PyTorch")
    option(parser, "--revision", help="branch, tag or commit, if SOURCE is a hub id")
    option(parser, "--adapter", metavar="adapter.pt", help="the adapter it was exported with, if any")
    option(
        parser, "--data", nargs="+", metavar="DIR", type=Path,
        help="retrieval sets to measure bundle and checkpoint on (with --against)",
    )  # fmt: skip
    encoder_options(parser)
    json_switch(parser)


def run(args: argparse.Namespace) -> int:
    """Compare hashes, run the graph, and with ``--against`` run PyTorch beside it."""
    if args.data and not args.against:
        raise OptionError("--data measures what the bundle loses: say what against, with --against SOURCE")
    bundle = Bundle.open(args.bundle)  # this compares the hashes, whatever --check-hashes says
    with open_encoder(args, bundle) as encoder:
        difference, norm_error = _batch_against_single(encoder), _norm_error(encoder)
    allowed = _HALF_TOLERANCE if bundle.manifest.precision.compute == "fp16" else _TOLERANCE
    result: dict[str, Any] = {
        "bundle": str(args.bundle),
        "files": len(encoder.bundle.manifest.files),
        "batch_against_single": difference,
        "norm_error": norm_error,
        "limit": allowed,
        "ok": difference <= allowed and norm_error <= _TOLERANCE,
    }
    if args.against:
        pipeline = importlib.import_module("smartrt.export.command").load_pipeline()
        try:
            result["verified"] = pipeline.compare(
                encoder.bundle, args.against, args.revision, adapter=args.adapter, data=args.data or (), bar=progress
            )
        except ParityError as error:
            note(f"smartrt: {error}")
            result |= {"verified": None, "ok": False}
    if args.json:
        say_json(result)
    else:
        say(f"{result['files']} files have the hashes of the manifest")
        say(
            f"batch against single: {difference:.1e} (limit {allowed:.0e}), norms off by {norm_error:.1e} "
            f"(limit {_TOLERANCE:.0e})"
        )
        if result.get("verified"):
            verified = result["verified"]
            limit = "" if verified.tolerance is None else f" (limit {verified.tolerance:.0e})"
            say(f"against PyTorch: max difference {verified.max_abs:.1e}{limit}")
            for line in price_lines(verified):
                say(f"  {line}")
        say("ok" if result["ok"] else "NOT OK: this is not what was exported")
    return 0 if result["ok"] else 1


def _items(encoder: Encoder) -> list[Item]:
    """Texts, and a picture for a bundle that takes one."""
    images: list[Item] = [{"image": _RAMP, "text": "a ramp"}]
    return [*_TEXTS, *(images if "image" in encoder.bundle.manifest.modalities else [])]


def _batch_against_single(encoder: Encoder) -> float:
    items = _items(encoder)
    batch = encoder.encode_document(items)
    worst = 0.0
    for i, item in enumerate(items):
        single = encoder.encode_document(item)
        worst = max(
            worst,
            float(np.abs(single.pooled[0] - batch.pooled[i]).max()),
            float(np.abs(single.tokens[0] - batch.tokens[i]).max()),
        )
    return worst


def _norm_error(encoder: Encoder) -> float:
    result = encoder.encode_document(_items(encoder))
    vectors = [result.tokens.values] + ([result.pooled] if encoder.bundle.manifest.normalized else [])
    return max(float(np.abs(np.linalg.norm(rows, axis=1) - 1).max()) for rows in vectors)
