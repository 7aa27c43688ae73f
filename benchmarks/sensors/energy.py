"""All energy sensors of the machine as one: what can be read, what cannot and why, and joules per domain."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from .base import ROOT, Sampling, SensorError
from .ina import KIND as INA
from .ina import open_ina
from .nvml import KIND as NVML
from .nvml import open_nvml
from .rails import UNKNOWN_TOTAL
from .rapl import KIND as RAPL
from .rapl import open_rapl
from .tegrastats import KIND as TEGRASTATS
from .tegrastats import TegrastatsMeter

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    from .base import Meter

_RAILS = (INA, TEGRASTATS)


class Energy:
    """The energy sensors of this machine. Made by `open`; a context manager.

    No sensor ever stops a measurement: one that is not there is in `absent` from the start, and one that fails later
    leaves `domains` and `joules` and appears in `absent` under its own name.
    """

    def __init__(self, meters: Sequence[Meter], absent: Mapping[str, str]) -> None:
        self._meters = tuple(meters)
        self._absent = dict(absent)

    @classmethod
    def open(cls, root: Path = ROOT, sampling: Sampling | None = None, library: Any = None) -> Energy:
        """Open every sensor that can be read.

        Args:
            root: `/`, or a tree that looks like it (for tests, or a host's tree inside a container); then NVML,
                which is no file, is asked only through `library`.
            sampling: How power is sampled where there is no counter; the default takes 50 samples a second.
            library: A module with the functions of `pynvml`; None is the installed one.
        """
        sampling = sampling or Sampling()
        openers: dict[str, Callable[[], Meter]] = {
            RAPL: lambda: open_rapl(root, sampling),
            NVML: lambda: _open_nvml(root, sampling, library),
            INA: lambda: open_ina(root, sampling),
            TEGRASTATS: lambda: TegrastatsMeter.open(root, sampling),
        }
        meters: list[Meter] = []
        absent: dict[str, str] = {}
        with contextlib.ExitStack() as opened:  # an interrupt half-way leaves no thread behind
            for kind, opener in openers.items():
                if kind == TEGRASTATS and INA not in absent:
                    absent[kind] = "not started: it would read the INA3221 again"
                    continue
                try:
                    meters.append(opener())
                    opened.callback(meters[-1].close)
                except SensorError as error:
                    absent[kind] = str(error)
            opened.pop_all()
        return cls(meters, absent)

    @property
    def domains(self) -> tuple[str, ...]:
        """What can be read now, such as `CPU package 0 (RAPL)`, `GPU 0 NVIDIA H100 (NVML)`, `VDD_IN (INA3221)`."""
        return tuple(name for meter in self._meters for name in meter.domains)

    @property
    def absent(self) -> dict[str, str]:
        """Why something cannot be read, in one line each: by kind (`RAPL`), or by domain if only that one fails."""
        lost = {name: reason for meter in self._meters for name, reason in meter.lost.items()}
        return self._absent | lost

    @property
    def total(self) -> tuple[str, ...]:
        """The domains that may be added up without counting anything twice; ask for it after the last `joules`.

        Servers and desktops: every CPU package, its memory (which RAPL counts beside the package) and every GPU.
        Boards with power rails (Jetson): the rails that `rails.py` knows to be the module's input, and nothing of
        another kind, as the rails hold the CPU and the GPU already. A kind of which one domain was lost is left out
        whole: its sum would look complete.
        """
        rails = [meter for meter in self._meters if meter.kind in _RAILS]
        return tuple(name for meter in rails or self._meters for name in meter.total)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of the numbers must know, one line each."""
        rails = [meter for meter in self._meters if meter.kind in _RAILS]
        notes = [UNKNOWN_TOTAL for meter in rails if not meter.total and not meter.lost]
        others = [name for meter in self._meters if meter.kind not in _RAILS for name in meter.domains]
        if rails and others:
            notes.append(f"not in the total, as the board's rails may hold it already: {', '.join(others)}")
        notes += [
            f"{meter.kind} has no total: {', '.join(meter.lost)} cannot be read"
            for meter in self._meters
            if meter.lost and not meter.total
        ]
        return tuple(notes)

    def joules(self) -> dict[str, float]:
        """Joules since `open`, per domain; never less than at an earlier call. `joules_between` gives differences."""
        return {name: joules for meter in self._meters for name, joules in meter.joules().items()}

    def close(self) -> None:
        """Stop every thread and child process. May be called twice; `joules` then tells what was spent until now."""
        for meter in self._meters:
            meter.close()

    def __enter__(self) -> Energy:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _open_nvml(root: Path, sampling: Sampling, library: Any) -> Meter:
    if library is None and root != ROOT:
        raise SensorError(f"not asked: {root} is not this machine's root")
    return open_nvml(sampling, library)
