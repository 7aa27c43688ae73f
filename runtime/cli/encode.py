"""`smartrt encode`: texts and images to a file of vectors."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..corpus import Corpus, ImageFile
from ..encoder import WINDOW
from ..errors import InputError
from ..files import replace_file
from ..index.build import IMAGE_WEIGHT, read_source
from ..jsonl import Record
from ..types import Embeddings
from .options import encoder_options, json_switch, open_bundle, open_encoder, option, switch
from .terminal import progress, say, say_json

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from ..corpus import Source


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("bundle", help="bundle directory")
    parser.add_argument("text", nargs="*", help="texts to encode; or use --input")
    option(parser, "--image", metavar="FILE", nargs="+", help="images to encode")
    option(parser, "--input", metavar="FILE", help="JSON Lines with id and text (or image)")
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
    bundle = open_bundle(args)
    sources = _sources(args, bundle.manifest.modalities)
    with open_encoder(args, bundle) as encoder, progress("encoding", len(sources)) as bar:
        parts = []
        items = (read_source(source, encoder, args.side, allow_empty=args.allow_empty) for source in sources)
        # A page that is waiting holds its pixels, a text next to nothing.
        window = WINDOW if all(isinstance(source, Record) for source in sources) else WINDOW // IMAGE_WEIGHT
        for part in encoder.embed(items, side=args.side, window=window, allow_empty=args.allow_empty):
            parts.append(part)
            bar.advance(len(part))
    embeddings = Embeddings.concatenate(parts)
    buffer = io.BytesIO()
    np.savez(
        buffer,
        ids=np.array([source.id for source in sources]),
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


def _sources(args: argparse.Namespace, modalities: Sequence[str]) -> list[Source]:
    if bool(args.text or args.image) == bool(args.input):
        raise InputError("give texts or --image on the command line, or --input FILE, one of the two")
    if args.input:
        corpus = Corpus.open(Path(args.input), modalities, allow_empty=args.allow_empty)
        for _, error in corpus.bad:
            raise error
        return list(corpus)
    empty = next((i for i, text in enumerate(args.text) if not text.strip()), None)
    if empty is not None and not args.allow_empty:
        raise InputError(f"{args.side} {empty} is empty: give it a text, or pass --allow-empty")
    texts: list[Source] = [Record(str(i), text, {}) for i, text in enumerate(args.text)]
    return texts + [ImageFile(name, Path(name)) for name in args.image or []]
