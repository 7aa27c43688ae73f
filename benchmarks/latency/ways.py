"""How a bundle runs, as it is written on a command line: ``ENGINE[@DEVICE][,OPTION=VALUE]...``."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from smartrt.engines import ENGINES, device_of
from smartrt.errors import OptionError

_SPELLING = re.compile(r"(?P<engine>[a-z]+)(@(?P<device>[a-z]+(:\d+)?))?(?P<options>(,[a-z0-9_]+=[^,=]+)*)")
_BOOLEANS = {"true": True, "on": True, "yes": True, "false": False, "off": False, "no": False}


@dataclass(frozen=True)
class Way:
    """An engine, its device, and options of both the engine and `Encoder.open`.

    Attributes:
        text: As it was written.
        engine: One of `ENGINES`.
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        options: Whole numbers, booleans and words; whether there is such an option is known when it is opened.
    """

    text: str
    engine: str
    device: str
    options: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str, device: str | None = None) -> Way:
        """``ort@cuda,cuda_graphs=on,token_budget=4096`` or ``trt``.

        Args:
            text: What was written.
            device: Where a way that names none runs; None: the engine's own.

        Raises:
            OptionError: It is something else, or there is no such engine.
        """
        match = _SPELLING.fullmatch(text)
        if not match:
            raise OptionError(
                f"{text!r} is no way to run: give ENGINE[@DEVICE][,OPTION=VALUE], such as ort@cuda,tf32=on"
            )
        if match["engine"] not in ENGINES:
            raise OptionError(f"unknown engine {match['engine']!r} in {text!r}; there are: {', '.join(ENGINES)}")
        options: dict[str, Any] = {}
        for part in filter(None, match["options"].split(",")):
            name, _, value = part.partition("=")
            if name in options:
                raise OptionError(f"{text!r} gives {name} twice")
            options[name] = _value(value)
        return cls(text, match["engine"], match["device"] or device_of(match["engine"], device), options)


def _value(text: str) -> Any:
    if text.isdecimal():
        return int(text)
    return _BOOLEANS.get(text.lower(), text)
