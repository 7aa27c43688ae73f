"""Strict JSON: every surprise is an error that says where."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smartrt import strict_json
from smartrt.strict_json import StrictJsonError


@dataclass(frozen=True)
class Leaf:
    count: int
    ratio: float = 0.5


@dataclass(frozen=True)
class Tree:
    name: str
    flag: bool
    side: Literal["left", "right"]
    leaves: tuple[Leaf, ...]
    table: dict[str, Leaf]
    note: str | None
    anything: Any = None


GOOD = {
    "name": "n",
    "flag": True,
    "side": "left",
    "leaves": [{"count": 1}, {"count": 2, "ratio": 3}],
    "table": {"k": {"count": 4}},
    "note": None,
}


@pytest.fixture
def read(tmp_path):
    """Load bytes as a file."""

    def read(content: bytes) -> Any:
        path = tmp_path / "file.json"
        path.write_bytes(content)
        return strict_json.load(path)

    return read


def test_parse_builds_dataclasses_all_the_way_down():
    assert strict_json.parse(Tree, GOOD) == Tree("n", True, "left", (Leaf(1), Leaf(2, 3.0)), {"k": Leaf(4)}, None, None)


def test_a_whole_number_is_taken_for_a_float_and_becomes_one():
    assert type(strict_json.parse(Leaf, {"count": 1, "ratio": 2}).ratio) is float


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"nme": 1}, "nme: unknown key", id="unknown key"),
        pytest.param({"leaves": [{"count": 1}, {"count": 1, "size": 2}]}, "leaves[1].size: unknown key", id="list"),
        pytest.param({"table": {"k": {"count": 1, "x": 2}}}, "table.k.x: unknown key", id="object"),
    ],
)
def test_an_unknown_key_is_named_with_its_place_and_marked(change, message):
    with pytest.raises(StrictJsonError) as caught:
        strict_json.parse(Tree, GOOD | change)
    assert str(caught.value) == message
    assert caught.value.from_the_future


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"name": 1}, "name: expected str, got int 1", id="int for str"),
        pytest.param({"flag": 1}, "flag: expected bool, got int 1", id="int for bool"),
        pytest.param({"flag": None}, "flag: expected bool, got null None", id="null for bool"),
        pytest.param({"leaves": [{"count": True}]}, "leaves[0].count: expected int, got bool True", id="bool for int"),
        pytest.param({"leaves": [{"count": 1.0}]}, "leaves[0].count: expected int, got float 1.0", id="float for int"),
        pytest.param(
            {"leaves": [{"count": 1, "ratio": True}]},
            "leaves[0].ratio: expected float, got bool True",
            id="bool for float",
        ),
        pytest.param(
            {"leaves": [{"count": 1, "ratio": "1"}]},
            "leaves[0].ratio: expected float, got str '1'",
            id="str for float",
        ),
        pytest.param({"leaves": {}}, "leaves: expected list, got object", id="object for list"),
        pytest.param({"leaves": "ab"}, "leaves: expected list, got str", id="str for list"),
        pytest.param({"leaves": [1]}, "leaves[0]: expected an object, got int", id="int for object"),
        pytest.param({"table": []}, "table: expected object, got list", id="list for object"),
        pytest.param({"note": 1}, "note: expected str, got int 1", id="neither str nor null"),
        pytest.param({"side": "up"}, "side: expected one of left, right, got 'up'", id="not a choice"),
        pytest.param({"side": []}, "side: expected one of left, right, got []", id="list for a choice"),
    ],
)
def test_a_wrong_type_is_named_with_its_place(change, message):
    with pytest.raises(StrictJsonError) as caught:
        strict_json.parse(Tree, GOOD | change)
    assert str(caught.value) == message
    assert not caught.value.from_the_future


def test_a_missing_key_is_named_with_its_place():
    with pytest.raises(StrictJsonError, match=r"^leaves\[0\]\.count: missing key$"):
        strict_json.parse(Tree, GOOD | {"leaves": [{}]})
    with pytest.raises(StrictJsonError, match=r"^note: missing key$"):  # None is a value, not a default
        strict_json.parse(Tree, {key: GOOD[key] for key in GOOD if key != "note"})


@pytest.mark.parametrize("data", [[], "a", 1, None, True], ids=["list", "str", "int", "null", "bool"])
def test_the_top_level_must_be_an_object(data):
    with pytest.raises(StrictJsonError, match=r"^top level: expected an object"):
        strict_json.parse(Tree, data)


def test_a_number_too_large_for_a_float_is_refused():
    with pytest.raises(StrictJsonError, match="ratio"):
        strict_json.parse(Leaf, {"count": 1, "ratio": 10**400})


def test_a_newline_in_a_key_does_not_break_the_message_in_two():
    with pytest.raises(StrictJsonError) as caught:
        strict_json.parse(Leaf, {"count": 1, "a\nb": 2})
    assert len(str(caught.value).splitlines()) == 1


def test_a_huge_value_does_not_make_a_huge_message():
    with pytest.raises(StrictJsonError) as caught:
        strict_json.parse(Tree, GOOD | {"side": "x" * 10_000})
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("content", "mentions"),
    [
        pytest.param(b'{"a": 1, "b": 2, "a": 3}', "a: written twice", id="duplicate key"),
        pytest.param(b'{"o": {"a": 1, "a": 1}}', "a: written twice", id="nested duplicate key"),
        pytest.param(b'{"a": NaN}', "NaN is not JSON", id="NaN"),
        pytest.param(b'{"a": -Infinity}', "-Infinity is not JSON", id="infinity"),
        pytest.param(b'{"a": 1e999}', "", id="a float that overflows to infinity"),
        pytest.param(b'{"a": ' + b"1" * 5000 + b"}", "", id="an integer of 5000 digits"),
        pytest.param(b'{"a": "\xff"}', "not JSON", id="not UTF-8"),
        pytest.param(b'{"a": "\\ud800"}', "", id="half a surrogate pair"),
        pytest.param(b'\xef\xbb\xbf{"a": 1}', "not JSON", id="byte order mark"),
        pytest.param('{"a": 1}'.encode("utf-16"), "not JSON", id="UTF-16"),
        pytest.param(b'{"a": 1', "not JSON", id="cut off"),
        pytest.param(b'{"a": 1} x', "not JSON", id="something after the end"),
        pytest.param(b"", "not JSON", id="empty file"),
        pytest.param(b"[" * 200_000, "not JSON", id="nested too deep"),
    ],
)
def test_what_is_not_plain_json_is_refused_in_one_line(read, content, mentions):
    with pytest.raises(StrictJsonError) as caught:
        read(content)
    assert mentions in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_file_over_the_limit_is_refused_before_it_is_read(read, monkeypatch):
    content = b'{"a": 1}'
    monkeypatch.setattr(strict_json, "MAX_BYTES", len(content))
    assert read(content) == {"a": 1}
    with pytest.raises(StrictJsonError, match="9 bytes is over the limit of 8"):
        read(content + b" ")


texts = st.text(max_size=5)
leaves = st.builds(Leaf, st.integers(), st.floats(allow_nan=False, allow_infinity=False))
trees = st.builds(
    Tree,
    name=texts,
    flag=st.booleans(),
    side=st.sampled_from(["left", "right"]),
    leaves=st.lists(leaves, max_size=3).map(tuple),
    table=st.dictionaries(texts, leaves, max_size=3),
    note=st.none() | texts,
    anything=st.none() | texts | st.booleans() | st.lists(st.integers(), max_size=2),
)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """One file for many examples."""
    return tmp_path_factory.mktemp("json") / "tree.json"


@settings(deadline=None, max_examples=80)
@given(tree=trees)
def test_what_was_written_is_read_back_equal(path, tree):
    path.write_text(strict_json.dumps(tree), encoding="utf-8", newline="")
    assert strict_json.parse(Tree, strict_json.load(path)) == tree


def test_there_is_one_spelling_on_disk():
    assert strict_json.dumps({"b": 1, "a": "é"}) == '{\n  "a": "é",\n  "b": 1\n}\n'
    assert strict_json.dumps(Leaf(1)) == strict_json.dumps(dataclasses.asdict(Leaf(1)))


def test_nan_is_not_written():
    with pytest.raises(ValueError, match="not JSON compliant"):
        strict_json.dumps({"a": float("nan")})
