"""The stages of a search, for a block of queries (see `search`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import OptionError
from .fusion import Weights, fuse, unit
from .ranking import MARGIN, best, still_possible, top_k
from .scoring.device import late_on
from .scoring.rough import RoughScores, pays
from .scoring.stored import late_of, rough_of
from .scoring.workers import check_threads

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from .documents import Documents
    from .scoring.storage import StoredTokens
    from .search import SearchOptions
    from .types import Embeddings, TokenStates

    Float32 = NDArray[np.float32]
    Int64 = NDArray[np.int64]
    Terms = dict[str, NDArray[np.floating[Any]]]

_SETTLED = 1000
"""Ranks that reciprocal rank fusion takes exactly; a rank beyond weighs less than a thousandth."""


class Stages:
    """A block of queries, and what is known for them of all documents: one stage narrows down for the next.

    Attributes:
        pooled: ``[n, documents]`` cosines, where they are needed.
        extra: The third signal.
        late: Late scores of all documents in float32, unless only candidates get some.
        rough: Or the same from a first pass.
    """

    def __init__(
        self,
        queries: Embeddings,
        parts: Sequence[Documents],
        weights: Weights,
        options: SearchOptions,
        extra: NDArray[np.float64] | None,
    ) -> None:
        self.queries, self.parts, self.weights, self.options = queries, parts, weights, options
        self.starts = np.cumsum([0, *map(len, parts)])
        self.alive = np.flatnonzero(alive_of(parts))
        self.threads = check_threads(options.threads)
        self.two_stage = options.candidates != "all" and bool(weights.late)
        self.extra = extra if weights.extra else None
        self.pooled = self._cosines() if weights.pooled or self.two_stage else None
        self.rough = self._first_pass() if weights.late else None
        self.late = None
        if weights.late and not self.two_stage and self.rough is None:
            self.late = _joined([self._late_of(queries.tokens, part.tokens) for part in parts])

    def rank(self, row: int, k: int, tie: Callable[[int], bytes] | None) -> list[tuple[int, float, float, float]]:
        """The k best documents of one query: position, score, and the pooled and late terms before weighting."""
        positions, terms = self._contest(row, k)
        if not len(positions):
            return []
        if self.options.fusion == "rrf":
            self._settle(row, positions, terms)
        fused = fuse(self.options.fusion, self.weights, terms)
        known: dict[int, tuple[float, float]] = {}

        def exact(at: int) -> float:
            known[at] = self._exact_terms(row, int(positions[at]))
            third = 0.0 if self.extra is None else float(self.extra[row, positions[at]])
            return fused.again(at, {"pooled": known[at][0], "late": known[at][1], "extra": third})

        factors = fused.factors or {}
        margin = MARGIN * sum(abs(factor) for name, factor in factors.items() if name != "extra")
        tie_at = None if tie is None else lambda at: tie(int(positions[at]))
        places = top_k(fused.scores, k, exact, margin, tie_at)
        return [(int(positions[at]), value, *known[at]) for at, value in places]

    def _contest(self, row: int, k: int) -> tuple[Int64, Terms]:
        """The documents that may be among the k best, rising, and their terms."""
        if self.rough is not None:
            return self._narrowed(row, k, self.rough)
        positions = self._candidates(row, k) if self.two_stage else self.alive
        terms = self._quick_terms(row, positions)
        if self.weights.late:
            terms["late"] = self._late_at(row, positions) if self.late is None else self.late[row, positions]
        return positions, terms

    def _candidates(self, row: int, k: int) -> Int64:
        """The best by everything but late interaction."""
        count = max(int(self.options.candidates), k)
        if count >= len(self.alive) or self.pooled is None:
            return self.alive
        terms, weights = self._quick_terms(row, self.alive), self.weights
        if not terms:  # late interaction alone decides: the pooled score still finds its candidates
            terms, weights = {"pooled": self.pooled[row, self.alive]}, Weights(1.0, 0.0)
        scores = fuse(self.options.fusion, weights, terms).scores
        return self.alive[best(scores, count)]

    def _narrowed(self, row: int, k: int, rough: RoughScores) -> tuple[Int64, Terms]:
        """Those that the bounds of the first pass leave in the race, late scores in float32."""
        quick = self._quick_terms(row, self.alive)
        roughly = fuse("sum", self.weights, quick | {"late": rough.scores[row, self.alive]}).scores
        doubt = abs(self.weights.late) * rough.bounds[row, self.alive] + MARGIN * abs(self.weights.pooled)
        late = np.zeros(len(self.alive), np.float32)

        def score(some: Int64) -> NDArray[np.float64]:
            late[some] = self._late_at(row, self.alive[some])
            return fuse("sum", self.weights, _at(quick, some) | {"late": late[some]}).scores

        margin = MARGIN * (abs(self.weights.pooled) + abs(self.weights.late))
        chosen = still_possible(roughly + doubt, k, score, margin)
        return self.alive[chosen], _at(quick, chosen) | {"late": late[chosen]}

    def _quick_terms(self, row: int, positions: Int64) -> Terms:
        """The terms that need no late interaction."""
        terms: Terms = {}
        if self.pooled is not None and self.weights.pooled:
            terms["pooled"] = self.pooled[row, positions]
        if self.extra is not None:
            terms["extra"] = self.extra[row, positions]
        return terms

    def _settle(self, row: int, positions: Int64, terms: Terms) -> None:
        """Score again in float64 what stands too close together for float32 to rank, among the first of each term."""
        for name in ("pooled", "late"):
            if name not in terms:
                continue
            term = terms[name] = terms[name].astype(np.float64)
            order = np.argsort(-term, kind="stable")[:_SETTLED]
            close = np.flatnonzero(-np.diff(term[order]) < MARGIN)
            for at in np.unique(order[np.concatenate([close, close + 1])]):
                term[at] = self._exact_terms(row, int(positions[at]))[name == "late"]

    def _first_pass(self) -> RoughScores | None:
        wanted = self.options.rough
        if wanted == "off" or (wanted == "auto" and (self.two_stage or self.options.fusion != "sum")):
            return None
        if wanted == "auto" and self.options.device not in ("cpu", "auto"):
            return None  # the first pass is the CPU's
        if self.two_stage or self.options.fusion != "sum":
            raise OptionError("rough='on' needs candidates='all' and fusion='sum'; leave it at 'auto'")
        tokens = self.queries.tokens
        if wanted == "auto" and not all(pays(tokens, part.tokens) for part in self.parts):
            return None
        found = [rough_of(tokens, part.tokens, threads=self.threads) for part in self.parts]
        passes = [each for each in found if each is not None]
        if len(passes) < len(found):
            if wanted == "on":
                raise OptionError("rough='on' needs int8 or int16 storage and ONNX Runtime; leave it at 'auto'")
            return None
        return RoughScores(_joined([each.scores for each in passes]), _joined([each.bounds for each in passes]))

    def _cosines(self) -> Float32:
        asked = unit(self.queries.pooled)
        return _joined([asked @ part.pooled.T for part in self.parts])

    def _late_at(self, row: int, positions: Int64) -> Float32:
        """``[positions]`` late scores of one query in float32; `positions` rise."""
        asked = self.queries.tokens.take([row])
        cuts = np.searchsorted(positions, self.starts)
        pieces = [
            self._late_of(asked, part.tokens, positions[left:right] - start)[0]
            for part, start, left, right in zip(self.parts, self.starts, cuts[:-1], cuts[1:], strict=False)
            if left < right
        ]
        return _joined(pieces)

    def _late_of(self, queries: TokenStates, stored: StoredTokens, chosen: Int64 | None = None) -> Float32:
        """``[queries, documents]`` late scores in float32, computed where the options say."""
        device = self.options.device
        scorer = late_of if device == "cpu" else late_on(device, stored.storage, stored.dim)
        return scorer(queries, stored, chosen, threads=self.threads)

    def _exact_terms(self, row: int, position: int) -> tuple[float, float]:
        part = int(np.searchsorted(self.starts, position, side="right")) - 1
        return self.parts[part].exact_terms(self.queries, row, position - int(self.starts[part]))


def _at(terms: Terms, chosen: Int64) -> Terms:
    return {name: term[chosen] for name, term in terms.items()}


def _joined(pieces: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """One array of what is known of each part, without a copy where there is one part."""
    if len(pieces) == 1:
        return pieces[0]
    return np.concatenate(pieces, axis=-1) if pieces else np.zeros(0, np.float32)


def alive_of(parts: Sequence[Documents]) -> NDArray[np.bool_]:
    """Which documents count."""
    return _joined([np.ones(len(part), bool) if part.alive is None else part.alive for part in parts])
