"""`smartrt bench study`: bundles -> latency -> accuracy -> join. What is done is kept, and found again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smartrt.bundle import Bundle, sha256_of
from smartrt.errors import BundleError, EngineError, OptionError, StorageError
from smartrt.evaluation.quality import set_sha256
from smartrt.files import writing

from ..accuracy import measure as accuracy
from ..accuracy.contenders import Contender, EngineOptions
from ..accuracy.names import HYBRID
from ..kept import Kept
from ..latency import measure as latency
from ..machine import code_sha256
from ..pytorch import check_kind, check_source
from ..sets import SETS, make_set, open_set
from .config import accuracy_name, encoder_label, measured_kind
from .figure import need_matplotlib
from .join import join

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from smartrt.evaluation.dataset import RetrievalSet
    from smartrt.export.build import Bar

    from ..accuracy.encoded import EncodedCache
    from .config import Config, Entry

_PARTS, _BUNDLES, _QUERIES = "parts", "bundles", "queries.jsonl"


class Study:
    """A configuration, its sets and its output directory, everything checked. Make one with `prepare`."""

    def __init__(
        self, config: Config, sets: Sequence[RetrievalSet], kept: Kept, output: Path, bundles: Mapping[str, Path]
    ) -> None:
        self.config = config
        self._kept = kept
        self.output = output
        self.bundles = bundles
        self._sets = sets
        self._labels = {name: Bundle.open(path, verify=False).manifest.name for name, path in bundles.items()}
        self._grid = config.grid(bundles)

    @classmethod
    def prepare(cls, config: Config, output: Path, bar: Bar, report: Callable[[str], None] = lambda _: None) -> Study:
        """Check everything, and export what is missing.

        Args:
            config: Read.
            output: A directory that is there or not; bundles are exported into it, and results kept in it.
            bar: Makes a progress bar.
            report: Called with a sentence at each step of an export.

        Raises:
            SmartrtError: Whatever is wrong with bundles, engines, sets or the grid: before anything is measured.
        """
        _check_output(output)
        sets = [
            make_set(name, config.set_queries, config.set_documents) if name in SETS else open_set(name)
            for name in config.sets
        ]
        need_matplotlib()  # what draws in the end must be there in the beginning
        for entry in config.variant:
            if entry.pytorch:
                check_kind(entry.pytorch, entry.device)
        study = cls(config, sets, Kept.open(output / _PARTS), output, _bundles(config, output, bar, report))
        study.check()
        return study

    def check(self) -> None:
        """Refuse what latency and accuracy would refuse."""
        latency.check(self._grid)
        contenders = self._accuracy_contenders()
        accuracy.check(contenders, self._sets, self._accuracy_options(contenders))

    def run(self, bar: Bar, cache: EncodedCache | None = None) -> dict[str, Any]:
        """Measure what is not there yet and join it; JSON-ready (`join.join`)."""
        timed = latency.measure(self._grid, bar, keep=self._kept, cache=cache)
        found = self._accuracy(bar, cache, _failed(timed))
        return join(self.config, self._labels, self.bundles, timed, found)

    def _accuracy(self, bar: Bar, cache: EncodedCache | None, failed: Mapping[str, str]) -> dict[str, Any]:
        """What the encoders find; one whose every variant failed would fail here as well, and take the others along."""
        if self._grid.reference in failed:
            raise EngineError(f"the reference {self._grid.reference} failed: {failed[self._grid.reference]}")
        contenders = self._accuracy_contenders(failed)
        options = self._accuracy_options(contenders)
        about = {
            "encoders": [
                [each.label, each.identity, dict(each.decides or {}), each.weights.pooled, each.weights.late]
                for each in contenders
            ],
            "sets": [set_sha256(data) for data in self._sets],
            "baseline": options.baseline,
            "stored": dict(options.stored_of),
            "code": code_sha256(),
        }
        queries = self.output / _QUERIES
        kept = self._kept.get("accuracy", about)
        # The file of the queries belongs to a result: another run in this directory may have written its own.
        if kept is None or not queries.exists() or sha256_of(queries) != kept["queries_sha256"]:
            result = accuracy.measure(contenders, self._sets, options, cache=cache, bar=bar)
            kept = {"result": result, "queries_sha256": sha256_of(queries)}
            self._kept.put("accuracy", about, kept)
        found: dict[str, Any] = kept["result"]
        return found

    def _accuracy_options(self, contenders: Sequence[Contender]) -> accuracy.AccuracyOptions:
        stored: dict[str, tuple[str, ...]] = {each.label: () for each in contenders}
        for entry in self.config.variant:
            label = encoder_label(entry, self._labels[entry.name])
            if label in stored and not entry.pytorch and entry.system == HYBRID:
                stored[label] += (entry.keeps,)
        reference = next(each for each in self.config.variant if each.name == self._grid.reference)
        baseline = accuracy_name(reference, self._labels[reference.name])
        return accuracy.AccuracyOptions(baseline, per_query=self.output / _QUERIES, stored_of=stored)

    def _accuracy_contenders(self, failed: Collection[str] = ()) -> list[Contender]:
        """Each encoder once, however many variants keep its vectors in one way or another, unless all have failed."""
        made: dict[str, Contender] = {}
        for entry in self.config.variant:
            if entry.name in failed:
                continue
            bundle = Bundle.open(self.bundles[entry.name], verify=False)
            label = encoder_label(entry, bundle.manifest.name)
            if label in made:
                continue
            if entry.pytorch:
                from ..accuracy.pytorch_contender import pytorch_contenders

                source, kind = str(self.config.source), measured_kind(entry.pytorch)
                (contender,) = pytorch_contenders(source, [kind], bundle.manifest, entry.device)
            else:
                how = EngineOptions(entry.runs_on, entry.device, options=entry.options)
                contender = Contender.of_bundle(bundle, how)
            made[label] = replace(contender, label=label)
        return list(made.values())


def _check_output(output: Path) -> None:
    """Refuse a directory that holds something else: a retrieval set has a file of the same name."""
    own = any((output / name).is_dir() for name in (_PARTS, _BUNDLES))
    if output.is_dir() and any(output.iterdir()) and not own:
        raise StorageError(f"{output} holds something that is no study: give a new directory, or an earlier study's")


def _failed(timed: dict[str, Any]) -> dict[str, str]:
    """By name the variants that failed with any thread count, and why."""
    rows = (row for group in timed["groups"] for row in group["cold"])
    return {row["contender"]: row["failed"] for row in rows if row["failed"]}


def _bundles(config: Config, output: Path, bar: Bar, report: Callable[[str], None]) -> dict[str, Path]:
    """By variant its bundle: given, exported before, or exported now. PyTorch has the first one's, for the recipe."""
    found = {
        entry.name: Path(entry.bundle) if entry.bundle else _exported(config, entry, output, bar, report)
        for entry in config.variant
        if not entry.pytorch
    }
    for path in dict.fromkeys(found.values()):
        Bundle.open(path)
    _check_names(found)
    first = next(iter(found.values()))
    return {entry.name: found.get(entry.name, first) for entry in config.variant}


