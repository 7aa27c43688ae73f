"""Encoded texts on disk: found by all that decides them, checked when read, bounded, shared by processes."""

from __future__ import annotations

import io
import os
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smartrt import Embeddings, TokenStates
from smartrt.benchmarks.accuracy.encoded import EncodedCache, default_directory, key_of
from smartrt.errors import InputError, OptionError, StorageError
from support import embeddings, flip_bit, message_of, run_python

ABOUT = {"bundle": "0" * 64, "options": {"threads": 1}}
TEXTS = ("sort a list", "open a file", "sort a list", "")


class Counting:
    """Encodes by the text alone, and remembers what it was asked for."""

    def __init__(self):
        self.asked = []

    def __call__(self, texts, side):
        self.asked.append((list(texts), side))
        made = [embeddings([1 + len(text) % 5], seed=len(text), dim=8) for text in texts]
        return Embeddings.concatenate(made)


@pytest.fixture
def cache(tmp_path):
    return EncodedCache.open(tmp_path / "encoded")


def entries(cache):
    return sorted(cache.directory.glob("*.npz"))


def same(one, other):
    return all(
        np.array_equal(a, b) and a.dtype == b.dtype
        for a, b in (
            (one.pooled, other.pooled),
            (one.tokens.values, other.tokens.values),
            (one.tokens.offsets, other.tokens.offsets),
            (one.truncated, other.truncated),
        )
    )


def test_what_was_encoded_comes_back_to_the_last_bit_and_is_not_encoded_again(cache):
    encode = Counting()
    first = cache.encode(ABOUT, encode, TEXTS, "document")
    again = cache.encode(ABOUT, encode, TEXTS, "document")
    assert same(first, again)
    assert encode.asked == [(["sort a list", "open a file", ""], "document")]
    assert (cache.hits, cache.misses, len(entries(cache))) == (1, 1, 1)


def test_each_distinct_text_is_encoded_once_and_every_row_is_there(cache):
    found = cache.encode(ABOUT, Counting(), TEXTS, "query")
    assert len(found) == 4
    assert np.array_equal(found.tokens[0], found.tokens[2])


@pytest.mark.parametrize(
    ("about", "texts", "side"),
    [
        (ABOUT | {"bundle": "1" * 64}, TEXTS, "query"),
        (ABOUT | {"options": {"threads": 2}}, TEXTS, "query"),
        (ABOUT | {"device": "cuda"}, TEXTS, "query"),
        (ABOUT, TEXTS, "document"),
        (ABOUT, (*TEXTS, "x"), "query"),
        (ABOUT, TEXTS[:1], "query"),
        (ABOUT, TEXTS[1::-1], "query"),
    ],
    ids=["weights", "an option", "one more option", "side", "one more text", "one less", "another order"],
)
def test_whatever_decides_the_vectors_makes_another_entry(cache, about, texts, side):
    encode = Counting()
    cache.encode(ABOUT, encode, TEXTS, "query")
    cache.encode(about, encode, texts, side)
    assert (cache.hits, len(encode.asked), len(entries(cache))) == (0, 2, 2)


@given(st.lists(st.text(), max_size=4), st.lists(st.text(), max_size=4))
def test_only_equal_texts_have_equal_keys(one, other):
    assert (key_of(ABOUT, one, "query") == key_of(ABOUT, other, "query")) == (one == other)


def test_the_order_of_what_decides_does_not_matter_and_half_a_character_has_a_key():
    assert key_of({"a": 1, "b": 2}, ["\ud800"], "query") == key_of({"b": 2, "a": 1}, ["\ud800"], "query")


def test_an_entry_is_the_same_for_another_process():
    script = (
        "import sys; from smartrt.benchmarks.accuracy.encoded import key_of; "
        "print(key_of({'bundle': '0' * 64, 'options': {'threads': 1}}, sys.argv[1:], 'query'))"
    )
    assert run_python(script, *TEXTS).stdout.strip() == key_of(ABOUT, TEXTS, "query")


def archive(**arrays):
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def sound(key, **changed):
    """The arrays of an entry of three texts, some of them replaced."""
    made = embeddings([1, 2, 1], dim=8)
    arrays = {"key": np.array(key), "pooled": made.pooled, "values": made.tokens.values}
    return arrays | {"offsets": made.tokens.offsets, "truncated": made.truncated} | changed


