"""The plan cache: a plan is loaded only if it is the one that was compiled for exactly this."""

from __future__ import annotations

import dataclasses
import json
import os
import threading
from pathlib import Path

import pytest

import gpu_machine
import smartrt
from smartrt.cuda import Cuda
from smartrt.errors import CorruptBundleError, PlanError
from smartrt.tensorrt.build import build_plan, cache_of, check_compilable, key_of, machine_of
from smartrt.tensorrt.options import TrtOptions
from smartrt.tensorrt.plan import Plan
from smartrt.tensorrt.plans import Machine, PlanCache, PlanKey
from smartrt.tensorrt.request import CompileRequest, Profile
from support import message_of

MACHINE = Machine("10.3.0", "Orin", "8.7", "Linux aarch64, L4T 36.4.3")
KEY = PlanKey(
    "encoder", {"encoder.onnx": "0" * 64}, MACHINE, (Profile({"x": ((1, 1), (2, 4), (4, 8))}),), None, None, tf32=False
)


@pytest.fixture
def cache(tmp_path):
    return PlanCache(tmp_path / "tiny.plans")


def write(content: bytes = b"machine code", seconds: float = 1.5):
    def compile_to(plan: Path) -> float:
        plan.write_bytes(content)
        return seconds

    return compile_to


def test_what_was_added_is_found_again(cache):
    path = cache.add(KEY, write()).path
    assert path.read_bytes() == b"machine code"
    assert cache.find(KEY).path == path
    assert PlanCache(cache.directory).find(KEY).path == path


def other(name: str, value: object) -> PlanKey:
    return dataclasses.replace(KEY, **{name: value})


