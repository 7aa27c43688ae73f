"""What an image may cost before it is refused."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import OptionError


@dataclass(frozen=True)
class ImageLimits:
    """What an image may cost. `max_pixels` counts width times height in the header."""

    max_bytes: int = 64 << 20
    max_pixels: int = 40_000_000

    def __post_init__(self) -> None:
        for name, value in (("max_bytes", self.max_bytes), ("max_pixels", self.max_pixels)):
            if type(value) is not int or value < 1:
                raise OptionError(f"{name} must be a whole number from 1 up, got {value!r}")
