"""CONFIG.toml of a study: what it compares, as data. README and docs/benchmarks.md show one."""

from __future__ import annotations

import importlib
import sys
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from smartrt import strict_json
from smartrt.engines import ENGINES
from smartrt.errors import InputError, MissingDependencyError, OptionError
from smartrt.price import PrecisionName  # noqa: TC001  (hints are read when a file is parsed)
from smartrt.scoring.workers import check_threads

from ..accuracy.names import HYBRID, pytorch_label, system_name
from ..accuracy.stored import VARIANTS
from ..latency.grid import Contender, Grid, parse_cells
from ..pytorch import KINDS
from ..sets import SETS

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Entry:
    """One ``[[variant]]``: exactly one of `bundle`, `precision` and `pytorch`.

    Attributes:
        name: In tables and pictures.
        bundle: A bundle directory, relative to the file.
        precision: A precision that `source` is exported in, unless the output has that bundle already.
        pytorch: A name in `pytorch.KINDS`, to run `source` by.
        kept: How documents are kept and searched, a name in `stored.VARIANTS`, int16 if None. PyTorch has float32.
        system: ``hybrid``, or ``pooled`` for the plain search by one vector.
        engine, device, options: As `Encoder.open` takes them; PyTorch takes a device alone.
    """

    name: str
    bundle: str | None = None
    precision: PrecisionName | None = None
    pytorch: str | None = None
    kept: str | None = None
    system: Literal["hybrid", "pooled"] = "hybrid"
    engine: str | None = None
    device: str = "cpu"
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def keeps(self) -> str:
        """How documents are kept and searched, by its name."""
        return self.kept or "int16"

    @property
    def runs_on(self) -> str:
        """The engine of a bundle."""
        return self.engine or "ort"


@dataclass(frozen=True)
class Config:
    """A whole study.

    Attributes:
        variant: What is compared; one at least must be a bundle.
        source: The checkpoint, for PyTorch and exports: ``minilm``, a hub id, or a directory relative to the file.
        title: Of the page.
        sets: Retrieval sets: names of `smartrt bench sets`, or directories relative to the file.
        set_queries, set_documents: Sizes of the generated sets; their usual ones if None.
        threads, queries, documents, corpus, starts, rounds, visit, together: See `latency.grid.Grid`. The first thread
            count and the first shape of queries are what a variant's time in the picture is. No thread count: one, and
            one for every core.
        reference: Name of the variant that ratios are against; the first if None.
    """

    variant: tuple[Entry, ...]
    source: str | None = None
    title: str = "What each quality costs"
    sets: tuple[str, ...] = ("stdlib-functions", "stdlib-classes")
    set_queries: int | None = None
    set_documents: int | None = None
    threads: tuple[int, ...] = ()
    queries: tuple[str, ...] = ("1x32",)
    documents: tuple[str, ...] = ("8x128",)
    corpus: int = Grid.corpus
    starts: int = Grid.starts
    rounds: int = Grid.rounds
    visit: float = Grid.visit
    together: bool = True
    reference: str | None = None

    @classmethod
    def read(cls, path: Path) -> Config:
        """Read and check a file, paths relative to it made absolute.

        Raises:
            InputError: It cannot be read, is no TOML, has an unknown or wrong key.
            OptionError: What it asks for does not fit together.
        """
        try:
            config = strict_json.parse(cls, _toml(path))
        except strict_json.StrictJsonError as error:
            raise InputError(f"{path}: {error}") from None
        return config.checked(str(path)).relative_to(path.resolve().parent)

    def checked(self, where: str) -> Config:
        """Itself, if every variant is one thing and the names are known. See `read`."""
        for entry in self.variant:
            if not entry.name.strip():
                raise OptionError(f"{where}: a variant has the name {entry.name!r}: tables need one that can be read")
            given = [name for name in ("bundle", "precision", "pytorch") if getattr(entry, name) is not None]
            if len(given) != 1:
                raise OptionError(f"{where}: variant {entry.name!r} must have one of bundle, precision and pytorch")
            _check_names(entry, where)
            if (entry.precision or entry.pytorch) and self.source is None:
                raise OptionError(f"{where}: variant {entry.name!r} needs source, the checkpoint")
        if all(entry.pytorch for entry in self.variant):
            raise OptionError(f"{where}: no variant is a bundle; add one with bundle or precision")
        if not self.sets:
            raise OptionError(f"{where}: sets is empty: name one of `smartrt bench sets`, or a directory")
        if not self.queries:
            raise OptionError(f"{where}: queries is empty: the time of a variant is that of a query, such as '1x32'")
        try:
            self.grid({entry.name: Path(entry.name) for entry in self.variant})
        except OptionError as error:
            raise OptionError(f"{where}: {error}") from None
        return self

    def quick(self) -> Config:
        """A first look: queries alone, one thread count, few starts, the first set and little of that."""
        return replace(
            self, threads=self.threads[:1] or (1,), documents=(), starts=min(self.starts, 3), rounds=1,
            corpus=min(self.corpus, 100), sets=self.sets[:1],
            set_queries=min(self.set_queries or 100, 100), set_documents=min(self.set_documents or 200, 200),
        )  # fmt: skip

    def grid(self, bundles: Mapping[str, Path]) -> Grid:
        """What is timed.

        Args:
            bundles: By the name of each variant, its bundle; of PyTorch, any of the same checkpoint.
        """
        contenders = tuple(_contender(entry, bundles[entry.name]) for entry in self.variant)
        threads = self.threads or tuple(sorted({1, check_threads(None)}))
        return Grid(
            contenders, parse_cells(self.queries, self.documents), threads,
            self.reference or contenders[0].name, self.source, self.corpus, self.starts, self.rounds, self.visit,
            self.together,
        )  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        """For the result: names instead of paths."""

        def name(text: str | None) -> str | None:
            return None if text is None else Path(text).name

        entries = [asdict(entry) | {"bundle": name(entry.bundle)} for entry in self.variant]
        return asdict(self) | {
            "variant": entries, "source": name(self.source), "sets": [name(text) for text in self.sets]
        }  # fmt: skip

    def relative_to(self, directory: Path) -> Config:
        """Itself, with the paths that are relative to `directory` made whole."""

        def path(text: str) -> str:
            return str(directory / text)

        entries = tuple(
            replace(entry, bundle=None if entry.bundle is None else path(entry.bundle)) for entry in self.variant
        )
        sets = tuple(name if name in SETS else path(name) for name in self.sets)
        source = self.source
        if source is not None and (directory / source).is_dir():
            source = path(source)
        elif source is not None and Path(source).is_dir() and not Path(source).is_absolute():
            raise OptionError(
                f"source {source!r} is a directory here and none in {directory}: paths are relative to it"
            )
        return replace(self, variant=entries, sets=sets, source=source)


