"""CONFIG.toml of a study: what it means, and that every slip of the pen is said."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from latency_runs import TINY
from smartrt.benchmarks.study.config import Config, Entry, accuracy_name, measured_kind
from smartrt.errors import InputError, MissingDependencyError, OptionError, SmartrtError
from smartrt.index import IndexOptions
from smartrt.search import SearchOptions
from support import message_of

ONE = '[[variant]]\nname = "a"\nbundle = "a.smartrt"\n'


@pytest.fixture
def read(tmp_path: Path) -> Any:
    """Reads a text as a file."""

    def from_text(text: str) -> Config:
        path = tmp_path / "study.toml"
        path.write_text(text, encoding="utf-8")
        return Config.read(path)

    return from_text


def refused(read: Any, text: str, *mentions: str, error: type[SmartrtError] = SmartrtError) -> None:
    with pytest.raises(error) as caught:
        read(text)
    message_of(caught.value, "study.toml", *mentions)


def test_what_is_not_said_has_the_defaults_of_the_benchmarks(read: Any, tmp_path: Path) -> None:
    config = read(ONE)
    assert config == Config((Entry("a", bundle=str(tmp_path / "a.smartrt")),))
    assert config.sets == ("stdlib-functions", "stdlib-classes")
    assert (config.corpus, config.starts, config.rounds, config.visit) == (600, 5, 3, 0.15)


def test_everything_can_be_said(read: Any, tmp_path: Path) -> None:
    text = (
        'title = "T"\nsource = "minilm"\nsets = ["one"]\nthreads = [2, 1]\nqueries = ["1x8"]\ndocuments = []\n'
        'corpus = 9\nstarts = 2\nrounds = 1\nvisit = 1\ntogether = false\nreference = "b"\n' + ONE + 'kept = "int8"\n'
        'system = "pooled"\nengine = "fake"\ndevice = "cuda:1"\noptions = {delay = 0.5}\n'
        '[[variant]]\nname = "b"\npytorch = "bf16"\n[[variant]]\nname = "c"\nprecision = "int4"\n'
    )
    config = read(text)
    a, b, c = config.variant
    assert a == Entry(
        "a", str(tmp_path / "a.smartrt"), None, None, "int8", "pooled", "fake", "cuda:1", {"delay": 0.5}
    )  # fmt: skip
    assert (b.pytorch, c.precision, config.source, config.visit) == ("bf16", "int4", "minilm", 1.0)
    assert (config.threads, config.documents, config.together, config.reference) == ((2, 1), (), False, "b")


@pytest.mark.parametrize(
    ("text", "mentions"),
    [
        ("tilte = 1\n" + ONE, ("tilte", "unknown key")),
        (ONE + 'nmae = "b"\n', ("variant[0].nmae", "unknown key")),
        ("title = 1\n" + ONE, ("title", "expected str, got int 1")),
        ("starts = 1.5\n" + ONE, ("starts", "expected int")),
        ("starts = true\n" + ONE, ("starts", "expected int, got bool")),
        ('threads = "all"\n' + ONE, ("threads", "expected list, got str")),
        ('threads = [1, "2"]\n' + ONE, ("threads[1]", "expected int")),
        ("visit = 2000-01-01\n" + ONE, ("visit", "expected float")),
        ("together = 1\n" + ONE, ("together", "expected bool")),
        ("variant = 3\n", ("variant", "expected list")),
        ("variant = [3]\n", ("variant[0]", "expected an object")),
        ("", ("variant", "missing key")),
        ('[[variant]]\nbundle = "a"\n', ("variant[0].name", "missing key")),
        (ONE + 'system = "late"\n', ("variant[0].system", "hybrid, pooled", "'late'")),
        ('[[variant]]\nname = "a"\nprecision = "int7"\n', ("variant[0].precision", "'int7'")),
        (ONE + "options = 3\n", ("variant[0].options", "expected object")),
        ("title = \n", ("no TOML",)),
        ('title = "a"\ntitle = "b"\n', ("no TOML",)),
    ],
    ids=lambda value: value.splitlines()[-1] if isinstance(value, str) and value else "",
)
def test_an_unknown_key_or_a_wrong_type_is_one_line_with_its_place(
    read: Any, text: str, mentions: tuple[str, ...]
) -> None:
    refused(read, text, *mentions, error=InputError)


def test_what_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    for path in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(InputError) as caught:
            Config.read(path)
        message_of(caught.value, "cannot read", path.name)
    (tmp_path / "binary.toml").write_bytes(b"title = '\xff'")
    with pytest.raises(InputError) as caught:
        Config.read(tmp_path / "binary.toml")
    message_of(caught.value, "binary.toml", "no TOML")


def test_lists_within_lists_are_one_line(read: Any) -> None:
    refused(read, "title = " + "[" * 5000 + "]" * 5000)


def test_a_python_without_toml_is_told_what_to_install(read: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    for name in ("tomllib", "tomli"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingDependencyError) as caught:
        read(ONE)
    message_of(caught.value, "tomli", "pip install 'smartrt[bench]'")


@pytest.mark.parametrize(
    ("text", "mentions"),
    [
        ('[[variant]]\nname = "a"\n', ("'a'", "one of bundle, precision and pytorch")),
        (ONE + 'pytorch = "fp32"\n', ("'a'", "one of bundle, precision and pytorch")),
        (ONE + 'precision = "fp32"\n', ("'a'", "one of bundle, precision and pytorch")),
        (ONE + 'kept = "int7"\n', ("'a'", "'int7'", "'int8, pool 2'")),
        ('[[variant]]\nname = "a"\npytorch = "fp32"\n', ("'a'", "source")),
        ('[[variant]]\nname = "a"\nprecision = "fp32"\n', ("'a'", "source")),
        ('source = "s"\n[[variant]]\nname = "a"\npytorch = "fp32"\n', ("no variant is a bundle",)),
        ("variant = []\n", ("no variant is a bundle",)),
        ("sets = []\n" + ONE, ("sets is empty",)),
        ("queries = []\n" + ONE, ("queries is empty", "'1x32'")),
    ],
    ids=["nothing", "two", "two others", "kept", "PyTorch without source", "export without source", "only PyTorch",
         "no variant", "no set", "no query"],
)  # fmt: skip
def test_what_does_not_fit_together_is_refused(read: Any, text: str, mentions: tuple[str, ...]) -> None:
    refused(read, text, *mentions, error=OptionError)


@pytest.mark.parametrize(
    "text",
    [ONE + ONE, 'reference = "nobody"\n' + ONE, 'queries = ["8"]\n' + ONE, "starts = 0\n" + ONE,
     "threads = [0]\n" + ONE, "visit = inf\n" + ONE, ONE + 'engine = "warp"\n',
     'source = "s"\n' + ONE + '[[variant]]\nname = "b"\npytorch = "x"\n'],
    ids=["a name twice", "reference", "shape", "starts", "threads", "visit", "engine", "kind of PyTorch"],
)  # fmt: skip
def test_what_can_be_seen_in_the_file_is_refused_when_it_is_read(read: Any, text: str) -> None:
    refused(read, text)


@pytest.mark.parametrize("extra", ['kept = "int8"', 'engine = "fake"', "options = {threads = 1}"])
def test_what_pytorch_does_not_do_is_refused(read: Any, extra: str) -> None:
    refused(read, f'source = "s"\n{ONE}[[variant]]\nname = "b"\npytorch = "fp32"\n{extra}\n', "'b'")


def test_paths_are_relative_to_the_file_and_names_stay_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    for name in ("data", "checkpoint", "stdlib-classes"):
        (home / name).mkdir(parents=True)
    (home / "study.toml").write_text(
        'source = "checkpoint"\nsets = ["data", "stdlib-functions", "stdlib-classes"]\n' + ONE
        + '[[variant]]\nname = "b"\nbundle = "/abs/b.smartrt"\n'
    )  # fmt: skip
    monkeypatch.chdir(tmp_path)
    config = Config.read(Path("home/study.toml"))
    assert [entry.bundle for entry in config.variant] == [str(home / "a.smartrt"), "/abs/b.smartrt"]
    assert config.source == str(home / "checkpoint")
    assert config.sets == (str(home / "data"), "stdlib-functions", "stdlib-classes")


@pytest.mark.parametrize("source", ["minilm", "org/name"])
def test_a_source_that_is_no_directory_stays_a_name(read: Any, source: str) -> None:
    assert read(f'source = "{source}"\n' + ONE).source == source


def config(*entries: Entry, **changes: Any) -> Config:
    return Config(entries, source="minilm", **changes)


def test_a_study_asks_for_the_grid_that_it_says() -> None:
    study = config(
        Entry("torch", pytorch="bf16"), Entry("small", bundle="b", kept="int8, pool 2", system="pooled"),
        Entry("fast", bundle="b", kept="int16, 100 candidates", engine="fake", options={"delay": 0.1}),
        threads=(2,), queries=("1x8",), documents=("2x6",), corpus=7, starts=2, rounds=1, visit=0.5, together=False,
    )  # fmt: skip
    grid = study.grid(dict.fromkeys(("torch", "small", "fast"), TINY))
    torch, small, fast = grid.contenders
    assert (torch.kind, torch.stored, torch.late) == ("bf16", IndexOptions("int16"), None)
    assert (small.kind, small.stored, small.late) == (None, IndexOptions("int8", pooling=2), 0.0)
    assert (fast.search, fast.options) == (SearchOptions(100), {"delay": 0.1})
    assert (grid.reference, grid.source, grid.threads, grid.corpus) == ("torch", "minilm", (2,), 7)
    assert (grid.starts, grid.rounds, grid.visit, grid.together) == (2, 1, 0.5, False)


def test_without_thread_counts_there_is_one_and_all_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    study = config(Entry("a", bundle="b"), reference="a")
    for allowed, threads in ((8, (1, 8)), (1, (1,))):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, allowed=allowed: set(range(allowed)))
        assert study.grid({"a": TINY}).threads == threads


def test_a_first_look_is_a_part_of_the_study() -> None:
    whole = config(Entry("a", bundle="b"), threads=(4, 1), corpus=1000, sets=("one", "two"))
    quick = whole.quick()
    assert (quick.threads, quick.sets, quick.variant) == ((4,), ("one",), whole.variant)
    assert quick.corpus < whole.corpus
    assert quick.grid({"a": TINY}).visits < whole.grid({"a": TINY}).visits / 3
    assert config(Entry("a", bundle="b")).quick().threads == (1,)


def test_a_first_look_is_never_longer_than_the_study() -> None:
    whole = config(Entry("a", bundle="b"), threads=(1,), documents=(), starts=1, rounds=1, corpus=5)
    quick = whole.quick()
    assert (quick.starts, quick.rounds, quick.corpus) == (1, 1, 5)


def test_a_first_look_has_no_larger_sets_than_the_study() -> None:
    quick = config(Entry("a", bundle="b"), set_queries=10, set_documents=20).quick()
    assert (quick.set_queries, quick.set_documents) == (10, 20)


@pytest.mark.parametrize(
    ("entry", "name"),
    [
        (Entry("a", bundle="b"), "tiny hybrid, int16"),
        (Entry("a", bundle="b", kept="int8"), "tiny hybrid, int8"),
        (Entry("a", bundle="b", system="pooled", kept="int8"), "tiny pooled"),
        (Entry("a", pytorch="bf16"), "PyTorch bf16 hybrid"),
        (Entry("a", pytorch="compile", system="pooled"), "PyTorch fp32 pooled"),
    ],
    ids=["plain", "int8", "pooled", "PyTorch", "compiled"],
)
def test_a_variant_is_what_accuracy_calls_it(entry: Entry, name: str) -> None:
    assert accuracy_name(entry, "tiny") == name


def test_what_is_compiled_has_the_accuracy_of_what_is_not() -> None:
    assert [measured_kind(kind) for kind in ("fp32", "bf16", "compile")] == ["fp32", "bf16", "fp32"]


def test_the_default_suite_can_be_read() -> None:
    from importlib import resources

    with resources.as_file(resources.files("smartrt.benchmarks.study").joinpath("minilm.toml")) as path:
        suite = Config.read(path)
    assert suite.reference in [entry.name for entry in suite.variant]
    assert suite.source == "minilm"
    grid = suite.grid(dict.fromkeys((entry.name for entry in suite.variant), TINY))
    assert len(grid.contenders) == len(suite.variant) >= 8


def test_a_name_that_nobody_can_read_is_refused(read: Any) -> None:
    refused(read, '[[variant]]\nname = " "\nbundle = "a.smartrt"\n', "name", "' '")
