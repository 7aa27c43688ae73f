"""Searches whose late interaction runs elsewhere: the answer is the same, and no device is left out in silence."""

from __future__ import annotations

import functools
import itertools

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commandline import FAKE, build_index, call, refused, write_corpus
from searching import cut
from smartrt import Index, stages
from smartrt.errors import DeviceError, DeviceMemoryError, MissingDependencyError, OptionError
from smartrt.fusion import Weights
from smartrt.index.recall import measure_recall, sampled_documents
from smartrt.scoring import device
from smartrt.scoring.choice import Quicker
from smartrt.scoring.device import DeviceScorer, late_on
from smartrt.scoring.storage import DTYPES, store
from smartrt.scoring.stored import late_of
from smartrt.search import SearchOptions, search
from support import embeddings, message_of, run_python

NO_CUDA = "CUDAExecutionProvider" not in onnxruntime.get_available_providers()
STORAGES = list(DTYPES)
WEIGHTS = st.sampled_from([(1.0, 1.0), (0.0, 1.0), (0.3, 2.0), (1.0, -0.5)])


@functools.cache
def graph_here(storage):
    """The graph of the GPU on the CPU."""
    return DeviceScorer.open(storage, "cpu")


@pytest.fixture
def fresh(monkeypatch):
    """No scorer is remembered, before the test and after it."""
    monkeypatch.setattr(device, "_SCORERS", device._Scorers())


@pytest.fixture
def elsewhere(monkeypatch):
    """Stages that find the graph on the CPU under the name of every device, and the devices they asked for."""
    asked = []
    monkeypatch.setattr(stages, "late_on", lambda name, storage, *_: asked.append(name) or graph_here(storage))
    return asked


