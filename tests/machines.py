"""Made-up machines to look at: trees of files, a driver's library, shared libraries that load or do not."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from smartrt.machine.libraries import SHARED, CudaDevice, Probe, SharedLibrary
from smartrt.machine.onnx_runtime import CUDA, OnnxRuntime
from smartrt.machine.survey import Sources, System

GIB = 1 << 30
ENGINES = ("ort", "trt", "fake")
L4T = "# R{} (release), REVISION: {}, GCID: 38968081, BOARD: generic, EABI: aarch64, DATE: Wed Jan  8 2025"
ARM_FEATURES = "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp"
MODES = """< POWER_MODEL ID=0 NAME=15W >
CPU_ONLINE CORE_0 1
< POWER_MODEL ID=1 NAME=25W >
< POWER_MODEL ID=2 NAME=MAXN_SUPER >
< PM_CONFIG DEFAULT=1 >
"""


class NvmlError(Exception):
    """The base class of the library's errors."""


@dataclass
class Memory:
    total: int = 80 * GIB
    free: int = 79 * GIB


class H100:
    """The functions of `pynvml` on a machine with one H100; `refuses` names those that fail."""

    NVMLError = NvmlError
    NVML_CLOCK_SM, NVML_CLOCK_MEM, NVML_TEMPERATURE_GPU = 1, 2, 0
    answers = {  # noqa: RUF012
        "nvmlInit": None,
        "nvmlShutdown": None,
        "nvmlDeviceGetCount": 1,
        "nvmlDeviceGetHandleByIndex": "gpu",
        "nvmlDeviceGetName": b"NVIDIA H100 80GB HBM3",
        "nvmlSystemGetDriverVersion": "580.95.05",
        "nvmlSystemGetCudaDriverVersion": 13000,
        "nvmlDeviceGetCudaComputeCapability": (9, 0),
        "nvmlDeviceGetMemoryInfo": Memory(),
        "nvmlDeviceGetClockInfo": 345,
        "nvmlDeviceGetMaxClockInfo": 1980,
        "nvmlDeviceGetTemperature": 31,
        "nvmlDeviceGetEnforcedPowerLimit": 700_000,
    }

    def __init__(self, *refuses, **answers):
        self.refuses, self.answers = refuses, self.answers | answers

    def __getattr__(self, name):
        if name not in self.answers:
            raise AttributeError(name)

        def function(*_):
            if name in self.refuses:
                raise NvmlError("Not Supported")
            return self.answers[name]

        function.__name__ = name
        return function


def write(root: Path, files: dict[str, object]) -> Path:
    """Files below `root`, each with a new line at its end."""
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"{content}\n", encoding="utf-8")
    return root


def meminfo(total_gib: float, free_gib: float, **more: float) -> str:
    lines = {"MemTotal": total_gib * GIB, "MemAvailable": free_gib * GIB} | {k: v * GIB for k, v in more.items()}
    return "\n".join(f"{key}:        {int(value) >> 10} kB" for key, value in lines.items())


def probe(versions: dict[str, str], *devices: CudaDevice, cuda: str = "libcuda does not load", missing=()):
    """What loading came to: libraries with their versions, others missing."""
    loaded = {
        name: SharedLibrary(True, SHARED.get(name, (name,))[0], version, None) for name, version in versions.items()
    }
    files = {name: files[-1] for name, files in SHARED.items()} | {name: name for name in missing}
    lost = {
        name: SharedLibrary(False, None, None, f"{file} is not found")
        for name, file in files.items()
        if name not in loaded
    }
    return lambda _: Probe(lost | loaded, "ready" if devices else cuda, devices)


def onnx_runtime(version="1.31.1", *, cuda=False, packages=("onnxruntime",), needed=(), code=None):
    providers = ((CUDA,) if cuda else ()) + ("CPUExecutionProvider",)
    return lambda: OnnxRuntime(version, packages, providers, None, needed, code, {})


def no_onnx_runtime():
    return OnnxRuntime(None, (), (), "it is not installed", (), None, {"version": "it is not installed"})


def system(architecture: str, python: str = "3.11.7", *, environment=False, sees_system=True) -> System:
    return System("Linux", "6.8.0", architecture, python, environment, sees_system)


def server(root: Path, **changes) -> Sources:
    """x86-64 without a GPU."""
    cores = "\n\n".join(f"processor\t: {i}\nmodel name\t: Xeon\nflags\t\t: fpu avx2 avx512_vnni" for i in range(8))
    write(root, {"proc/cpuinfo": cores, "proc/meminfo": meminfo(64, 60, SwapTotal=0, SwapFree=0)})
    write(
        root,
        {"proc/buddyinfo": "Node 0, zone   Normal      9 0 0 0 0 0 0 0 1 0      7"},
    )
    (root / "sys/bus/pci/devices").mkdir(parents=True)
    given = {
        "system": system("x86_64"), "version": {"numpy": "2.4.6", "onnxruntime": "1.31.1"}.get,
        "module": lambda _: None, "onnx_runtime": onnx_runtime(), "probe": probe({}), "saturates": lambda: False,
        "blas": lambda: None,
    }  # fmt: skip
    return Sources(root=root, **given | {"engines": ENGINES} | changes)


