"""What a Jetson says of itself: board, release, power mode, clock of its GPU."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING, Any

from .base import SensorError, find_program, list_names, printable, read_integer, read_name

if TYPE_CHECKING:
    from pathlib import Path

_RELEASE = re.compile(r"# R([0-9]+) \(release\), REVISION: ([0-9.]+)")
_MODE = re.compile(r"NV Power Mode:[ \t]*(\S[^\n]*)(?:\n[ \t]*([0-9]+)[ \t]*(?:\n|$))?")
_MODE_WAIT_S = 2.0
_GPU = re.compile(r"gpu-.*|.*\.(?:gpu|gm20b|gp10b|gv11b|ga10b)")
"""Names of the GPU in /sys/class/devfreq: `17000000.gpu` (Orin), `17000000.gv11b` (Xavier), `gpu-gpc-0` (Thor)."""


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
    folder = root / "sys/class/devfreq"
    names = [name for name in list_names(folder) if _GPU.fullmatch(name)]
    if not names:
        raise SensorError(f"{folder} has no GPU")
    return {name: read_integer(folder / name / "cur_freq") / 1e6 for name in names}
