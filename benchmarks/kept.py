"""Parts of a long measurement on disk, so that one that was broken off goes on where it was."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from smartrt import strict_json
from smartrt.cli.terminal import note
from smartrt.files import replace_file, writing

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Kept:
    """A directory of results, each found again by all that decides it. Make one with `open`.

    A file holds the SHA-256 of its result: one that was damaged is not there.
    """

    directory: Path

    @classmethod
    def open(cls, directory: Path) -> Kept:
        """Make the directory.

        Raises:
            StorageError: It cannot be made.
        """
        with writing(directory):
            directory.mkdir(parents=True, exist_ok=True)
        return cls(directory)

    def get(self, name: str, about: Any) -> Any:
        """The result that was put under `name` and `about`, JSON-ready; None if there is none."""
        path = self._path(name, about)
        try:
            found = strict_json.load(path)
            if found["sha256"] == _hash(found["result"]):
                return found["result"]
        except FileNotFoundError:
            return None
        except (OSError, strict_json.StrictJsonError, TypeError, KeyError):
            pass
        note(f"{path} is damaged, measuring it again")
        return None

    def put(self, name: str, about: Any, result: Any) -> None:
        """Keep a JSON-ready result.

        Raises:
            StorageError: The disk refuses.
        """
        content = json.dumps({"sha256": _hash(result), "result": result}, allow_nan=False)
        path = self._path(name, about)
        with writing(path):
            replace_file(path, content.encode())

    def _path(self, name: str, about: Any) -> Path:
        return self.directory / f"{name}-{_hash(about)[:16]}.json"


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, allow_nan=False).encode()).hexdigest()
