"""`smartrt export`: a checkpoint to a bundle."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from smartrt.cli.options import json_switch, option, positive, switch
from smartrt.cli.terminal import note, say, say_json
from smartrt.errors import InputError, MissingDependencyError
from smartrt.models.qwen_vl.presets import PRESETS
from smartrt.models.recipe import POOLINGS

from .defaults import OPSET, TOLERANCE

if TYPE_CHECKING:
    import argparse

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
    option(parser, "--opset", help="ONNX opset", type=int, default=OPSET)
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
    name = args.source.rstrip("/").rsplit("/", 1)[-1]
    bundle = pipeline.export(
        args.source,
        args.output or f"{name}.smartrt",
        revision=args.revision,
        opset=args.opset,
        tolerance=args.tolerance,
        layer=args.layer,
        adapter=args.adapter,
        report=note,
        **{name: getattr(args, name) for name in OPTIONS},
    )
    if args.json:
        say_json({"bundle": str(bundle.path), "identity": bundle.identity, "verified": bundle.manifest.verified})
        return 0
    verified = bundle.manifest.verified
    say(
        f"{bundle.path}: equal to PyTorch within {verified.max_abs:.1e} on {verified.items} items, alone and in batches"
    )
    return 0


def load_pipeline() -> Any:
    """Import the exporter with its heavy libraries.

    Raises:
        MissingDependencyError: One of them is not installed.
    """
    try:
        pipeline = importlib.import_module("smartrt.export.pipeline")
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"exporting needs {error.name}, which is not installed: pip install 'smartrt[export]'"
        ) from error
    importlib.import_module("transformers").logging.set_verbosity_error()
    return pipeline
