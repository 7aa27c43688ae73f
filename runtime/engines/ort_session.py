"""One graph in one ONNX Runtime session: the engine without a device of its own, and ONNX Runtime's errors as ours.

Nothing here imports onnxruntime: a session is passed in, a real one or a test's.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ..errors import DeviceError, DeviceLostError, DeviceMemoryError, EngineError
from .base import TensorSpec

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from .base import Feeds, Tensor

_MOST = 300  # characters of a message
_DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(int64)": "int64",
    "tensor(int32)": "int32",
    "tensor(int16)": "int16",
    "tensor(int8)": "int8",
    "tensor(uint8)": "uint8",
}

# cuda_call.cc: "%s failure %d: %s ; GPU=%d ; hostname=%s ; file=%s ; line=%d ; expr=%s; %s".
_FAILURE = re.compile(r"(\w+) failure (\d+): (.*?)(?: ; GPU=|$)")
_MEMORY = re.compile(
    r"Failed to allocate memory for requested buffer|is smaller than requested bytes|out of memory|STATUS_ALLOC_FAILED"
)
_CAPTURE = re.compile(r"graph capture|stream is capturing|CUDA failure 90[0-8]:", re.IGNORECASE)
_NO_KERNEL = re.compile(r"no kernel image|STATUS_ARCH_MISMATCH|CUDA failure 209:")


class OrtEngine:
    """One graph in one session."""

    device = "cpu"
    """What errors of a run are read for."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self.inputs = tuple(_spec(node) for node in session.get_inputs())
        self.outputs = tuple(_spec(node) for node in session.get_outputs())

    def run(self, feeds: Mapping[str, Tensor]) -> dict[str, NDArray[Any]]:
        """See `Engine.run`."""
        session = self._opened()
        names = [spec.name for spec in self.outputs]
        try:
            return dict(zip(names, session.run(names, dict(feeds)), strict=True))
        except Exception as error:
            raise run_error(error, self.device) from error

    def run_into(self, feeds: Feeds, outputs: Feeds) -> None:
        """Run the graph once and write its outputs into arrays that are there already, all contiguous and on the CPU.

        `run` returns new ones: where a graph is small and its output large, fresh memory takes most of the time.
        """
        session = self._opened()
        if self.device != "cpu":
            raise EngineError(f"run_into is for the CPU, this engine is on {self.device!r}")
        if not all(array.flags.c_contiguous for array in (*feeds.values(), *outputs.values())):
            raise EngineError("run_into reads and writes memory as it lies: every array must be C-contiguous")
        binding = session.io_binding()
        try:
            for name, array in feeds.items():
                binding.bind_input(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
            for name, array in outputs.items():
                binding.bind_output(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
            session.run_with_iobinding(binding)
        except Exception as error:
            raise run_error(error, self.device) from error

    def close(self) -> None:
        """See `Engine.close`."""
        self._session = None

    def _opened(self) -> Any:
        if self._session is None:
            raise EngineError("this engine is closed; open the encoder again")
        return self._session


def load_session(
    runtime: Any, path: Path, device: str, settings: Any, providers: list[Any], *, records: bool = False
) -> Any:
    """A session of the graph at `path`.

    Args:
        runtime: The module onnxruntime.
        path: Of the ONNX file.
        device: ``cpu``, ``cuda`` or ``cuda:N``, for the error.
        settings: SessionOptions.
        providers: What it may use, each a name or a name with its options.
        records: Whether it is to record CUDA graphs, for the error.

    Raises:
        EngineError: It does not load; a DeviceError where the device is the reason.
    """
    try:
        # Its own fallback prints to the screen and goes on with the CPU.
        return runtime.InferenceSession(str(path), settings, providers=providers, enable_fallback=0)
    except Exception as error:
        said = EngineError(f"ONNX Runtime cannot load {path}: {one_line(error)}")
        raise _device_error(error, device, records=records) or said from error


def run_error(error: Exception, device: str, *, records: bool = False) -> EngineError:
    """What ONNX Runtime's exception of a run means.

    Args:
        error: As it was raised.
        device: ``cpu``, ``cuda`` or ``cuda:N``; only on a GPU a failure may be one of the device.
        records: Whether the run was to record a CUDA graph: otherwise it is the victim of somebody who did.
    """
    said = EngineError(f"ONNX Runtime could not run the graph: {one_line(error)}")
    return _device_error(error, device, records=records) or said


def one_line(error: Exception) -> str:
    """The message, in one line and without the machine's name that ONNX Runtime puts into it."""
    text = " ".join(str(error).split())
    text = re.sub(r" ; GPU=-?\d+ ; hostname=\S* ; file=\S* ; line=\d+ ; expr=", " in ", text)
    # Where it happened stands first, as the whole signature of a C++ function; why stands last.
    return text if len(text) <= _MOST else f"{text[: _MOST // 3]} … {text[-2 * _MOST // 3 :]}"


def _device_error(error: Exception, device: str, *, records: bool) -> DeviceError | None:
    if device == "cpu":
        return None
    from ..cuda.codes import LOST  # what runs on a CPU need not load it

    text = " ".join(str(error).split())
    failure = _FAILURE.search(text)
    if failure and failure[1] == "CUDA" and int(failure[2]) in LOST:
        return DeviceLostError(
            f"device {device!r} is lost to this process: {failure[0].removesuffix(' ; GPU=')}; start a new process, "
            "as CUDA cannot be used in this one any more"
        )
    if _MEMORY.search(text):
        return DeviceMemoryError(
            f"device {device!r} has too little memory: {one_line(error)}. Send fewer items at once (token_budget), "
            "raise gpu_memory_mb if it is given, or end other programs that use the GPU"
        )
    if _CAPTURE.search(text):
        return DeviceError(_capture_message(error, device, records=records))
    if _NO_KERNEL.search(text):
        return DeviceError(
            f"this build of ONNX Runtime has no kernels for the GPU of {device!r}: {one_line(error)}. "
            "`smartrt doctor` says which build has"
        )
    return DeviceError(f"CUDA failed on {device!r}: {one_line(error)}") if failure else None


def _capture_message(error: Exception, device: str, *, records: bool) -> str:
    if records:
        return (
            f"ONNX Runtime cannot record this graph as a CUDA graph: {one_line(error)}. All its operators must run on "
            "the GPU, and nothing else may use it meanwhile: open it with cuda_graphs=False"
        )
    return (
        f"CUDA refused a call on {device!r}, because something else in this process was recording a CUDA graph: "
        f"{one_line(error)}. smartrt's own engines wait for each other, so it is another library: call again when it "
        "has recorded, or let it record in CUDA's thread-local mode"
    )


def _spec(node: Any) -> TensorSpec:
    dtype = _DTYPES.get(node.type)
    if dtype is None:
        raise EngineError(f"{node.name} has type {node.type}; graphs use {', '.join(_DTYPES)}")
    return TensorSpec(node.name, dtype, tuple(node.shape))
