"""What a Jetson says of itself: module, release, power mode, clocks.

`/etc/nv_tegra_release` names the release of Jetson Linux (L4T), the device tree the module and its chip. `nvpmodel`
keeps the number of the power mode in `/var/lib/nvpmodel/status` and the modes themselves in `/etc/nvpmodel.conf`;
`jetson_clocks` raises every lowest clock to the highest one.
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .jetpack import JetPack, jetpack_of
from .reading import Answers, SensorError, find_program, list_names, printable, read_integer, read_name, read_text

if TYPE_CHECKING:
    from pathlib import Path

_RELEASE = re.compile(r"# R([0-9]+) \(release\), REVISION: ([0-9.]+)")
_CHIP = re.compile(r"nvidia,(tegra[0-9]+)")
_MODE = re.compile(r"NV Power Mode:[ \t]*(\S[^\n]*)(?:\n[ \t]*([0-9]+)[ \t]*(?:\n|$))?")
_MODE_WAIT_S = 2.0
_STATUS = re.compile(r"pmode:([0-9]{1,4})\b")
_POWER_MODEL = re.compile(r"<[ \t]*POWER_MODEL[ \t]+ID=([0-9]{1,3})[ \t]+NAME=(\S{1,60})[ \t]*>")
_CONFIGURATION_BYTES = 1 << 20
_FASTEST = ("MAXN_SUPER", "MAXN")
_GPU = re.compile(r"gpu-.*|.*\.(?:gpu|gm20b|gp10b|gv11b|ga10b)")
"""Names of the GPU in /sys/class/devfreq: `17000000.gpu` (Orin), `17000000.gv11b` (Xavier), `gpu-gpc-0` (Thor)."""

SM_OF_CHIP = {"tegra194": "7.2", "tegra234": "8.7", "tegra264": "11.0"}
"""Compute capability of the GPU inside: Xavier, Orin, Thor."""


@dataclass(frozen=True)
class PowerMode:
    """One of the board's modes; the numbers differ from board to board."""

    name: str | None
    id: int | None


@dataclass(frozen=True)
class Board:
    """A Jetson. None is what could not be read; `unknown` then says why.

    Attributes:
        model: The module's name.
        chip: Such as ``tegra234``.
        l4t: Release of Jetson Linux, such as ``36.4.3``.
        jetpack: What this release is called and brings.
        power_mode: The mode now.
        fastest_mode: The mode without a limit of power, if the board has one.
        clocks_locked: Whether CPU and GPU are held at their highest clocks.
        gpu_mhz: Clock of the GPU now, by devfreq device.
        unknown: Attribute -> why it is None.
    """

    model: str | None
    chip: str | None
    l4t: str | None
    jetpack: JetPack | None
    power_mode: PowerMode | None
    fastest_mode: PowerMode | None
    clocks_locked: bool | None
    gpu_mhz: dict[str, float] | None
    unknown: dict[str, str]


def find_board(root: Path) -> Board | None:
    """The Jetson that this is, or None on another machine.

    Args:
        root: `/`, or a tree that looks like it.
    """
    if not _is_jetson(root):
        return None
    answers = Answers()
    l4t = answers.ask("l4t", lambda: l4t_release(root))
    if l4t is None:
        answers.unknown["jetpack"] = "the release of Jetson Linux is not known"
    return Board(
        model=answers.ask("model", lambda: board_model(root)),
        chip=answers.ask("chip", lambda: _chip(root)),
        l4t=l4t,
        jetpack=None if l4t is None else answers.ask("jetpack", lambda: jetpack_of(l4t)),
        power_mode=answers.ask("power_mode", lambda: _power_mode(root)),
        fastest_mode=answers.ask("fastest_mode", lambda: _fastest(root)),
        clocks_locked=answers.ask("clocks_locked", lambda: _clocks_locked(root)),
        gpu_mhz=answers.ask("gpu_mhz", lambda: gpu_clocks(root)),
        unknown=answers.unknown,
    )


def board_model(root: Path) -> str:
    """The board's name from its device tree. Raises SensorError where there is none."""
    return read_name(root / "proc/device-tree/model")


