"""The request that a compiler process reads: written, read again, and hostile."""

from __future__ import annotations

import json

import pytest

from smartrt.errors import InputError
from smartrt.tensorrt.request import CompileRequest, Profile
from support import message_of

PROFILE = Profile({"x": ((1, 1), (2, 8), (4, 16)), "n": ((), (), ())})
REQUEST = CompileRequest("g.onnx", "g.plan", "times", (PROFILE, PROFILE), 1 << 30, 3, tf32=True)


def test_a_request_is_read_as_it_was_written(tmp_path):
    path = tmp_path / "r.json"
    for request in (REQUEST, CompileRequest("a", "b", None, ())):
        request.write(path)
        assert CompileRequest.read(path) == request


def set_shapes(*shapes):
    return lambda data: data["profiles"][1]["shapes"].update(x=shapes)


@pytest.mark.parametrize(
    ("change", "mentions"),
    [
        (lambda data: data.update(onnx=""), ["onnx is empty"]),
        (lambda data: data.update(plan=3), ["plan", "expected str"]),
        (lambda data: data.update(precision="fp16"), ["precision", "unknown key"]),
        (lambda data: data.pop("profiles"), ["profiles", "missing"]),
        (lambda data: data.update(workspace_bytes=0), ["workspace_bytes 0 must be positive"]),
        (lambda data: data.update(workspace_bytes=1e9), ["workspace_bytes", "expected int"]),
        (lambda data: data.update(optimization_level=6), ["optimization_level 6 must be between 0 and 5"]),
        (lambda data: data.update(tf32=1), ["tf32", "expected bool"]),
        (lambda data: data["profiles"][1]["shapes"].pop("n"), ["profiles[1] names other inputs than profiles[0]"]),
        (set_shapes([1, 1], [2, 8]), ["profiles[1].x: expected three shapes"]),
        (set_shapes([1, 1], [2, 8], [4]), ["profiles[1].x: expected three shapes of one rank, got 1x1, 2x8, 4"]),
        (set_shapes([1, 1], [2, 8], [4, 7]), ["least <= usual <= largest", "4x7"]),
        (set_shapes([3, 1], [2, 8], [4, 9]), ["least <= usual <= largest"]),
        (set_shapes([-1, 1], [2, 8], [4, 9]), ["0 <= least"]),
        (set_shapes([True, 1], [2, 8], [4, 9]), ["expected int, got bool"]),
    ],
    ids=[
        "no-graph", "plan-a-number", "unknown-key", "no-profiles", "no-workspace", "workspace-a-float", "level", "tf32",
        "other-inputs", "two-shapes", "ranks", "usual-over-largest", "least-over-usual", "negative", "a-bool",
    ],
)  # fmt: skip
def test_a_request_that_contradicts_itself_is_refused(change, mentions, tmp_path):
    path = tmp_path / "r.json"
    REQUEST.write(path)
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))
    with pytest.raises(InputError) as caught:
        CompileRequest.read(path)
    message_of(caught.value, "r.json", *mentions)


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b'{"onnx": NaN}', b"[" * 5000], ids=repr)
def test_a_file_that_is_no_request_is_refused(content, tmp_path):
    path = tmp_path / "r.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match="is no request") as caught:
        CompileRequest.read(path)
    message_of(caught.value)


def test_a_request_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        CompileRequest.read(tmp_path / "r.json")
