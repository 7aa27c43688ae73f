"""What several encoders find on several retrieval sets, with BM25 beside them: everything is refused first."""

from __future__ import annotations

import contextlib
import functools
import gc
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from smartrt.compression.ward import load_hierarchy
from smartrt.errors import InputError, OptionError, TruncationWarning
from smartrt.evaluation.quality import SYSTEMS, set_sha256

from ..machine import describe
from .findings import find, find_bm25
from .lexical import load_bm25
from .names import BM25, HYBRID, check_labels, system_name
from .per_query import check_writable, write_per_query
from .report import SetFindings, report
from .stored import choose_variants, pools, projects

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from smartrt.evaluation.dataset import RetrievalSet
    from smartrt.export.build import Bar

    from .contenders import Contender
    from .encoded import EncodedCache
    from .findings import EncoderFindings


@dataclass(frozen=True)
class AccuracyOptions:
    """What is measured.

    Attributes:
        baseline: The system that all others are compared with (`names`); None: ``pooled`` of the first encoder.
        stored: Variants of `stored.VARIANTS` to rank the hybrid by as well, or `stored.ALL`.
        per_query: File that gets a line for each query (`per_query`).
        stored_of: By the label of an encoder, its variants instead of `stored`.
    """

    baseline: str | None = None
    stored: tuple[str, ...] = ()
    per_query: Path | None = None
    stored_of: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


class _Silent:
    def advance(self, count: int) -> None:
        """Count, for nobody."""


@contextlib.contextmanager
def _silent(_label: str, _total: int) -> Iterator[_Silent]:
    yield _Silent()


def measure(
    contenders: Sequence[Contender],
    sets: Sequence[RetrievalSet],
    options: AccuracyOptions | None = None,
    *,
    cache: EncodedCache | None = None,
    bar: Bar = _silent,
) -> dict[str, Any]:
    """Rank every document of every set for every query with each system, and score the rankings.

    One encoder is loaded at a time, and holds the vectors of one set at a time. Ties keep the order of the documents;
    identical texts have identical vectors, so they tie. Long texts are cut, and the result counts them.

    Args:
        contenders: The encoders.
        sets: The sets; no two of one name or content.
        options: What is measured.
        cache: Of encoded texts; None: everything is encoded.
        bar: Shows progress, as `cli.terminal.progress` does.

    Returns:
        JSON-ready. ``machine`` (`machine.describe`), ``encoders``, ``cache`` (sides of sets that came from it and that
        did not; both 0 without one), ``baseline``, ``comparisons``, ``alpha``, ``statistics``, and ``results``: per set
        what it is, ``seconds`` (null where nothing was timed), ``document_tokens`` and ``truncated_documents`` by
        encoder (null for PyTorch, which does not count), ``left_out`` variants by encoder, and ``systems``: the mean of
        each metric, the ``difference`` of nDCG@10 from the baseline, its ``interval``, ``p``, ``p_holm``.

    Raises:
        InputError: There is no encoder or set, or a set is there twice.
        OptionError: Two encoders have one name, or a baseline or variant does not exist.
        MissingDependencyError: bm25s, or scipy for a variant that pools, is not installed.
        StorageError: The file for the queries cannot be written.
    """
    chosen = options or AccuracyOptions()
    hashes, stored, baseline = check(contenders, sets, chosen)
    machine, before = describe(), _counts(cache)
    lexical = [find_bm25(data) for data in sets]
    found: list[dict[str, EncoderFindings]] = [{} for _ in sets]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TruncationWarning)
        for contender in contenders:
            each = _find_all(contender, sets, stored[contender.label], cache, bar)
            for encoders, findings in zip(found, each, strict=True):
                encoders[contender.label] = findings
            if contender.kind == "pytorch":
                gc.collect()  # its modules refer to themselves: the next encoder shall not be loaded beside this one
    by_set = [
        SetFindings(data, sha256, encoders, *bm25)
        for data, sha256, encoders, bm25 in zip(sets, hashes, found, lexical, strict=True)
    ]
    if chosen.per_query:
        write_per_query(chosen.per_query, by_set)
    hits, misses = (after - count for after, count in zip(_counts(cache), before, strict=True))
    about = [
        {"label": each.label, "kind": each.kind, "identity": each.identity, "precision": each.precision}
        for each in contenders
    ]
    return {"machine": machine, "encoders": about, "cache": {"hits": hits, "misses": misses}} | report(by_set, baseline)


def check(
    contenders: Sequence[Contender], sets: Sequence[RetrievalSet], options: AccuracyOptions
) -> tuple[list[str], dict[str, tuple[str, ...]], str]:
    """Refuse what `measure` would refuse, which takes no time.

    Returns:
        The SHA-256 of each set, by encoder its stored variants, and the name of the baseline.

    Raises:
        SmartrtError: See `measure`.
    """
    hashes = _check_sets(sets)
    stored = _check(contenders, options)
    return hashes, stored, _check_baseline(contenders, options.baseline, stored)


def _find_all(
    contender: Contender, sets: Sequence[RetrievalSet], stored: Sequence[str], cache: EncodedCache | None, bar: Bar
) -> list[EncoderFindings]:
    """One encoder on every set, opened when the first text has to be encoded and closed in the end."""
    with contextlib.ExitStack() as stack:
        opened = functools.cache(lambda: stack.enter_context(contender.open()))
        return [find(contender, opened, data, stored, cache, bar) for data in sets]


def _counts(cache: EncodedCache | None) -> tuple[int, int]:
    return (cache.hits, cache.misses) if cache else (0, 0)


def _check(contenders: Sequence[Contender], options: AccuracyOptions) -> dict[str, tuple[str, ...]]:
    """Refuse what would fail later; returns the names of the stored variants by encoder."""
    if not contenders:
        raise InputError("there is no encoder to measure: give a bundle")
    check_labels([each.label for each in contenders])
    dims = [each.token_dim for each in contenders]
    stored = {
        each.label: choose_variants(options.stored_of.get(each.label, options.stored), dims) for each in contenders
    }
    if any(map(pools, stored.values())):
        load_hierarchy()
    load_bm25()
    if options.per_query:
        check_writable(options.per_query)
    return stored


def _check_baseline(contenders: Sequence[Contender], baseline: str | None, stored: Mapping[str, Sequence[str]]) -> str:
    """Refuse a baseline that will not be there; returns its name."""
    labels = [each.label for each in contenders]
    if baseline is None:
        return system_name(labels[0], SYSTEMS[0])
    # A projection may be none for some set, and a baseline has to be there on all.
    names = [system_name(label, system) for label in labels for system in SYSTEMS]
    names += [system_name(label, HYBRID, name) for label in labels for name in stored[label] if not projects(name)]
    if baseline not in (*names, BM25):
        known = ", ".join(map(repr, (*names, BM25)))
        raise OptionError(f"no system that is there on every set is called {baseline!r}; there are: {known}")
    return baseline


def _check_sets(sets: Sequence[RetrievalSet]) -> list[str]:
    """Refuse a set that is there twice, under one name or another; returns the SHA-256 of each."""
    if not sets:
        raise InputError("there is no retrieval set to measure on")
    seen: dict[str, str] = {}
    for data in sets:
        sha256 = set_sha256(data)
        if data.name in seen:
            raise InputError(f"two sets are called {data.name!r}: give each once, or rename a directory")
        if sha256 in seen.values():
            twin = next(name for name, other in seen.items() if other == sha256)
            raise InputError(f"{data.name} has the texts and judgements of {twin}: the same set counts once")
        seen[data.name] = sha256
    return list(seen.values())
