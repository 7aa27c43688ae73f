"""`smartrt index recall`: how many candidates two-stage search needs on this index."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError
from ..fusion import Weights
from ..index import Index
from ..index.recall import TARGET, measure_recall, sampled_documents
from ..jsonl import read_records
from .options import encoder_options, json_switch, open_bundle, open_encoder, option, positive
from .search import late_device_option
from .terminal import progress, say, say_json, table

if TYPE_CHECKING:
    import argparse

    from ..index.recall import Recall
    from ..types import Embeddings

_SAMPLE = 100


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("index", help="index directory")
    option(parser, "--queries", metavar="FILE", help="your queries, one {id, text} a line; they need --bundle")
    option(parser, "--bundle", metavar="DIR", help="the bundle that filled the index")
    option(parser, "--sample", help="without queries: documents that stand in for them", type=positive, default=_SAMPLE)
    option(parser, "-k", help="hits that are compared per query", type=positive, default=10)
    late_device_option(parser)
    encoder_options(parser)
    json_switch(parser)


def run(args: argparse.Namespace) -> int:
    """Measure and print."""
    if (args.queries is None) != (args.bundle is None):
        raise InputError("--queries and --bundle go together: queries are encoded by the bundle that filled the index")
    index = Index.open(args.index)
    own, weights = None, None
    if args.queries is None:
        queries, own = sampled_documents(index, args.sample)
    else:
        queries, weights = _encoded(args, index)
    threads = args.threads or None  # 0 is the engine's word for all
    with progress("ranking", len(queries)) as bar:
        recall = measure_recall(
            index,
            queries,
            k=args.k,
            weights=weights,
            threads=threads,
            device=args.late_device,
            leave_out=own,
            advance=bar.advance,
        )
    if args.json:
        say_json({"index": args.index, "sampled": own is not None, "recall": recall})
    else:
        _print(args, recall, sampled=own is not None)
    return 0


def _encoded(args: argparse.Namespace, index: Index) -> tuple[Embeddings, Weights]:
    records = list(read_records(Path(args.queries)))
    if not records:
        raise InputError(f"{args.queries} holds no line")
    for record in records:
        if not record.text.strip():
            raise InputError(f"{args.queries}: query {record.id!r} has an empty text; give it one, or remove it")
    bundle = open_bundle(args)
    index.check_bundle(bundle)
    with open_encoder(args, bundle) as encoder:
        scoring = bundle.manifest.scoring
        weights = Weights(scoring.pooled_weight, scoring.late_weight)
        return index.in_store(encoder.encode_query([record.text for record in records])), weights


def _print(args: argparse.Namespace, recall: Recall, *, sampled: bool) -> None:
    asked = f"{recall.queries:,} sampled documents as queries" if sampled else f"{recall.queries:,} queries"
    say(f"{args.index}: {recall.documents:,} documents, {asked}, true top {recall.k} by both scores")
    rows = [("candidates", "of the hits", "of the queries with all hits")]
    rows += [(f"{level:,}", f"{recall.found[level]:.1%}", f"{recall.whole[level]:.1%}") for level in recall.found]
    for line in table(rows, right=frozenset({0, 1, 2})):
        say(f"  {line}")
    enough = f"among the {recall.enough:,} best by the pooled vector: --candidates {recall.enough}"
    say(f"{TARGET:.0%} of the hits are {enough}")
    if sampled:
        say("Documents are easier to find than their answers: give your own with --queries FILE --bundle BUNDLE.")
