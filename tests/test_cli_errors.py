"""What a user can do wrong: exit code 2, one line that names it, and a disk as it was before."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from commandline import FAKE, TEXTS, build_index, call, refused, tree, write_corpus
from smartrt.cli.main import main
from smartrt.errors import SmartrtError
from support import edit_json, flip_bit, rehash, set_key


@pytest.fixture
def place(tmp_path, tiny_path):
    """A directory with a bundle, a corpus and an index of it; the current directory."""
    shutil.copytree(tiny_path, tmp_path / "tiny.smartrt")
    build_index(tmp_path / "docs.index", tiny_path, write_corpus(tmp_path / "corpus.jsonl", TEXTS))
    (tmp_path / "folder").mkdir()
    (tmp_path / "nothing.jsonl").write_bytes(b"\n \n")
    (tmp_path / "empty.npz").write_bytes(b"")
    return tmp_path


BUILD = "index build tiny.smartrt corpus.jsonl -o new.index --engine fake"
SEARCH = "search tiny.smartrt docs.index list --engine fake"
ENCODE = "encode tiny.smartrt list -o new.npz --engine fake"
NEW = ("-o", "new.npz", *FAKE)
EXPLAIN = "explain tiny.smartrt list"
CASES = {
    # where things are
    "inspect, no bundle": ("inspect no.smartrt", ["no.smartrt", "no such directory", "smartrt export"]),
    "inspect, a file": ("inspect corpus.jsonl", ["corpus.jsonl is not a bundle"]),
    "inspect, a directory": ("inspect folder", ["folder is not a bundle", "manifest.json"]),
    "verify, no bundle": ("verify no.smartrt", ["no.smartrt", "smartrt export"]),
    "verify, data and nothing to compare with": ("verify tiny.smartrt --data folder", ["--data", "--against SOURCE"]),
    "encode, no bundle": ("encode no.smartrt list -o new.npz", ["no.smartrt", "smartrt export"]),
    "explain, no bundle": ("explain no.smartrt a b", ["no.smartrt", "smartrt export"]),
    "bench accuracy, no bundle": ("bench accuracy no.smartrt --data folder", ["no.smartrt", "smartrt export"]),
    "bench accuracy, no set": ("bench accuracy tiny.smartrt --data folder", ["folder", "No such file"]),
    "index build, no bundle": ("index build no.smartrt corpus.jsonl -o new.index", ["no.smartrt", "smartrt export"]),
    "index build, no corpus": ("index build tiny.smartrt no.jsonl -o new.index", ["no.jsonl", "No such file"]),
    "index build, a directory": ("index build tiny.smartrt folder -o new.index", ["folder holds no file", ".txt"]),
    "index build, no line": ("index build tiny.smartrt nothing.jsonl -o new.index", ["nothing.jsonl holds no line"]),
    "index build, output exists": (BUILD.replace("new.", "docs."), ["docs.index exists already", "another name"]),
    "index build, output is a file": (BUILD.replace("new.index", "corpus.jsonl"), ["corpus.jsonl exists already"]),
    "index build, output in a file": (BUILD.replace("new.index", "corpus.jsonl/x"), ["corpus.jsonl/x"]),
    "index build, resume no index": (f"{BUILD.replace('new.index', 'folder')} --resume", ["folder is not an index"]),
    "index info, no index": ("index info no.index", ["no.index", "smartrt index build"]),
    "index info, a bundle": ("index info tiny.smartrt", ["tiny.smartrt is not an index"]),
    "index check, no index": ("index check no.index", ["no.index", "smartrt index build"]),
    "search, no index": (SEARCH.replace("docs.index", "no.index"), ["no.index", "smartrt index build"]),
    "search, swapped": (SEARCH.replace("tiny.smartrt docs.index", "docs.index tiny.smartrt"), ["docs.index"]),
    "encode, no output directory": (ENCODE.replace("new.npz", "no/new.npz"), ["no/new.npz", "No such file"]),
    "encode, output is a directory": (ENCODE.replace("new.npz", "folder"), ["cannot write folder"]),
    "encode, no input": (ENCODE.replace(" list", " --input no.jsonl"), ["no.jsonl", "No such file"]),
    # what is asked
    "encode, no text": (ENCODE.replace(" list", ""), ["--input"]),
    "encode, text and input": (f"{ENCODE} --input corpus.jsonl", ["--input", "one of the two"]),
    "encode, no output": ("encode tiny.smartrt list", ["--output"]),
    "encode, unknown side": (f"{ENCODE} --side passage", ["passage", "query", "document"]),
    "search, k of 0": (f"{SEARCH} -k 0", ["-k", "'0'", "from 1 up"]),
    "search, k below 0": (f"{SEARCH} -k -1", ["-k", "'-1'", "from 1 up"]),
    "search, k of a word": (f"{SEARCH} -k x", ["-k", "'x'", "from 1 up"]),
    "search, k of a fraction": (f"{SEARCH} -k 1.5", ["-k", "'1.5'", "from 1 up"]),
    "search, weights of 0": (f"{SEARCH} -k 1 --pooled 0 --late 0", ["pooled=0.0", "late=0.0"]),
    "search, weight is NaN": (f"{SEARCH} -k 1 --late nan", ["late=nan"]),
    "search, pooled is NaN": (f"{SEARCH} -k 1 --pooled nan", ["pooled=nan"]),
    "search, weight is infinite": (f"{SEARCH} -k 1 --late inf", ["late=inf"]),
    "search, weight is a word": (f"{SEARCH} --late much", ["--late", "'much'"]),
    "index build, commit of 0 MB": (f"{BUILD} --commit-mb 0", ["--commit-mb", "'0'"]),
    "explain, empty query": (["explain", "tiny.smartrt", "", "a"], ["query", "empty"]),
    "explain, empty document": (["explain", "tiny.smartrt", "a", "  "], ["document", "empty"]),
    "search, empty query": (["search", "tiny.smartrt", "docs.index", "a", "", *FAKE], ["query 1", "empty"]),
    "encode, empty text": (["encode", "tiny.smartrt", "a", "", *NEW], ["document 1", "empty", "--allow-empty"]),
    "encode, no UTF-8": (["encode", "tiny.smartrt", os.fsdecode(b"\xff"), *NEW], ["document 0", "not valid Unicode"]),
    # engines
    "an unknown engine": (f"{SEARCH} --engine foo", ["--engine", "'foo'", "ort", "fake"]),
    "an unknown device": (f"{EXPLAIN} a --device tpu", ["'tpu'", "cpu, cuda, cuda:N"]),
    "a numbered CPU": (f"{EXPLAIN} a --device cpu:0", ["'cpu:0'", "cpu, cuda, cuda:N"]),
    "a device that the engine has not": (f"{SEARCH} --device cuda", ["fake", "cuda"]),
    "threads of a word": (f"{EXPLAIN} a --threads many", ["--threads", "'many'"]),
    "threads below 0": (f"{EXPLAIN} a --threads -1", ["threads", "-1"]),
    "threads above any machine": (f"{EXPLAIN} a --threads 100000", ["threads", "100000"]),
    "threads that the engine has not": (f"{SEARCH} --threads 2", ["threads", "Fake"]),
    "a token budget of 0": (f"{SEARCH} --token-budget 0", ["token_budget", "0"]),
    # commands and flags
    "an unknown command": ("ask", ["'ask'", "search", "--help"]),
    "an unknown action": ("index make", ["'make'", "build", "--help"]),
    "no action": ("index", ["ACTION", "--help"]),
    "an unknown option": (f"{SEARCH} --top 3", ["--top", "--help"]),
    "an option before the command": ("--json doctor", ["--json", "--help"]),
    "an option without its value": (f"{SEARCH} -k", ["-k", "--help"]),
    "arguments too few": ("explain tiny.smartrt a", ["document", "--image"]),
}


@pytest.mark.parametrize(("arguments", "mentions"), CASES.values(), ids=CASES)
def test_a_mistake_is_one_line_and_leaves_the_disk_as_it_was(capsys, monkeypatch, place, arguments, mentions):
    monkeypatch.chdir(place)
    before = tree(place)
    refused(call(capsys, *(arguments.split() if isinstance(arguments, str) else arguments)), *mentions)
    assert tree(place) == before


VARIABLES = {
    "a whole number": ("K", "x", SEARCH),
    "a number from 1 up": ("K", "0", SEARCH),
    "a number": ("LATE", "much", SEARCH),
    "a choice": ("ENGINE", "foo", SEARCH),
    "a switch": ("JSON", "maybe", "doctor"),
    "a device": ("DEVICE", "tpu", f"{EXPLAIN} a"),
    "threads": ("THREADS", "-2", f"{EXPLAIN} a"),
    "megabytes": ("COMMIT_MB", "-1", BUILD),
}


@pytest.mark.parametrize(("name", "value", "arguments"), VARIABLES.values(), ids=VARIABLES)
def test_a_bad_environment_variable_is_named_with_its_value(capsys, monkeypatch, place, name, value, arguments):
    monkeypatch.chdir(place)
    monkeypatch.setenv(f"SMARTRT_{name}", value)
    arguments = arguments.removesuffix(" --engine fake") if name == "ENGINE" else arguments
    line = refused(call(capsys, *arguments.split()), value)
    assert f"SMARTRT_{name}" in line or name in ("DEVICE", "THREADS")  # these two only the engine can judge


@pytest.mark.parametrize(("name", "value", "advice"), [("K", "x", "from 1 up"), ("JSON", "maybe", "yes")])
def test_a_bad_environment_variable_is_told_what_it_may_be(capsys, monkeypatch, place, name, value, advice):
    monkeypatch.chdir(place)
    monkeypatch.setenv(f"SMARTRT_{name}", value)
    refused(call(capsys, *SEARCH.split()), advice)


def newer(bundle):
    set_key(bundle / "manifest.json", "format_version", 5)


def unknown_key(bundle):
    set_key(bundle / "manifest.json", "colour", "red")


def flipped(bundle):
    flip_bit(bundle / "encoder.onnx.data")


def lost(bundle):
    (bundle / "tokenizer.json").unlink()


def wrong_tokenizer(bundle):
    def swap(tokenizer):
        words = tokenizer["model"]["vocab"]
        words["a"], words["e"] = words["e"], words["a"]

    edit_json(bundle / "tokenizer.json", swap)
    rehash(bundle)


DAMAGES = {
    "a flipped bit": (flipped, ["encoder.onnx.data", "SHA-256", "export it again"]),
    "a lost file": (lost, ["tokenizer.json", "copy the bundle again"]),
    "an unknown key": (unknown_key, ["colour", "upgrade smartrt"]),
    "a newer format": (newer, ["bundle format 5", "upgrade smartrt"]),
    "another tokenizer": (wrong_tokenizer, ["tokenizer.json", "another tokenizer", "export the bundle again"]),
}
USES = ("verify tiny.smartrt --engine fake", ENCODE, BUILD, SEARCH, f"{EXPLAIN} a --engine fake")


@pytest.mark.parametrize("arguments", USES, ids=lambda arguments: arguments.split(" tiny")[0])
@pytest.mark.parametrize(("damage", "mentions"), DAMAGES.values(), ids=DAMAGES)
def test_a_bundle_that_is_not_sound_is_refused_by_every_command(
    capsys, monkeypatch, place, damage, mentions, arguments
):
    monkeypatch.chdir(place)
    damage(place / "tiny.smartrt")
    before = tree(place)
    refused(call(capsys, *arguments.split()), *mentions)
    assert tree(place) == before


@pytest.mark.parametrize("arguments", [SEARCH, f"{BUILD.replace('new.', 'docs.')} --resume"], ids=["search", "resume"])
def test_bundle_and_index_that_do_not_belong_together_are_refused(capsys, monkeypatch, place, arguments):
    monkeypatch.chdir(place)
    set_key(place / "tiny.smartrt" / "manifest.json", "prompts/document", "passage: ")
    before = tree(place)
    refused(call(capsys, *arguments.split()), "docs.index was filled by bundle 'tiny'", "build it again")
    assert tree(place) == before


def test_cuda_that_does_not_load_is_an_error_and_never_a_run_on_the_cpu(capsys, tiny_path):
    onnxruntime = pytest.importorskip("onnxruntime", reason="asks ONNX Runtime for CUDA")
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    finished = call(capsys, "verify", tiny_path, "--device", "cuda")
    refused(finished, "device 'cuda' did not load", "CUDA provider", "device='cpu'")


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("corpus.jsonl", BUILD), ("corpus.jsonl", ENCODE.replace(" list", " --input corpus.jsonl"))],
    ids=["index build", "encode"],
)
def test_a_file_that_may_not_be_read_is_named(capsys, monkeypatch, place, name, arguments):
    monkeypatch.chdir(place)
    opened = Path.open

    def refuse(path, *rest, **options):  # chmod would not stop root
        if path.name == name:
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *rest, **options)

    monkeypatch.setattr(Path, "open", refuse)
    refused(call(capsys, *arguments.split()), name, "Permission denied")


def test_an_empty_query_is_not_told_of_an_argument_that_the_command_line_does_not_have(capsys, place):
    line = refused(call(capsys, "search", place / "tiny.smartrt", place / "docs.index", "", *FAKE))
    assert "allow_empty=" not in line


@pytest.mark.parametrize(
    "arguments",
    ["search tiny.smartrt docs.index -k 1 list --engine fake", "encode tiny.smartrt -o new.npz --engine fake list"],
    ids=["search", "encode"],
)
def test_flags_may_stand_between_the_bundle_and_the_texts(capsys, monkeypatch, place, arguments):
    monkeypatch.chdir(place)
    finished = call(capsys, *arguments.split())
    assert (finished.code, finished.err) == (0, "")


@pytest.mark.parametrize("k", [(), ("-k", "4"), ("-k", "1000000000")], ids=["no k", "4", "a billion"])
def test_an_index_with_fewer_documents_than_k_answers_with_all_it_has(capsys, place, k):
    finished = call(capsys, "search", place / "tiny.smartrt", place / "docs.index", "list", *FAKE, *k)
    assert (finished.code, finished.err) == (0, ""), finished
    assert len(finished.out.splitlines()) == 1 + 3


def test_an_error_of_many_lines_is_printed_as_one(capsys, monkeypatch):
    def run(_):
        raise SmartrtError("first\nsecond\u2028third")

    monkeypatch.setattr("smartrt.cli.doctor.run", run)
    refused(call(capsys, "doctor"), "first", "second", "third")


def test_an_interruption_is_one_line_and_a_bug_keeps_its_traceback(capsys, monkeypatch):
    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr("smartrt.cli.doctor.run", interrupt)
    assert refused(call(capsys, "doctor")) == "smartrt: interrupted"
    monkeypatch.setattr("smartrt.cli.doctor.run", lambda _: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        main(["doctor"])
