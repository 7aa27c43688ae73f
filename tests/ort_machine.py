"""A machine with a GPU and an ONNX Runtime with CUDA that are fakes: graphs run for real, on the CPU provider.

The module `onnxruntime` is replaced by `FakeOrt`, libcudart by `fake_cuda.FakeCudart`, whose memory is the host's: so
what an engine binds by address is really read and written there, and a wrong shape, address or order of copies shows as
wrong numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest

from fake_cuda import FakeCudart
from smartrt.engines import ort

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"


class FakeOrt:
    """The module onnxruntime, built with CUDA.

    Attributes:
        gpu: The GPU its sessions run on.
        offers: What it was built with.
        loads: What a session that was asked for CUDA really has.
        on_cpu: Types of operators that it leaves on the CPU.
        refuses: What making a session raises.
        fails: What the next run raises.
        asked: The providers that each session was asked for, with their options.
        runs: For each run the ``gpu_graph_id``, empty if there was none, and the addresses that were bound.
        sessions: Those that were made.
    """

    OrtValue = onnxruntime.OrtValue
    SessionOptions = onnxruntime.SessionOptions
    RunOptions = onnxruntime.RunOptions
    GraphOptimizationLevel = onnxruntime.GraphOptimizationLevel
    __file__ = "/nowhere/onnxruntime/__init__.py"
    __version__ = onnxruntime.__version__

    def __init__(self, gpu: FakeCudart) -> None:
        self.gpu = gpu
        self.offers: Sequence[str] = [CUDA, CPU]
        self.loads: Sequence[str] = [CUDA, CPU]
        self.on_cpu: Sequence[str] = []
        self.refuses: Exception | None = None
        self.fails: Exception | None = None
        self.asked: list[Any] = []
        self.runs: list[tuple[str, dict[str, int]]] = []
        self.sessions: list[FakeSession] = []
        self.severity = 2

    def get_available_providers(self) -> list[str]:
        """What it was built with."""
        return list(self.offers)

    def set_default_logger_severity(self, severity: int) -> None:
        """Of the logger that belongs to no session."""
        self.severity = severity

    def InferenceSession(self, path: str, settings: Any, *, providers: Any, enable_fallback: int) -> Any:  # noqa: N802
        """A session on the CPU, which calls it CUDA."""
        assert enable_fallback == 0, "its fallback prints and goes on with the CPU"
        self.asked.append(providers)
        if self.refuses:
            raise self.refuses
        real = onnxruntime.InferenceSession(path, settings, providers=[CPU])
        if providers == [CPU]:
            return real
        self.sessions.append(FakeSession(real, self))
        return self.sessions[-1]


class FakeSession:
    """A session whose memory is the GPU's. A recording holds for its addresses and shapes: others are an error."""

    def __init__(self, real: Any, runtime: FakeOrt) -> None:
        self._real = real
        self._runtime = runtime
        self._recordings: dict[str, Any] = {}
        self.get_inputs, self.get_outputs = real.get_inputs, real.get_outputs

    def get_providers(self) -> list[str]:
        """What loaded."""
        return list(self._runtime.loads)

    def get_provider_graph_assignment_info(self) -> list[Any]:
        """What runs where."""
        parts = {CUDA: ["MatMul", "Softmax"], CPU: self._runtime.on_cpu}
        return [
            SimpleNamespace(ep_name=name, get_nodes=lambda kinds=kinds: [SimpleNamespace(op_type=k) for k in kinds])
            for name, kinds in parts.items()
        ]

    def io_binding(self) -> FakeBinding:
        """What a run reads and writes."""
        return FakeBinding(self._real.io_binding())

    def run(self, *_: Any) -> Any:
        """Not on a GPU: it copies every input and output."""
        raise AssertionError("a session on a GPU is run with bound memory")

    def run_with_iobinding(self, binding: FakeBinding, options: Any = None) -> None:
        """Run on what is bound."""
        number = options.get_run_config_entry("gpu_graph_id") if options else ""
        self._runtime.runs.append((number, {name: place[-1] for name, place in binding.places.items()}))
        if error := self._runtime.fails:
            self._runtime.fails = None
            raise error
        if number:
            for _, _, kind, shape, address in binding.places.values():
                self._runtime.gpu.array(address, int(np.prod(shape)) * np.dtype(kind).itemsize)
            recorded = self._recordings.setdefault(number, dict(binding.places))
            assert recorded == binding.places, "replayed with other shapes or addresses than were recorded"
        self._real.run_with_iobinding(binding.real)


