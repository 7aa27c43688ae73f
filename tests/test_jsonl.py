"""JSON Lines: what is read, what is refused, and with which line number."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from smartrt.errors import InputError
from smartrt.jsonl import Record, check_records, read_records
from support import message_of

GOOD = b'{"id": "a", "text": "x"}\n'
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
META = st.dictionaries(
    TEXT.filter(lambda key: key not in ("id", "text")),
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXT,
        lambda inner: st.lists(inner, max_size=3),
        max_leaves=5,
    ),
    max_size=3,
)
shared_directory = settings(deadline=None, max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def file(tmp_path):
    return tmp_path / "corpus.jsonl"


@shared_directory
@given(st.lists(st.tuples(TEXT.filter(bool), TEXT, META), max_size=5), st.booleans(), st.sampled_from(["\n", "\r\n"]))
def test_every_record_comes_back_as_it_was_written(file, rows, escaped, end):
    wanted = [Record(name, text, meta) for name, text, meta in rows]
    lines = [json.dumps({"id": r.id, "text": r.text} | r.meta, ensure_ascii=escaped) for r in wanted]
    file.write_bytes(end.join(lines).encode())
    assert list(read_records(file)) == wanted


@shared_directory
@given(st.lists(st.sampled_from([b"{", b'"id"', b"id", b":", b'"', b"[", b"1e9", b"\xff", b"\xe2\x80\xa8", b"\\u"])))
@example([b'["x\xe2\x80\xa8y"]'])
@example([b'{"id": "x\xc2\x85y", "text": 1}'])
@example([b'{"id": ["x\xe2\x80\xa8y"]}'])
def test_whatever_stands_in_a_line_the_refusal_is_one_line_with_its_number(file, pieces):
    file.write_bytes(GOOD + b"".join(pieces) + b'\n{"id": "z", "text": "z"}\n')
    try:
        records = list(read_records(file))
    except InputError as error:
        message_of(error, f"{file} line 2")
    else:
        assert [record.id for record in records] == ["a", "z"]


@pytest.mark.parametrize("mark", ["\u0085", "\u2028", "\u2029", "\x0b", "\x0c", "\x1c", "\x1e"], ids=ascii)
def test_only_a_newline_ends_a_line(file, mark):
    file.write_text(json.dumps({"id": f"a{mark}b", "text": f"{mark}x{mark}"}, ensure_ascii=False), encoding="utf-8")
    assert list(read_records(file)) == [Record(f"a{mark}b", f"{mark}x{mark}", {})]


def test_everything_beside_id_and_text_is_metadata(file):
    file.write_text('{"text": "x", "n": 1, "id": "a", "deep": {"id": [null]}}')
    assert list(read_records(file)) == [Record("a", "x", {"n": 1, "deep": {"id": [None]}})]


def test_records_are_read_as_they_are_asked_for(file):
    file.write_bytes(GOOD + GOOD + b"not JSON\n")
    records = read_records(file)
    assert len(list(itertools.islice(records, 2))) == 2
    with pytest.raises(InputError, match="line 3"):
        next(records)


@pytest.mark.parametrize(("content", "count"), [(GOOD, 1), (GOOD.rstrip(), 1), (b"\n \r\n" + GOOD + b"\n\n", 1)])
def test_check_counts_the_records_and_skips_blank_lines(file, content, count):
    file.write_bytes(content)
    assert check_records(file, allow_empty=False) == count


def test_line_numbers_count_blank_lines(file):
    file.write_bytes(b"\n\n" + GOOD + b"\n{}\n")
    with pytest.raises(InputError, match="line 5"):
        check_records(file, allow_empty=False)


REFUSED = {
    "not UTF-8": (b'{"id": "b", "text": "x\xffy"}', ["not UTF-8", "0xff", "column 23"]),
    "cut inside a character": (b'{"id": "b", "text": "\xc3', ["not UTF-8"]),
    "UTF-16": ('{"id": "b", "text": "x"}'.encode("utf-16"), ["not UTF-8"]),
    "a word": (b"nope", ["not JSON"]),
    "cut off": (b'{"id": "b", "te', ["not JSON"]),
    "two objects": (GOOD.rstrip() + GOOD, ["not JSON"]),
    "nested too deep": (b'{"id": "b", "text": "x", "m": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", ["not JSON"]),
    "a number of 5000 digits": (b'{"id": "b", "text": "x", "n": ' + b"9" * 5000 + b"}", ["not JSON"]),
    "not a number": (b'{"id": "b", "text": "x", "n": NaN}', ["NaN"]),
    "infinity": (b'{"id": "b", "text": "x", "n": -Infinity}', ["Infinity"]),
    "half a surrogate pair in a text": (b'{"id": "b", "text": "\\ud83d"}', ["surrogate"]),
    "half a surrogate pair in an id": (b'{"id": "\\ud83d", "text": "x"}', ["surrogate"]),
    "half a surrogate pair in metadata": (b'{"id": "b", "text": "x", "m": "\\ud83d"}', ["surrogate"]),
    "a list": (b'["b", "x"]', ["an object with id and text", "b"]),
    "a string": (b'"b"', ["an object with id and text"]),
    "null": (b"null", ["an object with id and text", "null"]),
    "no id": (b'{"text": "x"}', ["'id'"]),
    "an id that is a number": (b'{"id": 17, "text": "x"}', ["'id' as a string", "17"]),
    "an id that is null": (b'{"id": null, "text": "x"}', ["'id' as a string"]),
    "an empty id": (b'{"id": "", "text": "x"}', ["'id'", "''"]),
    "no text": (b'{"id": "b"}', ["'text'"]),
    "a text that is a list": (b'{"id": "b", "text": ["x"]}', ["'text' as a string", "['x']"]),
    "an endless value": (b'{"id": "b", "text": ' + b"[" + b"1," * 9999 + b"1]}", ["'text' as a string"]),
}


@pytest.mark.parametrize(("line", "mentions"), REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize(
    "read",
    [lambda path: list(read_records(path)), lambda path: check_records(path, allow_empty=True)],
    ids=["read", "check"],
)
def test_a_bad_line_is_refused_by_its_number(file, read, line, mentions):
    file.write_bytes(GOOD + line + b"\n")
    with pytest.raises(InputError) as caught:
        read(file)
    assert len(message_of(caught.value, f"{file} line 2", *mentions)) < len(str(file)) + 200


def test_a_line_that_is_not_json_is_given_one_line_number_only(file):
    file.write_bytes(GOOD + b"nope\n")
    with pytest.raises(InputError) as caught:
        check_records(file, allow_empty=True)
    assert "line 1" not in message_of(caught.value, "line 2")


def test_a_byte_order_mark_is_named_or_read(file):
    file.write_bytes(b"\xef\xbb\xbf" + GOOD)
    try:
        (record,) = read_records(file)
    except InputError as error:
        message_of(error, "line 1", "BOM")
    else:
        assert record == Record("a", "x", {})


def test_an_id_used_twice_is_refused_with_both_line_numbers(file):
    file.write_bytes(GOOD + b'{"id": "b", "text": "x"}\n\n' + GOOD)
    with pytest.raises(InputError) as caught:
        check_records(file, allow_empty=False)
    message_of(caught.value, f"{file} line 4: id 'a' was used on line 1")


@pytest.mark.parametrize("text", ["", " ", "\\n\\t", "\\u00a0\\u2028"])
def test_an_empty_text_is_refused_unless_that_is_allowed(file, text):
    file.write_text(GOOD.decode() + f'{{"id": "b", "text": "{text}"}}\n')
    with pytest.raises(InputError) as caught:
        check_records(file, allow_empty=False)
    message_of(caught.value, f"{file} line 2: document 'b' has an empty text", "--allow-empty")
    assert check_records(file, allow_empty=True) == 2


@pytest.mark.parametrize("content", [b"", b"\n", b" \n\t\r\n"])
def test_a_file_without_a_line_is_refused(file, content):
    file.write_bytes(content)
    with pytest.raises(InputError) as caught:
        check_records(file, allow_empty=True)
    message_of(caught.value, f"{file} holds no line")


@pytest.mark.parametrize("name", ["missing.jsonl", "", "corpus.jsonl/inside"])
def test_a_file_that_cannot_be_read_is_refused(file, name):
    file.write_bytes(GOOD)
    with pytest.raises(InputError) as caught:
        check_records(file.parent / name, allow_empty=True)
    message_of(caught.value, f"cannot read {file.parent / name}: ")
