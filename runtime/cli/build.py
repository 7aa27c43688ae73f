"""`smartrt index build`: encode a corpus into an index."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from ..compression.projection import Method
from ..corpus import Corpus
from ..errors import InputError, OptionError, SmartrtError, TruncationWarning
from ..index import Index, IndexOptions
from ..index.build import fill
from ..scoring.storage import DTYPES
from .options import encoder_options, json_switch, open_bundle, open_encoder, option, positive, switch
from .terminal import note, progress

if TYPE_CHECKING:
    import argparse

    from ..encoder import Encoder


def configure(build: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    build.add_argument("bundle", help="bundle directory")
    build.add_argument(
        "corpus", help="JSON Lines (id, text or image, and anything else to come back with a hit), or a folder of files"
    )
    option(build, "--output", "-o", metavar="DIR", required=True, help="index directory to make")
    switch(build, "--resume", help="add to an existing index what it does not hold yet")
    switch(build, "--replace", help="add to an existing index, encoding again what it holds already")
    switch(build, "--skip-bad", help="leave out documents that cannot be used, and say which, instead of stopping")
    switch(build, "--allow-empty", help="index empty texts instead of refusing them")
    option(
        build, "--commit-mb", type=positive, default=64, metavar="MB",
        help="commit whenever this many megabytes of vectors are ready: what a crash can lose",
    )  # fmt: skip
    option(build, "--storage", help="how token vectors are kept (default: int16)", choices=tuple(DTYPES))
    option(build, "--pool", metavar="N", help="keep one vector for about N tokens (Ward's method)", type=positive)
    option(build, "--projection", help="keep fewer dimensions", choices=get_args(Method))
    option(build, "--dim", help="how many a projection keeps", type=positive)
    encoder_options(build)
    json_switch(build)


def run(args: argparse.Namespace) -> Index:
    """Build, and return the index."""
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
        made = not output.exists()
        index = _opened(args, output, encoder)
        before = len(index)
        with progress("indexing", corpus.count) as bar, warnings.catch_warnings():
            warnings.simplefilter("ignore", TruncationWarning)  # one a window; the summary counts them all

            def skip(_: str, error: InputError) -> None:
                bar.clear()
                skipped.append(_left_out(error))

            try:
                fill(
                    index, encoder, corpus, commit_bytes=args.commit_mb << 20, allow_empty=args.allow_empty,
                    skip_bad=skip if args.skip_bad else None,
                    replace=args.replace, advance=bar.advance,
                )  # fmt: skip
            except (KeyboardInterrupt, SmartrtError) as error:
                if made and isinstance(error, OptionError) and not len(Index.open(output)):
                    shutil.rmtree(output)  # nothing is in it, and nothing can be with these options
                    raise
                raise _stopped(args, error, index, before, corpus.count) from None
    if skipped:
        note(f"smartrt: documents left out: {len(skipped):,}")
    return index


def _left_out(error: InputError) -> str:
    reason = " ".join(str(error).split())
    note(f"smartrt: left out: {reason}")
    return reason


def _stopped(args: argparse.Namespace, error: BaseException, index: Index, before: int, total: int) -> SmartrtError:
    """What to tell, the index as it is on the disk: it knows, whatever the interruption hit."""
    committed = len(Index.open(index.path))
    reason = "interrupted" if isinstance(error, KeyboardInterrupt) else str(error)
    counted = f"{committed:,}" if before or args.replace else f"{committed:,} of {total:,}"
    again = "again" if args.replace else "with --resume to add the rest"
    bad = isinstance(error, InputError) and not args.skip_bad
    advice = ", and --skip-bad to leave out what cannot be used" if bad else ""
    kind = type(error) if isinstance(error, SmartrtError) else SmartrtError
    return kind(f"{reason}; {counted} documents are committed in {index.path}: run the same command {again}{advice}")


def _opened(args: argparse.Namespace, output: Path, encoder: Encoder) -> Index:
    given = {"storage": args.storage, "pooling": args.pool, "projection": args.projection, "dim": args.dim}
    options = {name: value for name, value in given.items() if value is not None}
    if not (output.exists() and (args.resume or args.replace)):
        return Index.create(output, encoder, IndexOptions(**options))
    index = Index.open(output, encoder)
    for name, value in options.items():
        kept = getattr(index.manifest.options, name)
        if value != kept:
            raise OptionError(f"{output} was made with {name} {kept}, it cannot go on with {value}: build a new index")
    return index
