"""`smartrt search`: ask an index."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Literal, get_args

from ..errors import InputError
from ..fusion import Method
from ..index import Index
from ..manifest import QueryMask
from ..scoring.device import check_late_device
from .options import encoder_options, json_switch, open_encoder, option, positive
from .terminal import flush, note, say, say_json

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from ..encoder import Encoder
    from ..index import Hit
    from ..items import Item

_HITS = 10
_SNIPPET = 100


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("bundle", help="bundle directory, the one that filled the index")
    parser.add_argument("index", help="index directory")
    parser.add_argument("query", nargs="*", help="queries; without any, one per line of standard input")
    option(parser, "--image", metavar="FILE", help="ask with this image, or with each query and this image")
    option(parser, "--instruction", help="the instruction of the queries, instead of the bundle's")
    option(
        parser, "--query-mask", default="bundle", choices=get_args(QueryMask),
        help="text-only keeps the tokens of the query's image out of late interaction",
    )  # fmt: skip
    option(parser, "-k", help=f"hits per query (default: {_HITS})", type=positive)
    option(parser, "--pooled", help="weight of the single-vector score (default: the bundle's)", type=float)
    option(
        parser, "--candidates", type=candidates, default=100,
        help="documents, best by the pooled vector, that late interaction ranks, or all",
    )  # fmt: skip
    option(parser, "--fusion", help="how scores are fused", choices=get_args(Method), default="sum")
    option(parser, "--late", help="weight of the late-interaction score (default: the bundle's)", type=float)
    late_device_option(parser)
    encoder_options(parser)
    json_switch(parser)


def late_device_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--late-device``."""
    option(
        parser, "--late-device", type=_late_device, default="cpu",
        help="where late interaction is computed: cpu, cuda, cuda:N, or auto, the GPU where it is faster",
    )  # fmt: skip


def _late_device(text: str) -> str:
    return check_late_device(text)


_late_device.__name__ = "cpu, cuda, cuda:N or auto"  # argparse names the type in its message


def run(args: argparse.Namespace) -> int:
    """Answer the queries given, or those typed."""
    with open_encoder(args) as encoder:
        index = Index.open(args.index, encoder)
        if not len(index):
            note(f"smartrt: {args.index} holds no document; add some with smartrt index build --resume")
        if args.query or args.image:
            queries = args.query or [""]
            answers = _answer(index, encoder, queries, args)
            if args.json:
                pairs = zip(queries, answers, strict=True)
                say_json([{"query": text or args.image, "hits": hits} for text, hits in pairs])
            else:
                for text, hits in zip(queries, answers, strict=True):
                    _print(text or args.image, hits)
            return 0
        for text in _typed():
            started = time.perf_counter()
            (hits,) = _answer(index, encoder, [text], args)
            if args.json:
                say_json({"query": text, "hits": hits}, indent=None)
            else:
                _print(text, hits)
            flush()  # whoever asks one by one waits for each answer
            if sys.stdin.isatty():
                note(f"{(time.perf_counter() - started) * 1000:.0f} ms")
    return 0


def _answer(index: Index, encoder: Encoder, queries: list[str], args: argparse.Namespace) -> list[list[Hit]]:
    for position, text in enumerate(queries):
        if not text.strip() and not args.image:
            raise InputError(f"query {position} is empty: give it a text")
    scoring = encoder.bundle.manifest.scoring
    return index.search(
        encoder.encode_query([_item(text, args) for text in queries], query_mask=args.query_mask),
        k=args.k or _HITS,
        pooled=scoring.pooled_weight if args.pooled is None else args.pooled,
        late=scoring.late_weight if args.late is None else args.late,
        candidates=args.candidates,
        fusion=args.fusion,
        threads=args.threads or None,  # 0 is the engine's word for all
        device=args.late_device,
    )


def candidates(text: str) -> int | Literal["all"]:
    """A whole number from 1 up, or ``all``."""
    return "all" if text == "all" else positive(text)


candidates.__name__ = "whole number from 1 up, or all"  # argparse names the type in its message


def _item(text: str, args: argparse.Namespace) -> Item:
    """A query with what the flags add to it."""
    extra = {"image": args.image, "instruction": args.instruction}
    given = {key: value for key, value in extra.items() if value is not None}
    if not given:
        return text
    return given | ({"text": text} if text.strip() else {})


def _typed() -> Iterator[str]:
    """Non-empty lines of standard input, with a prompt where somebody types."""
    while True:
        if sys.stdin.isatty():
            sys.stderr.write("query> ")
            sys.stderr.flush()
        try:
            line = sys.stdin.readline()
        except UnicodeDecodeError as error:
            raise InputError(f"standard input is not UTF-8: {error.reason}") from None
        if not line:
            return
        if line.strip():
            yield line.strip()


def _print(query: str, hits: list[Hit]) -> None:
    say(query)
    for place, hit in enumerate(hits, start=1):
        text = str(hit.meta.get("text") or "") if isinstance(hit.meta, dict) else ""
        snippet = " ".join(text.split())[:_SNIPPET]
        name = " ".join(hit.id.split())  # a file's name may hold a line break
        say(f"{place:>3}  {hit.score:.4f} = {hit.pooled:.4f} pooled, {hit.late:.4f} late  {name}  {snippet}")