def h100(root: Path, **changes) -> Sources:
    """x86-64 with an H100, CUDA 13 and an ONNX Runtime with CUDA."""
    device = CudaDevice("NVIDIA H100 80GB HBM3", "9.0", 80 * GIB, integrated=False)
    libraries = {"libcuda": "13.0", "libcudart": "13.0", "libcublas": "13.1.0", "libcudnn": "9.12.0"}
    needed = ("libcublas.so.13", "libcudart.so.13")
    loaded = probe(libraries | dict.fromkeys(needed, "13.0"), device)
    write(
        root,
        {"sys/bus/pci/devices/0000:1b:00.0/vendor": "0x10de", "sys/bus/pci/devices/0000:1b:00.0/class": "0x030200"},
    )
    write(
        root,
        {"sys/bus/pci/devices/0000:00:01.0/vendor": "0x8086", "sys/bus/pci/devices/0000:00:01.0/class": "0x030000"},
    )
    (root / "sys/bus/pci/devices").mkdir(parents=True, exist_ok=True)
    with_cuda = onnx_runtime(cuda=True, packages=("onnxruntime-gpu",), needed=needed)
    base = server(root.with_name(f"{root.name}-server"), nvml=H100(), probe=loaded, onnx_runtime=with_cuda)
    for path in sorted(base.root.rglob("*")):
        if path.is_file():
            write(root, {str(path.relative_to(base.root)): path.read_text(encoding="utf-8")})
    return replace(base, root=root, **changes)


def jetson(root: Path, model: str, chip: str, release: tuple[int, str], memory: str, **changes) -> Sources:
    """A Jetson with all that its JetPack installs, its clocks free and its power mode 15 W."""
    major, revision = release
    cpus = "\n\n".join(f"processor\t: {i}\nBogoMIPS\t: 62.50\nFeatures\t: {ARM_FEATURES}" for i in range(6))
    write(
        root,
        {
            "etc/nv_tegra_release": L4T.format(major, revision),
            "proc/device-tree/model": f"{model}\0",
            "proc/device-tree/compatible": f"nvidia,p3768-0000+p3767-0005\0nvidia,{chip}\0",
            "proc/cpuinfo": f"{cpus}\n\nmodel name\t: ARMv8 Processor rev 1 (v8l)",
            "proc/meminfo": memory,
            "proc/buddyinfo": "Node 0, zone      DMA      1 1 1 1 1 1 1 1 1 2     10",
            "var/lib/nvpmodel/status": "pmode:0000",
            "etc/nvpmodel.conf": MODES,
            "sys/class/devfreq/17000000.gpu/cur_freq": 306_000_000,
            "sys/class/devfreq/17000000.gpu/min_freq": 306_000_000,
            "sys/class/devfreq/17000000.gpu/max_freq": 1_020_000_000,
            "sys/devices/system/cpu/cpu0/cpufreq/scaling_min_freq": 115_200,
            "sys/devices/system/cpu/cpu0/cpufreq/scaling_max_freq": 1_728_000,
        },
    )
    given = {
        "version": {"numpy": "2.2.6"}.get, "module": lambda name: Path("/usr/lib") if name == "tensorrt" else None,
        "onnx_runtime": no_onnx_runtime, "blas": lambda: None,
    }  # fmt: skip
    return Sources(root=root, **given | {"engines": ENGINES} | changes)


def orin_nano(root: Path, **changes) -> Sources:
    """Orin Nano 8 GB, JetPack 6.2."""
    device = CudaDevice("Orin", "8.7", 7 * GIB, integrated=True)
    libraries = {
        "libcuda": "12.6",
        "libcudart": "12.6",
        "libcudnn": "9.3.0",
        "libnvinfer": "10.3.0",
        "libnvonnxparser": "10.3.0",
    }
    memory = meminfo(7.4, 6.1, SwapTotal=3.7, SwapFree=3.7, CmaTotal=0.25, CmaFree=0.1)
    given = {"system": system("aarch64", "3.10.12"), "probe": probe(libraries, device)} | changes
    return jetson(
        root,
        "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super",
        "tegra234",
        (36, "4.3"),
        memory,
        **given,
    )


def agx_orin(root: Path, **changes) -> Sources:
    """AGX Orin 64 GB, JetPack 7.2."""
    device = CudaDevice("Orin", "8.7", 61 * GIB, integrated=True)
    libraries = {"libcuda": "13.2", "libcudart": "13.2", "libcudnn": "9.20.0", "libnvinfer": "10.16.2"}
    given = {"system": system("aarch64", "3.12.3"), "probe": probe(libraries, device)} | changes
    return jetson(root, "NVIDIA Jetson AGX Orin Developer Kit", "tegra234", (39, "2.0"), meminfo(61, 58), **given)


def thor(root: Path, **changes) -> Sources:
    """AGX Thor, JetPack 7.0."""
    device = CudaDevice("NVIDIA Thor", "11.0", 122 * GIB, integrated=True)
    libraries = {"libcuda": "13.0", "libcudart": "13.0", "libcudnn": "9.12.0", "libnvinfer": "10.13.3"}
    given = {"system": system("aarch64", "3.12.3"), "probe": probe(libraries, device)} | changes
    return jetson(root, "NVIDIA Jetson AGX Thor Developer Kit", "tegra264", (38, "2.0"), meminfo(122, 118), **given)


GARBAGE = {"bytes": "\x00\x01 ?\x1b[2J", "nothing": "", "a negative number": "-7", "a lot": "9" * 40}


def broken(root: Path, content: str, **changes) -> Sources:
    """A Jetson whose files hold `content`, or are folders."""
    sources = orin_nano(root, probe=probe({}), **changes)
    for path in [path for path in root.rglob("*") if path.is_file()]:
        path.write_text(content, encoding="utf-8")
    (root / "proc/meminfo").unlink()
    (root / "proc/meminfo").mkdir()
    return sources


ALL = {"server": server, "h100": h100, "orin nano": orin_nano, "agx orin": agx_orin, "thor": thor}