class FakeBinding:
    """An IOBinding on the GPU 0 or 1.

    Attributes:
        places: Name -> device, number, type, shape and address, of what was bound by address.
    """

    def __init__(self, real: Any) -> None:
        self.real = real
        self.places: dict[str, tuple[Any, ...]] = {}
        self.bind_cpu_input, self.get_outputs = real.bind_cpu_input, real.get_outputs
        self.synchronize_outputs = real.synchronize_outputs

    def bind_input(self, name: str, device: str, number: int, *place: Any) -> None:
        """By address."""
        self.places[name] = device, number, *place
        self.real.bind_input(name, *_here(device, number), *place)

    def bind_output(self, name: str, device: str, number: int, *place: Any) -> None:
        """By address, or wherever ONNX Runtime puts it."""
        if place:
            self.places[name] = device, number, *place
        self.real.bind_output(name, *_here(device, number), *place)


def _here(device: str, number: int) -> tuple[str, int]:
    assert (device, number) in (("cuda", 0), ("cuda", 1), ("cpu", 0))
    return "cpu", 0


def install(monkeypatch: pytest.MonkeyPatch, **gpu: Any) -> FakeOrt:
    """Be a machine with a GPU and ONNX Runtime for it, for one test."""
    cudart = FakeCudart(**gpu)
    monkeypatch.setattr("smartrt.cuda.device.load_cudart", lambda: cudart)
    runtime = FakeOrt(cudart)
    monkeypatch.setattr(ort, "onnxruntime", runtime)
    return runtime


def feeds_of(batch: int, length: int, seed: int = 0) -> dict[str, np.ndarray]:
    """What the graph of the tiny bundle takes: random ids, all of them attended to."""
    ids = np.random.default_rng(seed).integers(2, 60, (batch, length))
    return {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}


def same(found: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> None:
    """The same outputs, but for the order of additions."""
    assert set(found) == set(expected)
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=0, atol=2e-6)


def write_library(path: Path, needed: Sequence[str], sms: Sequence[int] = ()) -> Path:
    """A 64-bit ELF file that is linked to `needed` and has kernels for `sms`, and nothing else."""
    sections = _sections(needed, sms)
    names = b"\0" + b"".join(name.encode() + b"\0" for name in sections)
    body, table, at = b"", b"", 64
    starts = {name: names.index(b"\0" + name.encode() + b"\0") + 1 for name in sections}
    for name, (kind, link, content) in (sections | {"": (3, 0, names)}).items():
        entry = (starts.get(name, 0), kind, 0, 0, at + len(body), len(content), link, 0, 0, 0)
        table += b"".join(value.to_bytes(size, "little") for value, size in zip(entry, _ENTRY, strict=True))
        body += content
    head = bytearray(b"\x7fELF\x02\x01".ljust(64, b"\0"))
    head[40:48] = (at + len(body)).to_bytes(8, "little")
    head[58:64] = b"".join(value.to_bytes(2, "little") for value in (64, len(sections) + 1, len(sections)))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(head) + body + table)
    return path


_ENTRY = (4, 4, 8, 8, 8, 8, 4, 4, 8, 8)


def _sections(needed: Sequence[str], sms: Sequence[int]) -> Mapping[str, tuple[int, int, bytes]]:
    """Name -> type, link and content."""
    strings, dynamic = b"\0", b""
    for name in needed:
        dynamic += (1).to_bytes(8, "little") + len(strings).to_bytes(8, "little")
        strings += name.encode() + b"\0"
    entries = b"".join(
        (2).to_bytes(2, "little")
        + bytes(2)
        + (64).to_bytes(4, "little")
        + bytes(20)
        + sm.to_bytes(4, "little")
        + bytes(32)
        for sm in sms
    )
    kernels = (
        (0xBA55ED50).to_bytes(4, "little") + bytes.fromhex("01001000") + len(entries).to_bytes(8, "little") + entries
    )
    return {".dynstr": (3, 0, strings), ".dynamic": (6, 0, dynamic), ".nv_fatbin": (1, 0, kernels)}
