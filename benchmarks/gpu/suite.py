"""Parts, one after another, into one JSON file that is rewritten after each: a run may be broken off."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from smartrt import strict_json
from smartrt.errors import InputError, OptionError, SmartrtError
from smartrt.files import replace_file

from ..deadline import Deadline

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

FORMAT = 1
NOT_RUN = "not yet run on a GPU"


class PartSkippedError(SmartrtError):
    """A part that has nothing to do here, such as TensorRT's where it is not installed."""


class PartFailedError(SmartrtError):
    """A part that failed and has something to show all the same."""

    def __init__(self, message: str, result: Any) -> None:
        super().__init__(message)
        self.result = result


@dataclass(frozen=True)
class Part:
    """One step of a run.

    Attributes:
        name: In the file, and what ``--only`` takes.
        budget_s: Seconds it may take.
        run: Does it, and returns what is JSON-ready. Any `SmartrtError` is a failure that ends no other part.
        needs_gpu: Whether it is of no use on a machine without one.
    """

    name: str
    budget_s: float
    run: Callable[[Deadline], Any]
    needs_gpu: bool = True


@dataclass(frozen=True)
class Suite:
    """Runs parts.

    Attributes:
        parts: In their order.
        output: The file.
        about: What stands at its top: the machine.
        identity: What two runs must share to stand in one file, by its name for people: GPUs, plan, code.
        state: Reads clocks and heat; before and after each part.
        evaluate: Makes the requirements of the parts' entries.
    """

    parts: Sequence[Part]
    output: Path
    about: Mapping[str, Any]
    identity: Mapping[str, Any]
    state: Callable[[], Any]
    evaluate: Callable[[Mapping[str, Any]], list[dict[str, Any]]]

    def check(self, only: Sequence[str]) -> None:
        """Refuse names that are no part's.

        Raises:
            OptionError: There is no such part.
        """
        names = [part.name for part in self.parts]
        if unknown := [name for name in only if name not in names]:
            raise OptionError(f"there is no part {unknown[0]!r}; there are: {', '.join(names)}")

    def run(self, only: Sequence[str] = (), report: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
        """Run all parts, or those named in `only`; then the others keep what the file says of them.

        Args:
            only: Names of parts.
            report: Told of each part, before and after.

        Returns:
            What the file holds.

        Raises:
            OptionError: There is no such part.
            InputError: The file that is to be added to is none of this command, or of another machine, plan or code.
            StorageError: The disk refuses.
        """
        self.check(only)
        entries = self._kept() if only else {}
        for part in self.parts:
            entries.setdefault(part.name, {"status": NOT_RUN, "reason": None, "budget_s": part.budget_s})
        result = self._write(entries)
        for part in self.parts:
            if not only or part.name in only:
                report(f"{part.name}, at most {part.budget_s:g} s")
                entries[part.name] = entry = self._run(part)
                result = self._write(entries)
                reason = f": {entry['reason']}" if entry["reason"] else ""
                report(f"{part.name} {entry['status']} after {entry['seconds']:g} s{reason}")
        return result

    def _run(self, part: Part) -> dict[str, Any]:
        before, started = self.state(), time.monotonic()
        status, reason, found = "ok", None, None
        try:
            found = part.run(Deadline.of(part.budget_s))
        except PartSkippedError as error:
            status, reason = "skipped", str(error)
        except PartFailedError as error:
            status, reason, found = "failed", str(error), error.result
        except SmartrtError as error:
            status, reason = "failed", str(error)
        except Exception as error:  # noqa: BLE001  (a bug in one part must not cost the others)
            status, reason = "failed", f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        return {
            "status": status,
            "reason": reason,
            "budget_s": part.budget_s,
            "seconds": round(time.monotonic() - started, 1),
            "before": before,
            "after": self.state(),
            "result": found,
        }

    def _write(self, entries: dict[str, Any]) -> dict[str, Any]:
        ordered = {part.name: entries[part.name] for part in self.parts}
        about = {"format": FORMAT, **self.about, "identity": self.identity}
        result = {**about, "parts": ordered, "requirements": self.evaluate(ordered)}
        text = json.dumps(result, indent=1, allow_nan=False)
        replace_file(self.output, f"{text}\n".encode())
        written: dict[str, Any] = json.loads(text)
        return written

    def _kept(self) -> dict[str, Any]:
        """The parts of a file that is there."""
        if not self.output.exists():
            return {}
        entries, identity = self._read()
        other = [name for name, now in self.identity.items() if identity.get(name) != now]
        if other:
            differs = " and ".join(_difference(name, identity.get(name), self.identity[name]) for name in other)
            raise InputError(
                f"{self.output} was measured with {differs}: parts of both cannot stand in one file; choose another "
                "name (--work keeps what was made), or measure all parts anew"
            )
        return {part.name: entries[part.name] for part in self.parts if part.name in entries}

    def _read(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Parts and identity of the file."""
        try:
            data = strict_json.load(self.output)
            known = data["format"] == FORMAT and all("status" in entry for entry in data["parts"].values())
            if known and isinstance(data["identity"], dict):
                return data["parts"], data["identity"]
        except (OSError, strict_json.StrictJsonError, TypeError, KeyError, AttributeError):
            pass
        raise InputError(f"{self.output} is no result of smartrt bench gpu: choose another name, or remove it")


def _difference(name: str, was: Any, now: Any) -> str:
    """``another plan (rounds 1, now 2)``; of a hash there is nothing to show."""
    if isinstance(was, dict) and isinstance(now, dict):
        keys = [key for key in now if was.get(key) != now[key]] or [key for key in was if key not in now]
        shown = [f"{key} {was.get(key)}, now {now.get(key)}" for key in keys]
        return f"another {name} ({'; '.join(shown)[:200]})"
    return f"other {name}" if isinstance(now, str) else f"other {name} ({was}, now {now})"
