"""`smartrt bench maxsim`: the made-up vectors, who scores them, the measurement, and maxsim-cpu beside it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from commandline import call, refused
from smartrt.benchmarks.scoring import contenders as scorers
from smartrt.benchmarks.scoring import measure as measuring
from smartrt.benchmarks.scoring.cases import CASES, Case, make
from smartrt.benchmarks.scoring.measure import OURS, PEER, measure
from smartrt.benchmarks.scoring.probes import Probes
from smartrt.errors import EngineError
from support import message_of

TINY = {"tiny": Case(2, 6, 64, 40, (3, 20)), "same length": Case(1, 5, 64, 25, (7, 7))}
STORED = {"smartrt int16": 1e-4, "smartrt int8": 1e-2, "smartrt float16": 1e-3, "smartrt float32": 1e-6}
PLAIN = ("numpy loop", "numpy padded", "torch, as SMART", "torch, as ColPali")
VALUES = {
    "wall_ms", "cpu_ms", "wall_ratio", "cpu_ratio", "share_of_sgemm", "samples", "max_error", "top_10",
}  # fmt: skip


@pytest.fixture(autouse=True)
def tiny_cases(monkeypatch):
    """Cases that take no time, beside the others; and no maxsim-cpu, even where it is installed."""
    for name, case in TINY.items():
        monkeypatch.setitem(CASES, name, case)
    monkeypatch.setattr(measuring, "installed", lambda: False)
    monkeypatch.setattr(measuring, "_PAUSE", 0)


@pytest.fixture
def change(monkeypatch):
    """Puts something else in the place of some contenders, or leaves all others out."""

    def apply(changed, *, only=()):
        def made(data, threads):
            honest = scorers.contenders(data, threads)
            every = honest | {name: scorer(honest) for name, scorer in changed.items()}
            return {name: every[name] for name in only or every}

        monkeypatch.setattr(measuring, "contenders", made)

    return apply


def truth_of(data):
    """Late scores in float64, one product at a time."""
    return np.array(
        [
            [
                (query.astype(np.float64) @ rows.astype(np.float64).T).max(axis=1).mean()
                for rows in data.documents.tokens
            ]
            for query in data.queries.tokens
        ]
    )


@pytest.mark.parametrize("name", [*CASES, *TINY])
def test_vectors_have_the_sizes_of_their_case_and_are_the_same_every_time(name):
    case, data = (CASES | TINY)[name], make((CASES | TINY)[name])
    again = make(case)
    for one, other in ((data.queries, again.queries), (data.documents, again.documents)):
        np.testing.assert_array_equal(one.tokens.values, other.tokens.values)
        np.testing.assert_array_equal(one.tokens.offsets, other.tokens.offsets)
        np.testing.assert_array_equal(one.pooled, other.pooled)
        assert one.tokens.dim == case.dim
        assert one.tokens.values.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(one.tokens.values, axis=1), 1, rtol=0, atol=1e-6)
        np.testing.assert_allclose(np.linalg.norm(one.pooled, axis=1), 1, rtol=0, atol=1e-6)
    assert data.queries.tokens.lengths.tolist() == [case.query_tokens] * case.queries
    assert len(data.documents) == case.documents
    assert (
        case.tokens[0] <= data.documents.tokens.lengths.min() <= data.documents.tokens.lengths.max() <= case.tokens[1]
    )
    pairs = sum(len(query) * len(rows) for query in data.queries.tokens for rows in data.documents.tokens)
    assert data.flop == 2 * pairs * case.dim
    assert str(case.documents) in case.label
    assert str(case.dim) in case.label


def test_another_seed_makes_other_vectors():
    one, other = make(TINY["tiny"]), make(TINY["tiny"], seed=1)
    assert not np.array_equal(one.queries.tokens.values, other.queries.tokens.values)


@pytest.mark.parametrize("name", [*TINY, "text-8", "wide-32", "batch-16"])
def test_a_query_has_one_document_far_above_the_others(name):
    best = np.sort(truth_of(make((CASES | TINY)[name])), axis=1)
    assert (best[:, -1] > 0.85).all()
    assert (best[:, -2] < best[:, -1] - 0.1).all()


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("case", TINY.values(), ids=TINY)
def test_every_contender_agrees_with_float64(case, threads):
    pytest.importorskip("torch", reason="two contenders run in PyTorch")
    pytest.importorskip("onnxruntime", reason="the first pass runs in ONNX Runtime")
    data = make(case)
    truth, made = truth_of(data), scorers.contenders(data, threads)
    best = np.argsort(-truth, axis=1, kind="stable")[:, :10]
    searches = ("search int16", "search int16, 8 bits first", "search int8", "search int8, 8 bits first")
    assert set(made) == {*STORED, *PLAIN, *searches}
    for name in (*STORED, *PLAIN):
        scores = made[name]()
        assert scores.shape == truth.shape
        if name == "torch, as ColPali":  # the zeros it pads with take part in the maximum
            assert (scores >= truth - 2e-6).all()
            scores = np.minimum(scores, truth)
        np.testing.assert_allclose(scores, truth, rtol=0, atol=STORED.get(name, 2e-6), err_msg=name)
    for name in searches:
        found = [[place.position for place in row] for row in made[name]()]
        assert [row[0] for row in found] == best[:, 0].tolist()
        assert "int16" not in name or found == best.tolist(), name
    assert made["search int8"]() == made["search int8, 8 bits first"]()


def test_without_pytorch_its_contenders_are_left_out(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert not {name for name in scorers.contenders(make(TINY["tiny"]), 1) if "torch" in name}


def test_the_measurement_is_json_and_says_what_was_measured():
    done = []
    result = measure("tiny", 1, 2, done.append)
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert done == [1, 1, 1]
    assert set(result) == {
        "case", "label", "gflop", "threads", "rounds", "probes", "noisy", "contenders", "crashed", "wrong",
    }  # fmt: skip
    assert (result["case"], result["threads"], result["rounds"], result["crashed"]) == ("tiny", 1, 2, [])
    assert result["label"] == "2 x 6 query tokens, 40 documents of 3-20, 64 dims"
    assert set(result["probes"]) == {"gflop_per_cpu_s", "gflop_per_s", "read_gb_per_s"}
    assert all(value > 0 for value in result["probes"].values())
    assert {*STORED, *PLAIN[:2], "search int16", "search int8"} <= set(result["contenders"])
    for name, values in result["contenders"].items():
        assert set(values) == VALUES
        assert len(values["samples"]) == 2
        assert all(sample["wall_s"] > 0 and sample["cpu_s"] > 0 for sample in values["samples"])
        assert all(values[key] > 0 for key in ("wall_ms", "cpu_ms", "wall_ratio", "cpu_ratio", "share_of_sgemm"))
        assert (values["max_error"] is None) == name.startswith("search ")
        assert values["top_10"] == 1 or "int8" in name or "ColPali" in name
    assert result["contenders"][OURS]["wall_ratio"] == result["contenders"][OURS]["cpu_ratio"] == 1
    assert result["contenders"]["smartrt float32"]["max_error"] < 2e-6


def test_a_contender_that_is_slowed_has_a_larger_ratio(change):
    def slowed(honest):
        scorer, square = honest["numpy loop"], np.ones((300, 300))

        def score():
            for _ in range(40):
                square @ square
            return scorer()

        return score

    change({"slow": slowed}, only=(*STORED, "numpy loop", "slow"))
    values = measure("tiny", 1, 3)["contenders"]
    for key in ("wall_ratio", "cpu_ratio", "wall_ms", "cpu_ms"):
        assert values["slow"][key] > 1.5 * values["numpy loop"][key]
    assert values["slow"]["share_of_sgemm"] < values["numpy loop"]["share_of_sgemm"]


def test_ratios_are_medians_of_the_ratios_within_a_round(monkeypatch, change):
    change({}, only=STORED)
    seconds = {name: iter([9, 8, 6, 4]) for name in STORED}  # the first of each is the warm-up
    seconds[OURS] = iter([9, 1, 2, 4])

    def sample(name, made, _peer, _threads, seen):
        seen[name] = made[name]()
        value = float(next(seconds[name]))
        return {"wall_s": value, "cpu_s": 2 * value}

    monkeypatch.setattr(measuring, "_sample", sample)
    monkeypatch.setattr(Probes, "run", lambda _: {"gflop_per_cpu_s": 2.0, "gflop_per_s": 2.0, "read_gb_per_s": 1.0})
    result = measure("tiny", 1, 3)
    slow = result["contenders"]["smartrt float32"]
    assert (slow["wall_ratio"], slow["cpu_ratio"], slow["wall_ms"], slow["cpu_ms"]) == (3, 3, 6000, 12000)
    assert slow["share_of_sgemm"] == pytest.approx(result["gflop"] / 12 / 2)
    assert [run["wall_s"] for run in slow["samples"]] == [8, 6, 4]
    assert result["noisy"] is False


@pytest.mark.parametrize("wrong", [0.1, np.nan], ids=["off", "NaN"])
@pytest.mark.parametrize("name", STORED)
def test_wrong_scores_of_smartrt_are_an_error_and_nothing_is_compared(change, name, wrong):
    change({name: lambda honest: lambda: honest[name]() + np.float32(wrong)})
    with pytest.raises(EngineError) as caught:
        measure("tiny", 1, 1)
    message_of(caught.value, f"smartrt's {name.removeprefix('smartrt ')} scores are off by", "a bug")


@pytest.mark.parametrize("storage", ["int16", "int8"])
def test_a_first_pass_that_changes_the_answer_is_an_error(change, storage):
    rough = f"search {storage}, 8 bits first"
    change({rough: lambda honest: lambda: [row[::-1] for row in honest[f"search {storage}"]()]})
    with pytest.raises(EngineError) as caught:
        measure("tiny", 1, 1)
    message_of(caught.value, rough, f"search {storage}", "differ")


@pytest.mark.parametrize(("last", "noisy"), [(1.0, False), (1.14, False), (1.16, True), (0.84, True)])
@pytest.mark.parametrize("key", ["gflop_per_cpu_s", "gflop_per_s", "read_gb_per_s"])
def test_a_probe_that_moved_is_told(monkeypatch, change, key, last, noisy):
    change({}, only=STORED)
    steady = dict.fromkeys(("gflop_per_cpu_s", "gflop_per_s", "read_gb_per_s"), 50.0)
    probed = iter([steady | {key: 500.0}, steady, steady, steady | {key: 50.0 * last}])  # the warm-up does not count
    monkeypatch.setattr(Probes, "run", lambda _: next(probed))
    assert measure("tiny", 1, 3)["noisy"] is noisy


def test_the_probes_say_what_the_machine_can_do():
    probe = Probes(1).run()
    assert set(probe) == {"gflop_per_cpu_s", "gflop_per_s", "read_gb_per_s"}
    assert all(0.01 < value < 1e5 for value in probe.values())


def test_the_command_prints_a_table(capsys):
    finished = call(capsys, "bench", "maxsim", "--cases", "tiny", "same length", "--threads", "1", "--rounds", "1")
    assert (finished.code, finished.err) == (0, "")
    heads = [line for line in finished.out.splitlines() if not line.startswith(" ")]
    assert [line.split(", threads 1")[0] for line in heads] == [
        "2 x 6 query tokens, 40 documents of 3-20, 64 dims: 0.0 GFLOP",
        "5 query tokens, 25 documents of 7, 64 dims: 0.0 GFLOP",
    ]
    for name in ("smartrt int16", "smartrt float32", "numpy loop", "search int8"):
        assert sum(line.startswith(f"  {name}  ") for line in finished.out.splitlines()) == 2
    assert "crashed" not in finished.out


def test_the_command_prints_json(capsys, monkeypatch):
    monkeypatch.setenv("SMARTRT_CASES", "tiny")
    finished = call(capsys, "bench", "maxsim", "--threads", "1", "2", "1", "--rounds", "1", "--json")
    assert (finished.code, finished.err) == (0, "")
    assert set(finished.json) == {"machine", "results"}
    assert {"cpu", "cores", "load", "blas_kernels", "libraries"} <= set(finished.json["machine"])
    assert [(result["case"], result["threads"]) for result in finished.json["results"]] == [("tiny", 1), ("tiny", 2)]


def test_a_peer_that_crashed_is_said_below_the_table(capsys, monkeypatch):
    honest = measuring.measure
    monkeypatch.setattr(measuring, "measure", lambda *given: honest(*given) | {"crashed": [PEER], "noisy": True})
    out = call(capsys, "bench", "maxsim", "--cases", "tiny", "--threads", "1", "--rounds", "1").out.splitlines()
    assert out[0].endswith("; NOISY: a probe moved by more than 15 %")
    assert out[-1] == "  maxsim-cpu crashed"


@pytest.mark.parametrize(
    ("flags", "mentions"),
    [
        (("--cases", "huge"), ("--cases", "'huge'", "text-8")),
        (("--threads", "0"), ("--threads", "'0'", "from 1 up")),
        (("--rounds", "0"), ("--rounds", "'0'", "from 1 up")),
    ],
    ids=["case", "threads", "rounds"],
)
def test_what_cannot_be_measured_is_refused(capsys, flags, mentions):
    refused(call(capsys, "bench", "maxsim", *flags), *mentions)
