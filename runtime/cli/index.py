"""`smartrt index`: build an index from a corpus, describe it, change it, check it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import CorruptIndexError
from ..index import Index
from . import build, recall
from .options import Parser, json_switch
from .terminal import note, say, say_json

if TYPE_CHECKING:
    import argparse
    from typing import Any


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True, parser_class=Parser)
    build.configure(actions.add_parser("build", help="encode a corpus into an index"))
    for name, summary in (
        ("info", "describe an index"),
        ("check", "compare every byte with its hash"),
        ("delete", "delete documents by id"),
        ("compact", "give back the space of deleted documents and join small segments"),
    ):
        action = actions.add_parser(name, help=summary)
        action.add_argument("index", help="index directory")
        if name == "delete":
            action.add_argument("ids", nargs="+", metavar="ID", help="ids of documents")
        json_switch(action)
    recall.configure(actions.add_parser("recall", help="how many candidates two-stage search needs"))


def run(args: argparse.Namespace) -> int:
    """Dispatch to the action."""
    if args.action == "build":
        return _describe(args, build.run(args))
    if args.action == "recall":
        return recall.run(args)
    if args.action == "check":
        return _check(args)
    index = Index.open(args.index)
    if args.action == "delete":
        index.delete(args.ids)
    elif args.action == "compact":
        index.compact()
    return _describe(args, index)


def _describe(args: argparse.Namespace, index: Index) -> int:
    about = _about(index)
    if args.json:
        say_json(about)
        return 0
    manifest, documents = index.manifest, about["documents"]
    say(f"{index.path}: {documents:,} documents, {about['tokens']:,} token vectors of {manifest.stored_dim} dims")
    size = f"{about['bytes']:,} bytes in {about['segments']} segments, {about['bytes_per_document']:,} per document"
    say(f"{', '.join(_kept(index))}: {size}")
    if about["deleted"]:
        say(f"{about['deleted']:,} deleted documents still take space: smartrt index compact {index.path}")
    say(f"bundle {manifest.bundle.name} ({manifest.bundle.identity[:12]}); truncated documents: {index.truncated:,}")
    return 0


def _about(index: Index) -> dict[str, Any]:
    documents, manifest = len(index), index.manifest
    files = [file for segment in manifest.segments for file in segment.files.values()]
    files += [segment.deleted.file for segment in manifest.segments if segment.deleted]
    size = sum(file.bytes for file in files) + (manifest.projection.bytes if manifest.projection else 0)
    errors = [float(segment.documents.tokens.errors.max()) for segment in index.segments]
    return {
        "index": str(index.path),
        "format_version": manifest.format_version,
        "bundle": manifest.bundle,
        "documents": documents,
        "deleted": sum(segment.entry.documents for segment in index.segments) - documents,
        "tokens": index.tokens,
        "truncated": index.truncated,
        "options": manifest.options,
        "dims": {"pooled": manifest.pooled_dim, "token": manifest.token_dim, "stored": manifest.stored_dim},
        "segments": len(manifest.segments),
        "bytes": size,
        "bytes_per_document": size // max(documents, 1),
        "largest_error": max(errors, default=0.0),
    }


def _kept(index: Index) -> list[str]:
    """How token vectors are kept, in words."""
    options, kept = index.manifest.options, [str(index.manifest.options.storage)]
    if options.pooling > 1:
        kept.append(f"tokens pooled by {options.pooling}")
    if options.projection:
        kept.append(f"{index.manifest.token_dim} dims to {options.dim} by {options.projection}")
    return kept


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
