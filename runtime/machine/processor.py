"""The processor: its name, its cores, and whether it multiplies 8-bit numbers fast and exactly.

x86 without VNNI adds pairs of 8-bit products in 16 bits, which saturate; VNNI and Arm's dot product instructions add in
32 bits. `smartrt.scoring.rough.saturates` tries it where ONNX Runtime is installed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .reading import Answers, SensorError, printable, read_text

if TYPE_CHECKING:
    from pathlib import Path

_NAME = re.compile(r"^(?:model name|Model)\s*:\s*(\S.*)$", re.MULTILINE)
_FLAGS = re.compile(r"^(?:flags|Features)\s*:\s*(.*)$", re.MULTILINE)
_CORE = re.compile(r"^processor\s*:\s*[0-9]+\s*$", re.MULTILINE)
_CPUINFO_BYTES = 4 << 20
_EXACT = ("amx_int8", "avx512_vnni", "avx_vnni", "i8mm", "asimddp")
"""Instructions that add 8-bit products in 32 bits, as /proc/cpuinfo spells them, fastest first."""


@dataclass(frozen=True)
class Processor:
    """None is what could not be read; `unknown` says why.

    Attributes:
        name: As the kernel tells it.
        cores: Logical ones.
        eight_bit: The fastest of its instructions for 8-bit products that cannot saturate; empty if it has none.
        saturates: Whether ONNX Runtime's 8-bit products come out wrong here; None where it was not tried.
        unknown: Attribute -> why it is None.
    """

    name: str | None
    cores: int | None
    eight_bit: str | None
    saturates: bool | None
    unknown: dict[str, str]

    @property
    def exact(self) -> bool | None:
        """Whether 8-bit products come out exact: as tried, else as the instructions promise."""
        if self.saturates is not None:
            return not self.saturates
        return None if self.eight_bit is None else bool(self.eight_bit)


def read_processor(root: Path, saturates: bool | None) -> Processor:
    """What the kernel tells of the processor.

    Args:
        root: `/`, or a tree that looks like it.
        saturates: What a trial found, if there was one.
    """
    answers = Answers()
    text = answers.ask("name", lambda: read_text(root / "proc/cpuinfo", _CPUINFO_BYTES))
    if text is None:
        reason = answers.unknown["name"]
        return Processor(None, None, None, saturates, {"name": reason, "cores": reason, "eight_bit": reason})
    return Processor(
        name=answers.ask("name", lambda: printable(_first(_NAME, text, "name"))[:80]),
        cores=answers.ask("cores", lambda: _cores(text)),
        eight_bit=answers.ask("eight_bit", lambda: _eight_bit(_first(_FLAGS, text, "flags"))),
        saturates=saturates,
        unknown=answers.unknown,
    )


def _first(pattern: re.Pattern[str], text: str, what: str) -> str:
    if not (match := pattern.search(text)):
        raise SensorError(f"/proc/cpuinfo has no {what}")
    return match[1]


def _cores(text: str) -> int:
    if not (count := len(_CORE.findall(text))):
        raise SensorError("/proc/cpuinfo lists no core")
    return count


def _eight_bit(flags: str) -> str:
    found = set(flags.split())
    return next((name for name in _EXACT if name in found), "")