def _exported(config: Config, entry: Entry, output: Path, bar: Bar, report: Callable[[str], None]) -> Path:
    path = output / _BUNDLES / f"{entry.precision}.smartrt"
    if path.exists():
        try:
            manifest = Bundle.open(path, verify=False).manifest
            check_source(str(config.source), manifest)
        except (BundleError, OptionError) as error:
            raise StorageError(f"{path} is in the way, remove it or give another -o: {error}") from None
        if manifest.precision.name != entry.precision:
            raise StorageError(f"{path} is in {manifest.precision.name}: remove it, or give another -o")
        return path
    from smartrt.export.command import load_pipeline
    from smartrt.export.wanted import Wanted

    with writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    report(f"exporting {config.source} in {entry.precision}")
    load_pipeline().export(str(config.source), path, wanted=Wanted(str(entry.precision)), report=report, bar=bar)
    return path


def _check_names(bundles: Mapping[str, Path]) -> None:
    """Two bundles of one name would be one in the tables of accuracy."""
    seen: dict[str, Path] = {}
    for path in dict.fromkeys(bundles.values()):
        name = Bundle.open(path, verify=False).manifest.name
        if name in seen:
            raise OptionError(f"{seen[name]} and {path} are both called {name}: export one of them to another name")
        seen[name] = path