WRONG = {
    "empty": lambda _: b"",
    "no archive": lambda _: b"PK\x03\x04 nothing",
    "a plain array": lambda _: _npy(np.zeros(3)),
    "a pickle": lambda key: archive(**sound(key, pooled=np.array([{"x": 1}], object))),
    "another key": lambda key: archive(**sound(key[::-1])),
    "an array too few": lambda key: archive(**{n: a for n, a in sound(key).items() if n != "truncated"}),
    "an array too many": lambda key: archive(**sound(key), extra=np.zeros(1)),
    "too few rows": lambda key: archive(
        **sound(key, pooled=np.zeros((2, 8), np.float32), truncated=np.zeros(2, int), offsets=np.array([0, 2, 4]))
    ),
    "NaN": lambda key: archive(**sound(key, pooled=np.full((3, 8), np.nan, np.float32))),
    "float64": lambda key: archive(**sound(key, pooled=np.zeros((3, 8)))),
    "falling offsets": lambda key: archive(**sound(key, offsets=np.array([0, 3, 2, 4]))),
    "a text without tokens": lambda key: archive(**sound(key, offsets=np.array([0, 0, 3, 4]))),
    "tokens that are not of length 1": lambda key: archive(**sound(key, values=np.full((4, 8), 0.5, np.float32))),
}


def _npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


@pytest.mark.parametrize("content", WRONG.values(), ids=WRONG)
def test_a_damaged_entry_is_encoded_again_said_and_replaced(cache, capsys, content):
    encode = Counting()
    wanted = cache.encode(ABOUT, encode, TEXTS, "query")
    (path,) = entries(cache)
    path.write_bytes(content(path.stem))
    assert same(cache.encode(ABOUT, encode, TEXTS, "query"), wanted)
    line = capsys.readouterr().err
    assert len(line.splitlines()) == 1
    assert f"{path} are damaged" in line
    assert same(cache.encode(ABOUT, encode, TEXTS, "query"), wanted)
    assert (cache.hits, len(encode.asked), capsys.readouterr().err) == (1, 2, "")


def test_no_bit_and_no_cut_of_an_entry_changes_a_vector(tmp_path):
    cache = EncodedCache.open(tmp_path)
    wanted = cache.encode(ABOUT, Counting(), ["a", "bc"], "query")
    (path,) = entries(cache)
    whole = path.read_bytes()
    hurt = [whole[:size] for size in range(0, len(whole), 41)]
    for position in range(0, len(whole), 3):  # of a header, an array, or the archive's directory
        flip_bit(path, position)
        hurt.append(path.read_bytes())
        path.write_bytes(whole)
    for content in hurt:
        path.write_bytes(content)
        assert same(cache.encode(ABOUT, Counting(), ["a", "bc"], "query"), wanted)
    assert cache.misses > len(hurt) / 2  # a date in the archive's directory is nobody's concern


class Wrong:
    """Encodes as it was told to."""

    def __init__(self, made):
        self.made = made

    def __call__(self, _texts, _side):
        return self.made


@pytest.mark.parametrize(
    "made",
    [embeddings([1, 1]), Embeddings(np.full((3, 8), np.nan, np.float32), embeddings([1] * 3).tokens, np.zeros(3, int))],
    ids=["too few rows", "NaN"],
)
def test_what_no_encoder_may_return_is_refused_and_not_kept(cache, made):
    with pytest.raises(InputError):
        cache.encode(ABOUT, Wrong(made), TEXTS, "query")
    assert entries(cache) == []


def test_float16_tokens_stay_float16(cache):
    made = embeddings([1, 2, 1], dim=8)
    half = Embeddings(
        made.pooled, TokenStates(made.tokens.values.astype(np.float16), made.tokens.offsets), made.truncated
    )
    for _ in range(2):
        assert cache.encode(ABOUT, Wrong(half), TEXTS, "query").tokens.values.dtype == np.float16
    assert cache.hits == 1


def age(path, seconds):
    then = time.time() - seconds
    os.utime(path, (then, then))


