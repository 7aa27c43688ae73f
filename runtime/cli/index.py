"""`smartrt index`: build an index from a corpus, describe it, check it."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from ..corpus import Corpus
from ..errors import CorruptIndexError, InputError, SmartrtError, TruncationWarning
from ..index import Index
from ..index.build import fill
from .options import Parser, encoder_options, json_switch, open_bundle, open_encoder, option, positive, switch
from .terminal import note, progress, say, say_json

if TYPE_CHECKING:
    import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True, parser_class=Parser)
    build = actions.add_parser("build", help="encode a corpus into an index")
    build.add_argument("bundle", help="bundle directory")
    build.add_argument(
        "corpus", help="JSON Lines (id, text or image, and anything else to come back with a hit), or a folder of files"
    )
    option(build, "--output", "-o", metavar="DIR", required=True, help="index directory to make")
    switch(build, "--resume", help="add to an existing index what it does not hold yet")
    switch(build, "--skip-bad", help="leave out documents that cannot be used, and say which, instead of stopping")
    switch(build, "--allow-empty", help="index empty texts instead of refusing them")
    option(
        build, "--commit-mb", type=positive, default=64, metavar="MB",
        help="commit whenever this many megabytes of vectors are ready: what a crash can lose",
    )  # fmt: skip
    encoder_options(build)
    json_switch(build)
    for name, summary in (("info", "describe an index"), ("check", "compare every byte with its hash")):
        action = actions.add_parser(name, help=summary)
        action.add_argument("index", help="index directory")
        json_switch(action)


def run(args: argparse.Namespace) -> int:
    """Dispatch to the action."""
    return {"build": _build, "info": _info, "check": _check}[args.action](args)


def _build(args: argparse.Namespace) -> int:
    output = Path(args.output)
    bundle = open_bundle(args)
    corpus = Corpus.open(Path(args.corpus), bundle.manifest.modalities, allow_empty=args.allow_empty)
    if corpus.bad and not args.skip_bad:
        raise InputError(f"{corpus.bad[0][1]}; or leave out what cannot be used with --skip-bad")
    if corpus.ignored:
        kinds = ", ".join(corpus.ignored_kinds[:8])
        note(f"smartrt: files of {args.corpus} of kinds that this bundle does not index: {corpus.ignored:,} ({kinds})")
    skipped = [_left_out(error) for _, error in corpus.bad]
    with open_encoder(args, bundle) as encoder:
        index = Index.open(output, encoder) if args.resume and output.exists() else Index.create(output, encoder)
        with progress("indexing", corpus.count) as bar, warnings.catch_warnings():
            warnings.simplefilter("ignore", TruncationWarning)  # one a window; the summary counts them all

            def skip(_: str, error: InputError) -> None:
                bar.clear()
                skipped.append(_left_out(error))

            try:
                fill(
                    index, encoder, corpus, commit_bytes=args.commit_mb << 20, allow_empty=args.allow_empty,
                    skip_bad=skip if args.skip_bad else None, advance=bar.advance,
                )  # fmt: skip
            except (KeyboardInterrupt, SmartrtError) as error:
                raise _stopped(error, index, corpus.count, skip_bad=args.skip_bad) from None
    if skipped:
        note(f"smartrt: documents left out: {len(skipped):,}")
    return _info(args, index)


def _left_out(error: InputError) -> str:
    reason = " ".join(str(error).split())
    note(f"smartrt: left out: {reason}")
    return reason


def _stopped(error: BaseException, index: Index, total: int, *, skip_bad: bool) -> SmartrtError:
    reason = "interrupted" if isinstance(error, KeyboardInterrupt) else str(error)
    committed = len(Index.open(index.path))  # the disk knows, whatever the interruption hit
    bad = isinstance(error, InputError) and not skip_bad
    advice = ", and --skip-bad to leave out what cannot be used" if bad else ""
    kind = type(error) if isinstance(error, SmartrtError) else SmartrtError
    return kind(
        f"{reason}; {committed:,} of {total:,} documents are committed in {index.path}: "
        f"run the same command with --resume to add the rest{advice}"
    )


def _info(args: argparse.Namespace, index: Index | None = None) -> int:
    if index is None:
        index = Index.open(args.index)
    documents, manifest = len(index), index.manifest
    size = sum(file.bytes for segment in manifest.segments for file in segment.files.values())
    result = {
        "index": str(index.path),
        "format_version": manifest.format_version,
        "bundle": manifest.bundle,
        "documents": documents,
        "tokens": index.tokens,
        "truncated": index.truncated,
        "storage": manifest.storage,
        "dims": {"pooled": manifest.pooled_dim, "token": manifest.token_dim},
        "segments": len(manifest.segments),
        "bytes": size,
    }
    if args.json:
        say_json(result)
        return 0
    per_document = size // max(documents, 1)
    say(f"{index.path}: {documents:,} documents, {index.tokens:,} token vectors of {manifest.token_dim} dims")
    say(f"{manifest.storage}, {size:,} bytes in {len(manifest.segments)} segments, {per_document:,} per document")
    say(f"bundle {manifest.bundle.name} ({manifest.bundle.identity[:12]}); truncated documents: {index.truncated:,}")
    return 0


def _check(args: argparse.Namespace) -> int:
    index = Index.open(args.index)
    try:
        index.check()
    except CorruptIndexError as error:
        if args.json:
            say_json({"index": args.index, "ok": False, "problem": str(error)})
        else:
            note(f"smartrt: {error}")
        return 1
    if args.json:
        say_json({"index": args.index, "ok": True, "problem": None})
    else:
        say(f"{args.index}: every byte of {len(index):,} documents is as it was written")
    return 0
