"""What a compiled library needs and which GPUs its kernels are for, read from the file and never loaded.

The list of needed libraries is the ELF dynamic section (System V ABI, chapter 5). Kernels lie in the section
`.nv_fatbin`: regions of magic 0xBA55ED50, each a chain of entries with a kind (1 PTX, 2 machine code), the size of
header and payload, and the number of the SM at byte 28. NVIDIA does not document them; they were read off real files.
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .reading import SensorError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_ELF64_LITTLE = b"\x7fELF\x02\x01"
_STRINGS, _DYNAMIC = 3, 6
_NEEDED = 1
_FATBIN = ".nv_fatbin"
_MAGIC = 0xBA55ED50
_REGIONS = 64
"""Regions that are read: every source file of the library has one, most of them for the same GPUs."""
_MOST_ENTRIES = 256
_LONGEST_NAME = 256


@dataclass(frozen=True)
class GpuCode:
    """Which GPUs a library has kernels for.

    Attributes:
        machine: SMs with machine code, such as 87 for compute capability 8.7.
        ptx: SMs with PTX, which drivers of every later GPU compile.
    """

    machine: tuple[int, ...]
    ptx: tuple[int, ...]

    def runs_on(self, sm: int, *, integrated: bool) -> bool:
        """Whether a GPU of this SM can run it.

        Machine code runs on the same major number and a minor one that is not lower; on a Jetson only on the very same
        SM (CUDA C++ Programming Guide, "Binary Compatibility").

        Args:
            sm: 87 for compute capability 8.7, 110 for 11.0.
            integrated: Whether it is a Jetson's.
        """
        if any(version <= sm for version in self.ptx):
            return True
        if integrated:
            return sm in self.machine
        return any(version // 10 == sm // 10 and version <= sm for version in self.machine)


@dataclass(frozen=True)
class _Section:
    name: int
    kind: int
    offset: int
    size: int
    link: int


def needed_libraries(path: Path) -> tuple[str, ...]:
    """Names of the shared libraries that `path` is linked to.

    Raises:
        SensorError: It cannot be read or is no ELF file of 64 bits.
    """
    with _Elf(path) as elf:
        return elf.needed()


def gpu_code(path: Path) -> GpuCode:
    """Which GPUs the kernels of `path` are for.

    Raises:
        SensorError: It cannot be read, is no ELF file of 64 bits, or has no kernels.
    """
    with _Elf(path) as elf:
        entries = set(elf.kernels())
    if not entries:
        raise SensorError(f"{path} has no GPU kernels")
    machine, ptx = (tuple(sorted({sm for kind, sm in entries if kind == which})) for which in (2, 1))
    return GpuCode(machine, ptx)


class _Elf:
    """A mapped file. Every method raises SensorError where it is not what an ELF file is."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> _Elf:
        try:
            with self._path.open("rb") as file:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            raise SensorError(f"{self._path} cannot be read: {error}") from None
        return self

    def __exit__(self, *_: object) -> None:
        self._map.close()

    def needed(self) -> tuple[str, ...]:
        sections = self._sections()
        names = []
        for section in (each for each in sections if each.kind == _DYNAMIC):
            strings = self._one(sections, section.link)
            for at in range(section.offset, section.offset + section.size, 16):
                tag, value = self._unpack("<qQ", at)
                if tag == _NEEDED:
                    names.append(self._string(strings.offset + value))
        return tuple(names)

    def kernels(self) -> Iterator[tuple[int, int]]:
        """Kind and SM of the entries."""
        sections = self._sections()
        (index,) = self._unpack("<H", 62)
        names = self._one(sections, index)
        for section in sections:
            if self._string(names.offset + section.name) == _FATBIN:
                yield from self._regions(section)

    def _regions(self, section: _Section) -> Iterator[tuple[int, int]]:
        at, end = section.offset, min(section.offset + section.size, len(self._map))
        for _ in range(_REGIONS):
            at = self._map.find(struct.pack("<I", _MAGIC), at, end)
            if at < 0:
                return
            _, header, size = self._unpack("<HHQ", at + 4)
            yield from self._entries(at + header, min(at + header + size, end))
            at += header + size

    def _entries(self, at: int, end: int) -> Iterator[tuple[int, int]]:
        for _ in range(_MOST_ENTRIES):
            if at + 64 > end:
                return
            kind, _, header, size = self._unpack("<HHIQ", at)
            (sm,) = self._unpack("<I", at + 28)
            if kind not in (1, 2) or header < 32:
                return
            yield kind, sm
            at += header + size

    def _sections(self) -> list[_Section]:
        if self._map[: len(_ELF64_LITTLE)] != _ELF64_LITTLE:
            raise SensorError(f"{self._path} is no 64-bit ELF file")
        (table,) = self._unpack("<Q", 40)
        entry, count = self._unpack("<HH", 58)
        found = []
        for number in range(count):
            name, kind, _, _, offset, size, link = self._unpack("<IIQQQQI", table + number * entry)
            found.append(_Section(name, kind, offset, size, link))
        return found

    def _one(self, sections: list[_Section], index: int) -> _Section:
        if not index < len(sections) or sections[index].kind != _STRINGS:
            raise SensorError(f"{self._path} is damaged: section {index} holds no names")
        return sections[index]

    def _string(self, at: int) -> str:
        end = self._map.find(b"\0", at, at + _LONGEST_NAME)
        return self._map[at : max(end, at)].decode("utf-8", "replace")

    def _unpack(self, layout: str, at: int) -> tuple[int, ...]:
        try:
            return struct.unpack_from(layout, self._map, at)
        except (struct.error, OverflowError):
            raise SensorError(f"{self._path} is damaged: it ends before byte {at}") from None
