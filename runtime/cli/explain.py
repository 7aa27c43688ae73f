"""`smartrt explain`: which tokens of a document answer which tokens of a query."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..documents import exact_terms
from ..errors import InputError
from .options import encoder_options, json_switch, open_encoder, option
from .terminal import say, say_json, table

if TYPE_CHECKING:
    import argparse

    from ..items import Item


@dataclass(frozen=True)
class Match:
    """A query token, the document token it matched best, and their cosine."""

    query_token: str
    document_token: str
    position: int
    cosine: float


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("bundle", help="bundle directory")
    parser.add_argument("query", help="the query")
    parser.add_argument("document", nargs="?", help="the document's text")
    option(parser, "--image", metavar="FILE", help="the document is this image")
    encoder_options(parser)
    json_switch(parser)


def run(args: argparse.Namespace) -> int:
    """Print the best match of each query token."""
    if (args.document is None) == (args.image is None):
        raise InputError("give the document's text or --image FILE, one of the two")
    document: Item = {"image": args.image} if args.document is None else args.document
    with open_encoder(args) as encoder:
        queries, documents = encoder.encode_query(args.query), encoder.encode_document(document)
        products = queries.tokens[0] @ documents.tokens[0].T
        names = encoder.describe(args.query, "query"), encoder.describe(document, "document")
        matches = [
            Match(piece, names[1][best], int(best), float(products[i, best]))
            for i, (piece, best) in enumerate(zip(names[0], products.argmax(axis=1), strict=True))
        ]
        pooled, late = exact_terms(queries, 0, documents, 0)
    if args.json:
        say_json({"pooled": pooled, "late": late, "matches": matches})
        return 0
    rows = [("query", "document", "at", "cosine")]
    rows += [(m.query_token, m.document_token, str(m.position), f"{m.cosine:.4f}") for m in matches]
    for line in table(rows, right=frozenset({2, 3})):
        say(line)
    say(f"pooled {pooled:.4f} + late {late:.4f} (the mean of the cosines above) = {pooled + late:.4f}")
    return 0