def test_the_least_recently_used_entries_go_first(tmp_path):
    cache = EncodedCache.open(tmp_path)
    paths = {name: tmp_path / f"{key_of({'name': name}, TEXTS[:2], 'query')}.npz" for name in "abcde"}
    for seconds, name in enumerate("dcba"):
        cache.encode({"name": name}, Counting(), TEXTS[:2], "query")
        age(paths[name], 100 + seconds)
    size = paths["a"].stat().st_size
    small = EncodedCache.open(tmp_path, 4 * size + 4096)  # four, and what a new one may take beside its vectors
    small.encode({"name": "a"}, Counting(), TEXTS[:2], "query")  # the oldest, but used now
    assert small.hits == 1
    small.encode({"name": "e"}, Counting(), TEXTS[:2], "query")
    assert [name for name, path in paths.items() if path.exists()] == ["a", "c", "d", "e"]


def test_an_entry_larger_than_the_limit_is_not_kept_and_drives_no_other_out(tmp_path, capsys):
    EncodedCache.open(tmp_path).encode(ABOUT, Counting(), TEXTS, "query")
    small = EncodedCache.open(tmp_path, 100)
    assert len(small.encode(ABOUT, Counting(), TEXTS, "document")) == 4
    assert "over the limit" in capsys.readouterr().err
    assert len(entries(small)) == 1


def test_other_files_in_the_directory_are_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("x" * 9999)
    cache = EncodedCache.open(tmp_path, 6000)
    for name in "ab":
        cache.encode({"name": name}, Counting(), TEXTS, "query")
    assert (tmp_path / "notes.txt").is_file()
    assert len(entries(cache)) == 1


def test_a_disk_that_refuses_costs_the_entry_and_not_the_measurement(cache, capsys):
    cache.directory.rmdir()
    cache.directory.write_text("a file where the directory was")
    assert len(cache.encode(ABOUT, Counting(), TEXTS, "query")) == 4
    assert "refuses an entry" in capsys.readouterr().err


def test_a_directory_that_cannot_be_made_is_known_first(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError) as caught:
        EncodedCache.open(tmp_path / "file" / "cache")
    message_of(caught.value, "cannot write")


def test_a_limit_of_nothing_is_refused(tmp_path):
    with pytest.raises(OptionError, match="got 0"):
        EncodedCache.open(tmp_path, 0)


def test_what_killed_processes_left_goes_and_what_is_being_written_stays(tmp_path):
    for name, seconds in (("old", 7200), ("new", 5)):
        (tmp_path / f".{name}.tmp").write_text("")
        age(tmp_path / f".{name}.tmp", seconds)
    EncodedCache.open(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".new.tmp"]


def test_an_entry_that_another_process_removes_while_it_is_read_is_read_to_its_end(cache):
    cache.encode(ABOUT, Counting(), TEXTS, "query")
    (path,) = entries(cache)
    with path.open("rb") as file:
        EncodedCache.open(cache.directory, 6000).encode({"name": "b"}, Counting(), TEXTS, "query")
        assert not path.exists()
        assert len(np.load(file)["pooled"]) == 3


SHARED = """
import sys
from pathlib import Path
import numpy as np
from smartrt import Embeddings, TokenStates
from smartrt.benchmarks.accuracy.encoded import EncodedCache
def encode(texts, side):
    rows = np.eye(len(texts), dtype=np.float32)
    return Embeddings(rows, TokenStates(rows, np.arange(len(texts) + 1)), np.zeros(len(texts), np.int64))
cache = EncodedCache.open(Path(sys.argv[1]), 9_000)
for i in range(150):
    found = cache.encode({"name": i % 7}, encode, ["a", "b", "c"], "query")
    assert np.array_equal(found.pooled, np.eye(3, dtype=np.float32))
"""


def test_processes_that_share_a_directory_do_not_hurt_each_other(tmp_path):
    with ThreadPoolExecutor(3) as pool:
        for done in pool.map(lambda _: run_python(SHARED, tmp_path), range(3)):
            assert (done.returncode, done.stderr) == (0, "")
    assert not list(tmp_path.glob(".*"))


def test_the_default_directory_is_where_caches_belong(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_directory() == tmp_path / "smartrt" / "encoded"
