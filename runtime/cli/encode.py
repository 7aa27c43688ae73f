"""`smartrt encode`: texts to a file of vectors."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from ..files import replace_file
from ..jsonl import Record, check_records, read_records
from ..types import Embeddings
from .options import encoder_options, json_switch, open_encoder, option, switch
from .terminal import progress, say, say_json

if TYPE_CHECKING:
    import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("bundle", help="bundle directory")
    parser.add_argument("text", nargs="*", help="texts to encode; or use --input")
    option(parser, "--input", metavar="FILE", help="JSON Lines with id and text")
    option(parser, "--side", help="query or document", default="document", choices=("query", "document"))
    option(
        parser, "--output", "-o", metavar="FILE.npz", required=True,
        help="NumPy archive with ids, pooled, tokens, offsets and truncated",
    )  # fmt: skip
    switch(parser, "--allow-empty", help="encode empty texts instead of refusing them")
    encoder_options(parser)
    json_switch(parser)


def run(args: argparse.Namespace) -> int:
    """Encode, and write the archive in one step."""
    records = _records(args)
    with open_encoder(args) as encoder, progress("encoding", len(records)) as bar:
        parts = []
        texts = [record.text for record in records]
        for part in encoder.embed(texts, side=args.side, allow_empty=args.allow_empty):
            parts.append(part)
            bar.advance(len(part))
    embeddings = Embeddings.concatenate(parts)
    buffer = io.BytesIO()
    np.savez(
        buffer,
        ids=np.array([record.id for record in records]),
        pooled=embeddings.pooled,
        tokens=embeddings.tokens.values,
        offsets=embeddings.tokens.offsets,
        truncated=embeddings.truncated,
    )
    replace_file(Path(args.output), buffer.getvalue())
    summary = {
        "output": args.output,
        "items": len(embeddings),
        "tokens": len(embeddings.tokens.values),
        "truncated": int((embeddings.truncated > 0).sum()),
    }
    if args.json:
        say_json(summary)
    else:
        say("{output}: {items:,} items, {tokens:,} token vectors, {truncated:,} texts truncated".format(**summary))
    return 0


def _records(args: argparse.Namespace) -> list[Record]:
    if bool(args.text) == bool(args.input):
        raise InputError("give texts on the command line or --input FILE, one of the two")
    if args.text:
        empty = next((i for i, text in enumerate(args.text) if not text.strip()), None)
        if empty is not None and not args.allow_empty:
            raise InputError(f"{args.side} {empty} is empty: give it a text, or pass --allow-empty")
        return [Record(str(i), text, {}) for i, text in enumerate(args.text)]
    check_records(Path(args.input), allow_empty=args.allow_empty)
    return list(read_records(Path(args.input)))