def encoder_label(entry: Entry, bundle: str) -> str:
    """What `smartrt bench accuracy` calls the encoder of a variant; `bundle` is its bundle's name."""
    name = pytorch_label(measured_kind(entry.pytorch)) if entry.pytorch else bundle
    # One bundle may run in several ways, whose vectors differ by rounding at least.
    how = [entry.engine, entry.device if entry.device != "cpu" else None]
    how += [f"{option} {value}" for option, value in sorted(entry.options.items())]
    said = ", ".join(each for each in how if each)
    return f"{name} ({said})" if said else name


def accuracy_name(entry: Entry, bundle: str) -> str:
    """What `smartrt bench accuracy` calls what a variant finds; `bundle` is its bundle's name."""
    kept = entry.keeps if entry.system == HYBRID and not entry.pytorch else None
    return system_name(encoder_label(entry, bundle), entry.system, kept)


def measured_kind(kind: str) -> str:
    """How PyTorch runs where its accuracy is measured: what is compiled computes the same, and `latency` compares it.

    A compiled model is compiled again for each length of text, of which a retrieval set has hundreds.
    """
    return "fp32" if kind == "compile" else kind


def _contender(entry: Entry, bundle: Path) -> Contender:
    variant = VARIANTS[entry.keeps]
    return Contender(
        entry.name, bundle, entry.pytorch, entry.runs_on, entry.device, entry.options, variant.options, variant.search,
        0.0 if entry.system == "pooled" else None,
    )  # fmt: skip


def _check_names(entry: Entry, where: str) -> None:
    """Refuse what there is not, and what PyTorch does not do."""
    name = f"{where}: variant {entry.name!r}"
    for what, given, known in (
        ("kept as", entry.keeps, VARIANTS), ("run on engine", entry.runs_on, ENGINES),
        ("run by PyTorch as", entry.pytorch, (*KINDS, None)),
    ):  # fmt: skip
        if given not in known:
            there = ", ".join(repr(each) for each in known if each is not None)
            raise OptionError(f"{name} is {what} {given!r}; there are: {there}")
    if entry.pytorch and (entry.kept or entry.engine or entry.options):
        raise OptionError(f"{name} runs PyTorch, which takes no kept, engine and options: leave them out")


def _toml(path: Path) -> Any:
    try:
        tomllib = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    except ModuleNotFoundError:
        raise MissingDependencyError("reading TOML needs tomli on Python 3.10: pip install 'smartrt[bench]'") from None
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path} is no TOML: {error}") from None
