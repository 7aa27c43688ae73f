"""What to install and to set, in the order to do it, with the exact commands.

First what stands between the machine and the way that it is made for, then the board's settings, then the bundle.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .choice import SMALL_BOARD, aim, choose_way
from .readiness import ways
from .versions import at_least

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .board import PowerMode
    from .readiness import Obstacle, Way
    from .survey import Machine

_FAULTY_JETPACK = "6.2.1"
_ENOUGH_SWAP = 4 << 30
_SMALL_CMA = 900 << 20
_GPU_WHEEL = "pip install 'smartrt[gpu]' 'onnxruntime-gpu[cuda,cudnn]'"
_JETPACK = ("sudo apt update", "sudo apt install nvidia-jetpack python3-libnvinfer")


@dataclass(frozen=True)
class Step:
    """One thing to do.

    Attributes:
        title: What.
        why: What it changes, or what is known of the need.
        commands: Lines for a shell, in order; none where it is not one command.
        optional: Whether everything runs without it.
    """

    title: str
    why: str
    commands: tuple[str, ...] = ()
    optional: bool = False


def advise(machine: Machine, bundle: str | None = None) -> tuple[Step, ...]:
    """The steps, in order.

    Args:
        machine: What `survey` found.
        bundle: The path of a bundle that fits this machine as it is; None: one has to be made.
    """
    way = aim(machine)
    last = _make(machine, way) if bundle is None else _use(machine, bundle)
    steps = [*_to_way(machine, way), *_board(machine, way), *_processor(machine, way), last]
    first = {step.title: step for step in reversed(steps)}  # two obstacles may need the same step
    return tuple(step for step in steps if first[step.title] is step)


def _to_way(machine: Machine, way: Way) -> Iterator[Step]:
    for obstacle in way.obstacles:
        if make := _STEPS.get(obstacle.code):
            yield make(machine, obstacle)
    *_, cpu = ways(machine)
    if way.engine == "trt" and not cpu.ready:
        why = "the first pass in 8 bits of a search, and checks against the processor, run on it"
        yield Step("Install ONNX Runtime for the processor", why, ("pip install 'smartrt[cpu]'",), optional=True)


def _driver(_: Machine, obstacle: Obstacle) -> Step:
    why = f"{obstacle.text}; without ubuntu-drivers, take the driver's package of your distribution"
    return Step("Install a current NVIDIA driver", why, ("sudo ubuntu-drivers install", "sudo reboot"))


def _jetpack(obstacle: Obstacle) -> Step:
    why = f"{obstacle.text}; in a container, start it with --runtime nvidia instead; pip's tensorrt is not for a Jetson"
    return Step("Install JetPack's CUDA and TensorRT", why, _JETPACK)


def _cuda(machine: Machine, obstacle: Obstacle) -> Step:
    if machine.board:
        return _jetpack(obstacle)
    why = f"{obstacle.text}; in a container, start it with --gpus all instead"
    return Step("See what the driver says, and restart it", why, ("nvidia-smi", "sudo reboot"))


def _cudart(machine: Machine, obstacle: Obstacle) -> Step:
    if machine.board:
        return _jetpack(obstacle)
    name = "nvidia-cuda-runtime" if at_least(machine.driver.cuda, "13") else "nvidia-cuda-runtime-cu12"
    return Step("Install the CUDA runtime", obstacle.text, (f"pip install {name}",))


def _tensorrt(machine: Machine, obstacle: Obstacle) -> Step:
    if machine.board:
        return _jetpack(obstacle)
    major = "13" if at_least(machine.driver.cuda, "13") else "12"
    return Step("Install TensorRT", obstacle.text, (f"pip install --upgrade tensorrt-cu{major}",))


def _tensorrt_module(machine: Machine, obstacle: Obstacle) -> Step:
    if not machine.board:
        return _tensorrt(machine, obstacle)
    system, jetpack = machine.system, machine.board.jetpack
    commands = [*_JETPACK[:1], "sudo apt install python3-libnvinfer"]
    why = f"{obstacle.text}: JetPack installs it for the system's Python"
    if jetpack and not at_least(system.python, jetpack.python):
        why += f" {jetpack.python}"
    if not system.sees_system or (jetpack and not system.python.startswith(f"{jetpack.python}.")):
        why += "; a virtual environment must be made from that one and see its packages"
        commands += ["/usr/bin/python3 -m venv --system-site-packages ~/smartrt", "~/smartrt/bin/pip install smartrt"]
    return Step("Let Python find TensorRT", why, tuple(commands))


def _desktop_tensorrt(machine: Machine, obstacle: Obstacle) -> Step:
    step = _tensorrt(machine, obstacle)
    return Step("Replace pip's TensorRT by JetPack's", obstacle.text, ("pip uninstall tensorrt", *step.commands))


def _engine(_: Machine, obstacle: Obstacle) -> Step:
    return Step("Upgrade smartrt", obstacle.text, ("pip install --upgrade smartrt",))


def _onnx_runtime(machine: Machine, obstacle: Obstacle) -> Step:
    if aim(machine).device == "cpu":
        return Step("Install ONNX Runtime", obstacle.text, ("pip install 'smartrt[cpu]'",))
    return _gpu_wheel(machine, obstacle)


def _broken(machine: Machine, obstacle: Obstacle) -> Step:
    packages = " ".join(machine.onnx_runtime.packages)
    return Step("Install ONNX Runtime again", obstacle.text, (f"pip install --force-reinstall --no-deps {packages}",))


def _gpu_wheel(machine: Machine, obstacle: Obstacle) -> Step:
    packages = " ".join(machine.onnx_runtime.packages)
    remove = (f"pip uninstall --yes {packages}",) if packages else ()
    if not machine.board:
        return Step("Install ONNX Runtime with CUDA", obstacle.text, (*remove, _GPU_WHEEL))
    jetpack = machine.board.jetpack
    six = jetpack is not None and jetpack.version.startswith("6.")
    source = (
        "then install onnxruntime-gpu from the Jetson AI Lab package index, jp6/cu126" if six
        else "then build ONNX Runtime with CUDA from source: no index is known to have a wheel for this release"
    )  # fmt: skip
    return Step("Replace ONNX Runtime by a build for this Jetson", f"{obstacle.text}; {source}", remove)


def _library(machine: Machine, obstacle: Obstacle) -> Step:
    if machine.board:
        return _jetpack(obstacle)
    return Step(
        "Install the libraries of CUDA and cuDNN", obstacle.text, ("pip install 'onnxruntime-gpu[cuda,cudnn]'",)
    )


_STEPS: dict[str, Callable[[Machine, Obstacle], Step]] = {
    "no-driver": _driver,
    "old-driver": _driver,
    "no-cuda": _cuda,
    "no-engine": _engine,
    "no-cudart": _cudart,
    "no-tensorrt": _tensorrt,
    "old-tensorrt": _tensorrt,
    "desktop-tensorrt": _desktop_tensorrt,
    "no-tensorrt-module": _tensorrt_module,
    "no-ort": _onnx_runtime,
    "broken-ort": _broken,
    "two-orts": _gpu_wheel,
    "cpu-ort": _gpu_wheel,
    "foreign-kernels": _gpu_wheel,
    "missing-library": _library,
}
"""Code of an obstacle -> its step; one without a step cannot be changed by a command."""


def _board(machine: Machine, way: Way) -> Iterator[Step]:
    board = machine.board
    if board is None or way.device != "cuda":
        return
    if board.jetpack and board.jetpack.version == _FAULTY_JETPACK:
        yield Step(
            "Update to JetPack 6.2.2", "6.2.1 fails to allocate memory for the GPU that is free; 6.2.2 repaired it"
        )
    yield from _memory(machine)
    if board.power_mode and board.fastest_mode and board.power_mode.id != board.fastest_mode.id:
        command = f"sudo nvpmodel -m {board.fastest_mode.id}"
        why = f"the power mode is {mode_text(board.power_mode)}, which limits clocks; this one needs cooling"
        yield Step(f"Take the power mode {board.fastest_mode.name}", why, (command,), optional=True)
    if board.clocks_locked is False:
        why = "they follow the load now, so the first queries are slow and figures differ from run to run"
        yield Step("Hold the clocks at their highest", why, ("sudo jetson_clocks",), optional=True)


def mode_text(mode: PowerMode) -> str:
    """``15W (mode 0)``, ``mode 2`` or ``15W``: what is known of a power mode."""
    number = None if mode.id is None else f"mode {mode.id}"
    return f"{mode.name} ({number})" if mode.name and number else mode.name or number or "unknown"


def _memory(machine: Machine) -> Iterator[Step]:
    memory = machine.memory
    if memory.total is None or memory.total >= SMALL_BOARD:
        return
    if memory.swap_total is not None and memory.swap_total < _ENOUGH_SWAP:
        yield Step(
            "Make 8 GB of swap",
            "compiling a plan takes several times the memory of running it; swap helps, not where one piece is needed",
            (
                "sudo fallocate -l 8G /swapfile && sudo chmod 600 /swapfile",
                "sudo mkswap /swapfile && sudo swapon /swapfile",
                "echo '/swapfile none swap sw 0 0' | sudo tee -a /etc/fstab",
            ),
            optional=True,
        )
    if memory.cma_total is not None and memory.cma_total < _SMALL_CMA:
        yield Step(
            "Only if compiling fails with NvMapMemAlloc: reserve more contiguous memory",
            f"{memory.cma_total >> 20} MiB are reserved; cma=950M at the end of the line APPEND is about the most",
            ("sudoedit /boot/extlinux/extlinux.conf", "sudo reboot"),
            optional=True,
        )


def _processor(machine: Machine, way: Way) -> Iterator[Step]:
    if machine.blas_kernels and (way.device == "cpu" or machine.system.architecture == "x86_64"):
        why = (
            "NumPy's OpenBLAS does not know this processor and takes kernels without AVX-512; scoring is slower for it"
        )
        command = f"export OPENBLAS_CORETYPE={machine.blas_kernels}"
        yield Step("Let NumPy use AVX-512, in the shell that starts Python", why, (command,), optional=True)


def _use(machine: Machine, bundle: str) -> Step:
    way = next((way for way in ways(machine) if way.ready), aim(machine))
    return Step("Run the bundle", "its needs are met here", _commands(way, shlex.quote(bundle)))


def _make(machine: Machine, way: Way) -> Step:
    chosen = choose_way(machine, way)
    words = ["smartrt export SOURCE -o NAME.smartrt", f"--precision {chosen.precision}"]
    if chosen.compute == "fp16" and chosen.precision not in ("fp16", "fp32", "int8"):
        words.append("--compute fp16")
    if chosen.dialect != "portable":
        words.append(f"--dialect {chosen.dialect}")
    where = "on a workstation, as exporting needs PyTorch" if machine.board else "exporting needs smartrt[export]"
    title = "Make a bundle in this precision, and run it"
    if not way.ready:
        title = f"Then make a bundle for {way.engine} on {way.device}, and run it"
        where += "; the choice above is for what is ready now"
    return Step(title, where, (" ".join(words), *_commands(way, "NAME.smartrt")))


def _commands(way: Way, bundle: str) -> tuple[str, ...]:
    """What compiles a bundle, where that is needed, and runs it."""
    run = f"smartrt encode {bundle} 'a question' --side query -o query.npz"
    if way.device == "cuda":
        run += f" --engine {way.engine} --device cuda"
    return (f"smartrt build {bundle}", run) if way.engine == "trt" else (run,)
