"""Which power rails of a Jetson are its total: some rails feed others, and their sum would count twice.

The names of the rails tell the board; a board's rails are those of NVIDIA's Jetson Linux Developer Guide, "Platform
Power and Performance". The total is what enters the module; on TX1 and TX2 the carrier board (`VDD_MUX`) is beside it.

    board                              total                                  why
    Thor                               VIN                                    an INA238 at the input; the rest are parts
    Orin Nano/NX, Xavier NX, TX1, TX2  VDD_IN                                 the module's input; the rest are parts
    Nano                               POM_5V_IN                              the same under its older name
    AGX Orin                           VDD_GPU_SOC + VDD_CPU_CV + VIN_SYS_5V0 VDDQ_VDD2_1V8AO is fed by VIN_SYS_5V0
    AGX Xavier                         GPU + CPU + SOC + CV + VDDRQ + SYS5V   six rails side by side, no common input
    any other                          none                                   not known: not guessed
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

_TOTALS: tuple[tuple[str, ...], ...] = (
    ("VIN",),
    ("VDD_IN",),
    ("POM_5V_IN",),
    ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"),
    ("GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"),
)
_UNCONNECTED = frozenset({"", "NC"})

UNKNOWN_TOTAL = "which of this board's power rails feed the others is not known: nothing is added up"


def total_rails(rails: Collection[str]) -> tuple[str, ...]:
    """The rails whose power adds up to the module's; empty where the board is not known.

    Args:
        rails: Names of all rails of the board.
    """
    return next((total for total in _TOTALS if all(name in rails for name in total)), ())


def is_connected(rail: str) -> bool:
    """Whether a channel of this name measures something: unused ones are named `NC`."""
    return rail.upper() not in _UNCONNECTED
