"""Version numbers, compared."""

from __future__ import annotations

import re


def numbers(version: str | None) -> tuple[int, ...]:
    """``10.16.2.10`` -> (10, 16, 2, 10); () where it is not known. What follows the numbers is left out."""
    match = re.match(r"[0-9]{1,9}(?:\.[0-9]{1,9})*", version or "")
    return tuple(map(int, match[0].split("."))) if match else ()


def at_least(version: str | None, least: str) -> bool:
    """Whether a version is known and not older than `least`."""
    return numbers(version) >= numbers(least)
