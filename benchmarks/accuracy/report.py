"""Findings to JSON: means, and every system against the one baseline, corrected over the whole run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from smartrt.evaluation.metrics import CUT, RESAMPLES, PairedTest, paired_test

from .lexical import SETTINGS
from .significance import ALPHA, holm

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from smartrt.evaluation.dataset import RetrievalSet

    from .findings import EncoderFindings, Found

DECISIVE = f"ndcg@{CUT}"
STATISTICS = (
    f"Every system against one baseline: mean difference of {DECISIVE} over the queries with its 95 % paired "
    f"bootstrap percentile interval, two-sided p-value of the shifted bootstrap, {RESAMPLES:,} resamples of the "
    f"queries, adjusted by Holm's method over all comparisons of the run; significant below {ALPHA}."
)


@dataclass(frozen=True)
class SetFindings:
    """Everything that was found on one set.

    Attributes:
        data: The set.
        sha256: Of its texts and judgements.
        encoders: By label, in order.
        bm25: The lexical line.
        bm25_seconds: What that took.
    """

    data: RetrievalSet
    sha256: str
    encoders: Mapping[str, EncoderFindings]
    bm25: Found
    bm25_seconds: float

    @property
    def systems(self) -> Iterator[Found]:
        """Encoder by encoder, then BM25."""
        for findings in self.encoders.values():
            yield from findings.systems
        yield self.bm25


def report(sets: Sequence[SetFindings], baseline: str) -> dict[str, Any]:
    """The keys ``baseline``, ``comparisons``, ``alpha``, ``statistics`` and ``results`` of a measurement.

    Args:
        sets: Each has a system that is called `baseline`.
        baseline: What all others are compared with.
    """
    tests = {(i, name): test for i, findings in enumerate(sets) for name, test in _against(findings, baseline).items()}
    adjusted = dict(zip(tests, holm([test.p for test in tests.values()]), strict=True))
    # The baseline is no comparison: it counts for nothing in the correction, and differs by nothing.
    same = PairedTest(0.0, 0.0, 1.0)
    results = []
    for i, findings in enumerate(sets):
        reference = _decisive(findings, baseline)
        rows = [
            _row(found, reference, tests.get((i, found.name), same), adjusted.get((i, found.name), 1.0))
            for found in findings.systems
        ]
        results.append(_described(findings) | {"systems": rows})
    return {
        "baseline": baseline,
        "comparisons": len(tests),
        "alpha": ALPHA,
        "statistics": STATISTICS,
        "results": results,
    }


def _decisive(findings: SetFindings, name: str) -> Any:
    return next(found.metrics[DECISIVE] for found in findings.systems if found.name == name)


def _against(findings: SetFindings, baseline: str) -> dict[str, PairedTest]:
    reference = _decisive(findings, baseline)
    return {
        found.name: paired_test(found.metrics[DECISIVE] - reference)
        for found in findings.systems
        if found.name != baseline
    }


def _row(found: Found, reference: Any, test: PairedTest, adjusted: float) -> dict[str, Any]:
    return {
        "name": found.name,
        "encoder": found.encoder,
        "system": found.system,
        "stored": found.stored,
        "bytes_per_document": found.bytes_per_document,
        **{name: float(values.mean()) for name, values in found.metrics.items()},
        "difference": float((found.metrics[DECISIVE] - reference).mean()),
        "interval": [test.low, test.high],
        "p": test.p,
        "p_holm": adjusted,
        "significant": adjusted < ALPHA,
    }


def _described(findings: SetFindings) -> dict[str, Any]:
    data, encoders = findings.data, findings.encoders
    return {
        "set": data.name,
        "sha256": findings.sha256,
        "documents": len(data.documents),
        "queries": len(data.queries),
        "queries_without_relevant_document": data.unjudged,
        "bm25": SETTINGS,
        "seconds": {
            **{part: {label: each.seconds[part] for label, each in encoders.items()} for part in _PARTS},
            "bm25": findings.bm25_seconds,
        },
        "document_tokens": {label: each.document_tokens for label, each in encoders.items()},
        "truncated_documents": {label: each.truncated for label, each in encoders.items()},
        "left_out": {label: list(each.left_out) for label, each in encoders.items() if each.left_out},
    }


_PARTS = ("encode", "rank", "stored")
