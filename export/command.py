"""`smartrt export`: a checkpoint to a bundle."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from smartrt.cli.options import json_switch, option, positive, switch
from smartrt.cli.price import price_lines
from smartrt.cli.terminal import note, progress, say, say_json
from smartrt.errors import InputError, MissingDependencyError
from smartrt.manifest import Dialect
from smartrt.models.qwen_vl.presets import PRESETS
from smartrt.models.recipe import POOLINGS
from smartrt.price import Wide

from .defaults import OPSET, TOLERANCE
from .precision.scheme import PRECISIONS, Rounding
from .search import GOALS
from .wanted import AUTO, Wanted

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from smartrt.bundle import Bundle

OPTIONS = (
    "preset", "pooling", "normalize", "max_length", "min_pixels", "max_pixels",
    "query_instruction", "document_instruction", "query_prompt", "document_prompt",
)  # fmt: skip
"""Flags that replace what the checkpoint says; the family refuses those it does not have."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("source", nargs="?", help="checkpoint directory, hub id ORG/NAME, or minilm")
    option(parser, "--output", "-o", metavar="NAME.smartrt", help="bundle directory to make (default: NAME.smartrt)")
    option(parser, "--revision", help="branch, tag or commit of a hub id")
    option(parser, "--layer", help="token states from this layer, 1 the first (default: the last)", type=positive)
    option(parser, "--adapter", metavar="adapter.pt", help="SMART's trained projection of token states")
    option(parser, "--preset", help="which embedding model a Qwen-VL checkpoint is", choices=tuple(PRESETS))
    option(parser, "--pooling", help="instead of what the checkpoint's files say", choices=POOLINGS)
    option(parser, "--max-length", help="tokens per item, instead of the checkpoint's", type=positive)
    option(parser, "--min-pixels", help="smaller images are enlarged (Qwen-VL)", type=positive)
    option(parser, "--max-pixels", help="larger images are shrunk (Qwen-VL): fewer tokens, faster", type=positive)
    option(parser, "--query-instruction", help="default instruction of queries (Qwen-VL)")
    option(parser, "--document-instruction", help="default instruction of documents (Qwen-VL)")
    option(parser, "--query-prompt", help="text in front of queries, instead of the checkpoint's")
    option(parser, "--document-prompt", help="text in front of documents, instead of the checkpoint's")
    switch(parser, "--normalize", default=None, help="L2-normalise pooled vectors, instead of what the files say")
    option(
        parser, "--precision", help="of weights and products; auto searches the smallest that --max-loss allows",
        choices=(*PRECISIONS, AUTO), default="fp32",
    )  # fmt: skip
    option(parser, "--rounding", help="of integer weights, instead of the precision's own", choices=get_args(Rounding))
    option(parser, "--compute", help="of products that are not int8 (fp16 is for GPUs)", choices=get_args(Wide))
    option(parser, "--keep", nargs="+", metavar="MODULE", help="modules that stay wide, such as layers.0.mlp.down_proj")
    option(
        parser, "--calibrate", metavar="ITEMS", type=Path,
        help="JSON Lines or a folder that activations are measured on, instead of Python's docstrings",
    )  # fmt: skip
    option(parser, "--data", nargs="+", metavar="DIR", type=Path, help="retrieval sets to measure the bundle on")
    option(
        parser, "--max-loss", type=float,
        help="fail if the hybrid loses more nDCG@10 on a set of --data (or on known items of Python's library)",
    )  # fmt: skip
    option(
        parser,
        "--goal",
        help="what --precision auto makes small: the size, unless told otherwise",
        choices=tuple(GOALS),
    )
    option(
        parser, "--dialect", help="operators of the graphs: portable for every engine, fused for new ones",
        choices=get_args(Dialect), default="portable",
    )  # fmt: skip
    option(parser, "--opset", help="ONNX opset, 21 at most if portable", type=int, default=OPSET)
    option(parser, "--tolerance", help="largest difference from PyTorch accepted", type=float, default=TOLERANCE)
    switch(parser, "--list", help="list the architectures that can be exported, and stop")
    json_switch(parser)


def run(args: argparse.Namespace) -> int:
    """Export, verify, and say what was measured."""
    if not args.source and not args.list:
        raise InputError("no checkpoint was given: smartrt export SOURCE -o NAME.smartrt")
    pipeline = load_pipeline()
    if args.list:
        known = importlib.import_module("smartrt.export.onnx_config").supported_model_types()
        names = sorted([*known, *importlib.import_module("smartrt.models.qwen_vl.load").FAMILIES])
        say_json(names) if args.json else say("\n".join(names))
        return 0
    wanted = Wanted(
        precision=args.precision, rounding=args.rounding, compute=args.compute, calibrate=args.calibrate,
        data=tuple(args.data or ()), max_loss=args.max_loss, keep=tuple(args.keep or ()), goal=args.goal,
    )  # fmt: skip
    name = args.source.rstrip("/").rsplit("/", 1)[-1]
    bundle = pipeline.export(
        args.source,
        args.output or f"{name}.smartrt",
        wanted=wanted,
        revision=args.revision,
        opset=args.opset,
        dialect=args.dialect,
        tolerance=args.tolerance,
        layer=args.layer,
        adapter=args.adapter,
        report=note,
        bar=progress,
        **{name: getattr(args, name) for name in OPTIONS},
    )
    if args.json:
        say_json({"bundle": str(bundle.path), "identity": bundle.identity, "verified": bundle.manifest.verified})
        return 0
    for line in result_lines(bundle):
        say(line)
    return 0


def result_lines(bundle: Bundle) -> Iterator[str]:
    """What was measured, for people."""
    verified, precision = bundle.manifest.verified, bundle.manifest.precision
    if verified.tolerance is not None:
        yield (
            f"{bundle.path}: equal to PyTorch within {verified.max_abs:.1e} on {verified.items} items, alone and in "
            "batches"
        )
    else:
        size = sum(entry.bytes for entry in bundle.manifest.files.values())
        yield f"{bundle.path}: {precision.name}, {size / 1e6:,.1f} MB; against PyTorch on {verified.items} items:"
        yield from price_lines(verified)


def load_pipeline() -> Any:
    """Import the exporter with its heavy libraries.

    Raises:
        MissingDependencyError: One of them is not installed.
    """
    # PyTorch's idle threads spin; on a machine with other work they keep each other from it.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        pipeline = importlib.import_module("smartrt.export.pipeline")
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"exporting needs {error.name}, which is not installed: pip install 'smartrt[export]'"
        ) from error
    importlib.import_module("transformers").logging.set_verbosity_error()
    return pipeline
