"""The releases of JetPack: which Jetson Linux (L4T) they are, and what comes with them.

Read from NVIDIA's pages of JetPack 6 and 7 and from tables of environments that others verified on real boards:
developer.nvidia.com/embedded/jetpack, docs.pytorch.org/TensorRT (the JetPack page) and
github.com/Shattered217/Jetson-Orin-Wheels.
"""

from __future__ import annotations

from dataclasses import dataclass

from .reading import SensorError


@dataclass(frozen=True)
class JetPack:
    """One release and the versions that it installs."""

    version: str
    cuda: str
    cudnn: str
    tensorrt: str
    python: str


def _six(version: str) -> JetPack:
    return JetPack(version, cuda="12.6", cudnn="9.3.0", tensorrt="10.3.0", python="3.10")


_RELEASES = {
    "36.4.0": _six("6.1"),
    "36.4.3": _six("6.2"),
    "36.4.4": _six("6.2.1"),
    "36.4.7": _six("6.2.1"),
    "36.5": _six("6.2.2"),
    "38.2": JetPack("7.0", cuda="13.0", cudnn="9.12", tensorrt="10.13", python="3.12"),
    "38.4": JetPack("7.1", cuda="13.0", cudnn="9.12", tensorrt="10.13", python="3.12"),
    "39.2": JetPack("7.2", cuda="13.2.1", cudnn="9.20", tensorrt="10.16.2", python="3.12"),
}
"""By the first numbers of the L4T release."""


def jetpack_of(l4t: str) -> JetPack:
    """The JetPack of a release of Jetson Linux such as ``36.4.3``.

    Raises:
        SensorError: The table does not have it.
    """
    numbers = l4t.split(".")
    for length in range(len(numbers), 1, -1):
        if found := _RELEASES.get(".".join(numbers[:length])):
            return found
    raise SensorError(f"L4T {l4t} is no release that smartrt knows ({', '.join(_RELEASES)})")
