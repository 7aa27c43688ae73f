"""`smartrt explain`: which tokens of a document answer which tokens of a query."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..search import exact_terms
from .options import encoder_options, json_switch, open_encoder
from .terminal import say, say_json, table

if TYPE_CHECKING:
    import argparse

    from ..encoder import Encoder
    from ..manifest import Side


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
    parser.add_argument("document", help="the document's text")
    encoder_options(parser)
    json_switch(parser)


def run(args: argparse.Namespace) -> int:
    """Print the best match of each query token."""
    with open_encoder(args) as encoder:
        queries, documents = encoder.encode_query(args.query), encoder.encode_document(args.document)
        products = queries.tokens[0] @ documents.tokens[0].T
        names = _kept_pieces(encoder, args.query, "query"), _kept_pieces(encoder, args.document, "document")
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


def _kept_pieces(encoder: Encoder, text: str, side: Side) -> list[str]:
    (tokenized,) = encoder.tokenizer([text], side)
    return encoder.tokenizer.pieces(tokenized.ids[tokenized.keep]) or ["(pooled)"]