@settings(max_examples=80)
@given(
    lengths=st.lists(st.sampled_from([1, 2, 8, 9, 60]), min_size=1, max_size=14),
    copies=st.booleans(),
    query=st.sampled_from([[1], [3, 1], [40, 7]]),
    weights=WEIGHTS,
    storage=st.sampled_from(STORAGES),
    cuts=st.lists(st.integers(0, 14), max_size=3),
    dead=st.sets(st.integers(0, 13)),
    candidates=st.one_of(st.just("all"), st.integers(1, 16)),
    rough=st.sampled_from(["auto", "off", "on"]),
    k=st.integers(1, 8),
    seed=st.integers(0, 99),
)
def test_the_answer_is_that_of_the_cpu(
    lengths, copies, query, weights, storage, cuts, dead, candidates, rough, k, seed
):
    documents = embeddings(lengths, seed=seed + 100)
    if copies:
        documents = documents.take([i // 2 for i in range(len(lengths))])
    queries, parts = embeddings(query, seed=seed), cut(documents, cuts, storage, dead)
    if storage not in ("int16", "int8") or candidates != "all":
        rough = "auto"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stages, "late_on", lambda _, storage, *__: graph_here(storage))
        here, there = (
            search(
                queries, parts, k=k, weights=Weights(*weights), options=SearchOptions(candidates, "sum", 1, rough, on)
            )
            for on in ("cpu", "cuda")
        )
    assert here == there


@pytest.mark.parametrize("fusion", ["zscore", "rrf"])
@pytest.mark.parametrize("storage", STORAGES)
def test_fusions_that_compare_candidates_rank_the_same(storage, fusion, elsewhere):
    queries, parts = embeddings([5, 2]), cut(embeddings([1, 9, 30, 4, 17, 2], seed=1), [2], storage, [4])
    here, there = (search(queries, parts, k=4, options=SearchOptions(4, fusion, device=on)) for on in ("cpu", "cuda"))
    for left, right in zip(here, there, strict=True):
        assert [place.position for place in left] == [place.position for place in right]
        assert [place.score for place in left] == pytest.approx([place.score for place in right], abs=1e-5)
    assert set(elsewhere) == {"cuda"}


@pytest.mark.parametrize("off", [4e-6, -4e-6])
def test_errors_as_large_as_the_promise_change_no_answer(off, monkeypatch):
    """Half of `MARGIN` less some: every other document is scored too high, its neighbours too low."""

    def scorer(*arguments, **options):
        scores = late_of(*arguments, **options)
        return (scores + np.where(np.arange(scores.shape[1]) % 2, off, -off)).astype(np.float32)

    documents = embeddings([5, 3, 4], seed=1)
    documents.tokens.values[5] += np.float32(1e-7)
    queries, parts = embeddings([40, 2]), cut(documents.take([0, 0, 1, 1, 2, 2]), [3], "int16")
    wanted = search(queries, parts, k=4)
    monkeypatch.setattr(stages, "late_on", lambda *_: scorer)
    assert search(queries, parts, k=4, options=SearchOptions(device="cuda:3")) == wanted


def test_a_device_gets_all_late_interaction_and_the_first_pass_only_where_it_was_asked_for(elsewhere, monkeypatch):
    queries, parts = embeddings([9]), cut(embeddings([40] * 30, seed=1), [10], "int8")
    monkeypatch.setattr(stages, "pays", lambda *_: True)
    passes = []
    true = stages.rough_of
    monkeypatch.setattr(stages, "rough_of", lambda *args, **options: passes.append(1) or true(*args, **options))
    monkeypatch.setattr(stages, "late_of", None)  # the CPU would not do

    def first_passes(options):
        passes.clear()
        elsewhere.clear()
        search(queries, parts, k=2, options=options)
        assert set(elsewhere) == {options.device}
        return len(passes)

    assert first_passes(SearchOptions(device="cuda")) == 0
    assert first_passes(SearchOptions(5, device="cuda")) == 0
    assert first_passes(SearchOptions(rough="on", device="cuda:1")) == 2
    assert first_passes(SearchOptions(device="auto")) == 2


# A device that is not there.


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize("name", ["cuda", "cuda:7"])
def test_a_gpu_that_is_not_there_is_an_error_every_time(name):
    if name == "cuda" and not NO_CUDA:
        pytest.skip("there is a GPU")
    for _ in range(2):
        with pytest.raises(DeviceError) as caught:
            search(embeddings([2]), cut(embeddings([1, 2]), (), "int8"), k=1, options=SearchOptions(device=name))
        message_of(caught.value, repr(name))


def test_without_onnx_runtime_a_gpu_is_an_error_and_auto_is_the_cpu():
    result = run_python("""
import sys
sys.modules["onnxruntime"] = None
from smartrt.scoring.device import late_on
from smartrt.scoring.stored import late_of
print(late_on("auto", "int16") is late_of)
try:
    late_on("cuda", "int16")
except ImportError as error:
    print(type(error).__name__, str(error).count("\\n"))
""")
    assert (result.returncode, result.stdout.split()) == (0, ["True", "MissingDependencyError", "0"]), result.stderr


def test_an_option_that_is_no_device_is_refused():
    with pytest.raises(OptionError):
        SearchOptions(device="gpu")


# The faster of two.


class Timed:
    """A scorer that takes so many seconds of a made-up clock, and counts its sets."""

    def __init__(self, now, seconds):
        self.now, self.seconds, self.sets = now, itertools.cycle(seconds), 0

    def __call__(self, *arguments, **options):
        self.now[0] += next(self.seconds)
        self.sets += 1
        return late_of(*arguments, **options)


def timed(here, there):
    now = [0.0]
    scorers = Timed(now, here), Timed(now, there)
    return *scorers, Quicker(*scorers, clock=lambda: now[0])


@pytest.mark.parametrize(
    ("here", "there", "sets"),
    [
        pytest.param([2.0], [1.0], (3, 10), id="the device is faster"),
        pytest.param([1.0], [2.0], (10, 3), id="the CPU is faster"),
        pytest.param([2.0], [90.0, 1.0, 1.0], (3, 10), id="the device had to wake up"),
        pytest.param([1.0], [1.0], (10, 3), id="the same"),
        pytest.param([0.0], [1.0], (10, 3), id="no time at all"),
    ],
)
def test_three_sets_are_scored_on_both_and_the_faster_goes_on(here, there, sets):
    one, other, scorer = timed(here, there)
    queries, stored = embeddings([4]).tokens, store(embeddings([3, 20, 1], seed=1).tokens, "int16")
    for _ in range(10):
        np.testing.assert_array_equal(scorer(queries, stored, threads=1), late_of(queries, stored, threads=1))
    assert (one.sets, other.sets) == sets


def test_sets_of_another_size_are_tried_anew():
    one, other, scorer = timed([2.0], [1.0])
    stored = store(embeddings([8] * 40, seed=1).tokens, "int16")
    sizes = [(4, None), (40, None), (4, np.arange(3)), (5, np.arange(2, 38))]
    for tokens, chosen in sizes:
        for _ in range(5):
            scorer(embeddings([tokens]).tokens, stored, chosen, threads=1)
    # 4 and 5 tokens are of one size, and so are 36 and 40 groups.
    assert (one.sets, other.sets) == (9, 20)


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize("faster", ["here", "there"])
def test_auto_takes_the_faster_and_answers_the_same(faster, monkeypatch):
    monkeypatch.setattr(DeviceScorer, "open", classmethod(lambda _, storage, __: graph_here(storage)))
    scorer = late_on("auto", "int16")
    assert isinstance(scorer, Quicker)
    assert late_on("auto", "int16") is scorer  # what was measured is kept
    one, other, scorer = timed(*([[1.0], [2.0]] if faster == "here" else [[2.0], [1.0]]))
    monkeypatch.setattr(stages, "late_on", lambda *_: scorer)
    queries, parts = embeddings([5]), cut(embeddings([9] * 20, seed=1), (), "int16")
    answers = [search(queries, parts, k=3, options=SearchOptions(9, device="auto")) for _ in range(6)]
    assert all(answer == search(queries, parts, k=3, options=SearchOptions(9)) for answer in answers)
    assert (one.sets, other.sets) == ((6, 3) if faster == "here" else (3, 6))


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize("error", [DeviceError, DeviceMemoryError, MissingDependencyError])
def test_auto_without_a_device_is_the_cpu(error, monkeypatch):
    def refuse(*_):
        raise error("none")

    monkeypatch.setattr(DeviceScorer, "open", refuse)
    assert late_on("auto", "int8") is late_of
    with pytest.raises(error):
        late_on("cuda", "int8")


# The library's index and the command line.


@pytest.fixture(scope="module")
def place(tmp_path_factory, tiny_path):
    directory = tmp_path_factory.mktemp("device")
    texts = [f"sort list {'key ' * i}" for i in range(30)]
    path = build_index(directory / "docs.index", tiny_path, write_corpus(directory / "corpus.jsonl", texts))
    return path, ("search", tiny_path, path, *FAKE, "sort a list", "--json")


def test_an_index_searches_and_measures_on_the_device_that_is_named(place, elsewhere):
    index = Index.open(place[0])
    queries, own = sampled_documents(index, 5)
    wanted = index.search(queries, k=4)
    assert elsewhere == []
    assert index.search(queries, k=4, device="cuda:1") == wanted
    assert set(elsewhere) == {"cuda:1"}
    recall = measure_recall(index, queries, leave_out=own)
    assert measure_recall(index, queries, leave_out=own, device="cuda") == recall
    assert set(elsewhere) == {"cuda:1", "cuda"}


def test_the_command_line_names_the_device(capsys, place, elsewhere, monkeypatch):
    wanted = call(capsys, *place[1])
    assert (wanted.code, elsewhere) == (0, [])
    assert call(capsys, *place[1], "--late-device", "cuda") == wanted
    monkeypatch.setenv("SMARTRT_LATE_DEVICE", "auto")
    assert call(capsys, *place[1]) == wanted
    assert call(capsys, "index", "recall", place[0], "--sample", "3", "-k", "2").code == 0
    assert set(elsewhere) == {"cuda", "auto"}


@pytest.mark.usefixtures("fresh")
def test_the_command_line_refuses_a_gpu_that_is_not_there_in_one_line(capsys, place):
    refused(call(capsys, *place[1], "--late-device", "cuda:7"), "'cuda:7'")
    refused(call(capsys, "index", "recall", place[0], "--late-device", "cuda:7"), "'cuda:7'")


def test_the_command_line_refuses_what_is_no_device(capsys, place, monkeypatch):
    refused(call(capsys, *place[1], "--late-device", "gpu"), "--late-device", "cuda:N or auto", "'gpu'")
    monkeypatch.setenv("SMARTRT_LATE_DEVICE", "gpu")
    refused(call(capsys, *place[1]), "SMARTRT_LATE_DEVICE='gpu'", "cuda:N or auto")


@pytest.mark.gpu
@pytest.mark.skipif(NO_CUDA, reason="this build of ONNX Runtime has no CUDA")
@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("on", ["cuda", "auto"])
def test_a_gpu_gives_the_answer_of_the_cpu(storage, on):
    queries, parts = (
        embeddings([9, 1, 40], dim=128),
        cut(embeddings([1, 300, 8] * 20, seed=1, dim=128), [7], storage, [3]),
    )
    assert (on == "auto") == isinstance(late_on(on, storage), Quicker)
    for candidates in (10, "all"):
        here, *there = (
            search(queries, parts, k=5, options=SearchOptions(candidates, device=name)) for name in ("cpu", *[on] * 5)
        )
        assert there == [here] * 5