OTHERS = {
    "graph": (other("graph", "vision"), "there is none"),
    "weights": (other("files", {"encoder.onnx": "1" * 64}), "other graph or weights"),
    "profiles": (other("profiles", (Profile({"x": ((1, 1), (2, 4), (4, 9))}),)), "other shapes (--gpu-max-length"),
    "workspace": (other("workspace_bytes", 1 << 20), "other --workspace-mb"),
    "level": (other("optimization_level", 5), "other --optimization-level"),
    "tf32": (other("tf32", True), "other --tf32"),
    "version": (other("machine", dataclasses.replace(MACHINE, tensorrt="10.16.2")), "tensorrt '10.3.0' instead of"),
    "GPU": (other("machine", dataclasses.replace(MACHINE, gpu="Thor", capability="11.0")), "gpu 'Orin' instead"),
    "platform": (other("machine", dataclasses.replace(MACHINE, platform="Linux aarch64, L4T 39.2")), "L4T 36.4.3"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_plan_for_something_else_is_not_found_and_the_reason_says_what_differs(cache, name):
    key, reason = OTHERS[name]
    cache.add(KEY, write())
    assert key.name != KEY.name
    found = cache.find(key)
    assert found.path is None
    assert reason in found.reason


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def edit(path: Path, change) -> None:
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


DAMAGES = {
    "a bit of the plan": (lambda d: flip(d / "plan.engine", 3), "is not the file that was compiled"),
    "the plan cut short": (lambda d: (d / "plan.engine").write_bytes(b"machine"), "is not the file that was compiled"),
    "no plan": (lambda d: (d / "plan.engine").unlink(), "cannot read"),
    "no manifest": (lambda d: (d / "manifest.json").unlink(), "cannot read"),
    "a manifest that is no JSON": (lambda d: (d / "manifest.json").write_text("{"), "not JSON"),
    "another hash": (lambda d: edit(d / "manifest.json", lambda m: m.update(sha256="0" * 64)), "is not the file"),
    "an unknown key": (lambda d: edit(d / "manifest.json", lambda m: m.update(more=1)), "unknown key"),
    "a newer format": (lambda d: edit(d / "manifest.json", lambda m: m.update(format_version=2)), "plan format 2"),
    "the key of another": (lambda d: edit(d / "manifest.json", lambda m: m["key"].update(tf32=True)), "something else"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_plan_is_never_found_and_compiled_anew(cache, name):
    damage, reason = DAMAGES[name]
    damage(cache.add(KEY, write()).path.parent)
    found = cache.find(KEY)
    assert found.path is None
    assert reason in found.reason
    cache.add(KEY, write(b"new"))
    assert cache.find(KEY).path.read_bytes() == b"new"


def test_a_compiler_that_fails_leaves_nothing(cache):
    def fail(plan: Path) -> float:
        plan.write_bytes(b"half")
        raise PlanError("no")

    with pytest.raises(PlanError):
        cache.add(KEY, fail)
    assert cache.find(KEY).path is None
    assert list(cache.directory.iterdir()) == []


# With a bundle.


@pytest.fixture
def machine(monkeypatch, tmp_path, tiny_copy):
    return gpu_machine.install(monkeypatch, tmp_path / "shim", tiny_copy)


@pytest.fixture
def wanted(machine, tiny_copy):  # noqa: ARG001  (the machine that it is wanted on)
    bundle, options = smartrt.Bundle.open(tiny_copy), TrtOptions()
    key = key_of(bundle, "encoder", machine_of(Cuda.open(0)), options)
    return bundle, cache_of(bundle, options), key


def test_the_cache_lies_beside_the_bundle_and_the_bundle_stays_whole(wanted):
    bundle, cache, _ = wanted
    path = build_plan(*wanted, lambda _: None).path
    assert cache.directory == bundle.path.with_name("tiny.plans")
    assert path.is_relative_to(cache.directory)
    smartrt.Bundle.open(bundle.path)


def test_the_key_holds_the_hashes_of_the_graph_alone(wanted):
    bundle, _, key = wanted
    assert set(key.files) == {"encoder.onnx", "encoder.onnx.data"}
    assert key.machine == Machine("10.3.0", "Fake Orin", "8.7", key.machine.platform)
    assert key.files["encoder.onnx"] == bundle.manifest.files["encoder.onnx"].sha256


def test_it_is_compiled_once_even_by_several_at_the_same_time(wanted):
    events = []
    threads = [threading.Thread(target=build_plan, args=(*wanted, events.append)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    kinds = [event["event"] for event in events]
    assert (kinds.count("done"), kinds.count("found")) == (1, 2)


@pytest.mark.parametrize(("fault", "mention"), [
    ("parse", "no importer"), ("memory", "OutOfMemory"), ("build", "API Usage Error"), ("killed", "killed"),
])  # fmt: skip
def test_a_compiler_that_fails_is_one_line(wanted, monkeypatch, fault, mention):
    monkeypatch.setenv("FAKE_TENSORRT", fault)
    with pytest.raises(PlanError) as caught:
        build_plan(*wanted, lambda _: None)
    message_of(caught.value, "could not compile the graph encoder", mention)
    assert wanted[1].find(wanted[2]).path is None


@pytest.mark.parametrize(("change", "mentions"), [
    ({"precision": {"activations": "dynamic", "name": "int8"}}, ("int8-static", "--compute fp16")),
    ({"dialect": "fused"}, ("10.16", "10.3.0", "--dialect portable")),
], ids=["dynamic activations", "fused"])  # fmt: skip
def test_what_tensorrt_cannot_compile_is_refused_before_it_tries(wanted, change, mentions):
    bundle = wanted[0]
    manifest = bundle.manifest
    if "precision" in change:
        change = {"precision": dataclasses.replace(manifest.precision, **change["precision"])}
    manifest = dataclasses.replace(manifest, **change)
    with pytest.raises(PlanError) as caught:
        check_compilable(dataclasses.replace(bundle, manifest=manifest), wanted[2].machine)
    message_of(caught.value, *mentions)


def test_a_file_that_is_not_the_manifests_is_never_compiled_under_its_hash(wanted):
    bundle, cache, key = wanted
    flip(bundle.file("encoder.onnx.data"), 100)
    with pytest.raises(CorruptBundleError) as caught:
        build_plan(*wanted, lambda _: None)
    message_of(caught.value, "encoder.onnx.data", "copy the bundle again")
    assert cache.find(key).path is None


def test_the_compiler_does_not_import_from_the_users_directory(wanted, monkeypatch, tmp_path):
    (tmp_path / "json.py").write_text("raise SystemExit('imported from the working directory')")
    monkeypatch.chdir(tmp_path)
    assert build_plan(*wanted, lambda _: None).path.is_file()


def test_the_compiler_is_told_which_gpu(wanted, monkeypatch):
    asked = []
    monkeypatch.setattr(CompileRequest, "write", lambda request, path: asked.append(request))  # noqa: ARG005
    with pytest.raises(PlanError):  # nothing was compiled
        build_plan(*wanted, lambda _: None, device=1)
    assert asked[0].device == 1


TRUST = {
    "others may write the plan": lambda d: (d / "plan.engine").chmod(0o666),
    "others may write the directory": lambda d: d.chmod(0o777),
}


@pytest.mark.parametrize("name", TRUST)
def test_what_others_may_write_is_not_run(cache, name):
    TRUST[name](cache.add(KEY, write()).path.parent)
    found = cache.find(KEY)
    assert found.path is None
    assert "others may write" in found.reason


def test_a_plan_of_another_user_is_not_run(cache, monkeypatch):
    cache.add(KEY, write())
    monkeypatch.setattr("os.geteuid", lambda: os.getuid() + 1)
    monkeypatch.setattr("smartrt.tensorrt.plans._ROOT", -1)
    assert "another user" in cache.find(KEY).reason


def test_a_umask_that_lets_others_write_makes_plans_that_nobody_else_may_write(cache):
    before = os.umask(0)
    try:
        assert cache.find(cache.add(KEY, write()) and KEY).path
    finally:
        os.umask(before)


def test_the_bytes_that_are_loaded_are_those_that_are_compared(wanted, machine):
    bundle, cache, key = wanted
    found = build_plan(*wanted, lambda _: None)
    swapped = found.path.read_bytes() + b" "
    found.path.write_bytes(swapped)
    with Cuda.open(0) as cuda:
        with pytest.raises(PlanError, match="is not the file that was compiled"):
            Plan.load(found.path, found.sha256, cuda)
        found.path.unlink()
        with pytest.raises(PlanError, match="cannot read"):
            Plan.load(found.path, found.sha256, cuda)
    assert machine.gpu.live == {}
    assert cache.find(key).path is None
    assert bundle