def l4t_release(root: Path) -> str:
    """The release of Jetson Linux, such as `36.4.3`. Raises SensorError on another system."""
    path = root / "etc/nv_tegra_release"
    line = read_name(path)
    if not (match := _RELEASE.match(line)):
        raise SensorError(f"{path} holds {line[:60]!r}, not a release")
    return ".".join(match.groups())


def power_mode(root: Path) -> dict[str, Any]:
    """Name and number of the power mode, as `nvpmodel -q` tells them; the numbers differ from board to board.

    Raises:
        SensorError: The program is not installed, fails, hangs or says something else.
    """
    program = find_program("nvpmodel", root)
    if program is None:
        raise SensorError("nvpmodel is not installed")
    try:
        finished = subprocess.run(  # noqa: S603  (the board's own program, no shell)
            [program, "-q"], capture_output=True, stdin=subprocess.DEVNULL, timeout=_MODE_WAIT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SensorError(f"{program} -q: {printable(str(error))}") from None
    match = _MODE.search(finished.stdout.decode("utf-8", "replace"))
    if not match:
        raise SensorError(f"{program} -q names no power mode (exit code {finished.returncode})")
    name, number = match.groups()
    return {"name": printable(name)} | ({"id": int(number)} if number else {})


def gpu_clocks(root: Path) -> dict[str, float]:
    """MHz of the integrated GPU, by the name of its devfreq device; 0 is a GPU that sleeps.

    Raises:
        SensorError: There is none, or one cannot be read.
    """
    return {path.name: read_integer(path / "cur_freq") / 1e6 for path in _gpu_devices(root)}


def _gpu_devices(root: Path) -> list[Path]:
    folder = root / "sys/class/devfreq"
    names = [name for name in list_names(folder) if _GPU.fullmatch(name)]
    if not names:
        raise SensorError(f"{folder} has no GPU")
    return [folder / name for name in names]


def _is_jetson(root: Path) -> bool:
    if (root / "etc/nv_tegra_release").exists():
        return True
    asked = Answers()
    if asked.ask("chip", lambda: _chip(root)):
        return True
    return "Jetson" in (asked.ask("model", lambda: board_model(root)) or "")


def _chip(root: Path) -> str:
    path = root / "proc/device-tree/compatible"
    if not (match := _CHIP.search(read_text(path))):
        raise SensorError(f"{path} names no chip of NVIDIA")
    return match[1]


def _power_mode(root: Path) -> PowerMode:
    """From nvpmodel's status file, which needs no rights and no process; else from the program."""
    try:
        match = _STATUS.search(read_text(root / "var/lib/nvpmodel/status"))
    except SensorError:
        match = None
    if not match:
        told = power_mode(root)
        return PowerMode(told["name"], told.get("id"))
    number = int(match[1])
    return PowerMode(Answers().ask("modes", lambda: _modes(root).get(number)), number)


def _modes(root: Path) -> dict[int, str]:
    path = root / "etc/nvpmodel.conf"
    modes = {int(number): printable(name) for number, name in _POWER_MODEL.findall(_configuration(path))}
    if not modes:
        raise SensorError(f"{path} lists no power mode")
    return modes


def _configuration(path: Path) -> str:
    return read_text(path, _CONFIGURATION_BYTES)


def _fastest(root: Path) -> PowerMode:
    modes = {name: number for number, name in _modes(root).items()}
    for name in _FASTEST:
        if name in modes:
            return PowerMode(name, modes[name])
    raise SensorError(f"no power mode is called {' or '.join(_FASTEST)}: {', '.join(modes)}")


def _clocks_locked(root: Path) -> bool:
    """Whether the lowest clock of the GPU and of every core is their highest."""
    limits = [(path / "min_freq", path / "max_freq") for path in _gpu_devices(root)]
    cores = sorted((root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq"))
    limits += [(core / "scaling_min_freq", core / "scaling_max_freq") for core in cores]
    return all(_clock(low) >= _clock(high) for low, high in limits)


def _clock(path: Path) -> int:
    if (hertz := read_integer(path)) <= 0:
        raise SensorError(f"{path} holds {hertz}, which is no clock")
    return hertz
