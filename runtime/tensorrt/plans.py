"""The plan cache: a directory beside the bundle, one directory a plan, found again by all that decided it.

    minilm.plans/
        timing-<machine>.cache          measured times of kernels, TensorRT's own file
        encoder-3f0c…/plan.engine       the plan
        encoder-3f0c…/manifest.json     its key, size and SHA-256

A plan is machine code: it is loaded only if its key is the one that is wanted, word for word, and its content has the
hash that was noted when it was compiled. Plans are made where they run and never shipped.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from .. import strict_json
from ..bundle import MANIFEST_NAME, sha256_of
from ..files import new_directory, writing
from .request import Profile  # noqa: TC001  (strict_json reads the types when it runs)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

FORMAT_VERSION = 1
PLAN_NAME = "plan.engine"
_LOCK = "build.lock"
_WORDS = {
    "files": "graph or weights",
    "profiles": "shapes (--gpu-max-length, --token-budget)",
    "workspace_bytes": "--workspace-mb",
    "optimization_level": "--optimization-level",
    "tf32": "--tf32",
}
_ROOT = 0


@dataclass(frozen=True)
class Machine:
    """What a plan is bound to.

    Attributes:
        tensorrt: Its version, such as ``10.3.0``.
        gpu: The GPU's name.
        capability: Its compute capability, such as ``8.7``.
        platform: System and processor, on a Jetson with the release of L4T and the board.
    """

    tensorrt: str
    gpu: str
    capability: str
    platform: str


@dataclass(frozen=True)
class PlanKey:
    """All that decides a plan.

    Attributes:
        graph: Its name in the bundle.
        files: SHA-256 of the ONNX file and its data, by name.
        machine: What compiled it.
        profiles: The shapes it serves.
        workspace_bytes: As in `CompileRequest`.
        optimization_level: As in `CompileRequest`.
        tf32: As in `CompileRequest`.
    """

    graph: str
    files: dict[str, str]
    machine: Machine
    profiles: tuple[Profile, ...]
    workspace_bytes: int | None
    optimization_level: int | None
    tf32: bool

    @property
    def name(self) -> str:
        """Of the plan's directory."""
        return f"{self.graph}-{_digest(asdict(self))}"


@dataclass(frozen=True)
class PlanManifest:
    """What is noted of a plan."""

    format_version: int
    key: PlanKey
    bytes: int
    sha256: str
    seconds: float


@dataclass(frozen=True)
class Found:
    """What the cache holds for a key: the plan and the hash it must have, or why there is none that may be loaded."""

    path: Path | None
    reason: str = ""
    sha256: str = ""


class PlanCache:
    """The plans of one bundle."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def find(self, key: PlanKey, *, hashed: bool = True) -> Found:
        """The plan for `key`; never raises for what lies there.

        Args:
            key: What is wanted.
            hashed: Compare its content with its hash. Without, whoever loads it must (`Plan.load`).
        """
        directory = self.directory / key.name
        plan = directory / PLAN_NAME
        if not directory.is_dir():
            return Found(None, self._other(key))
        try:
            manifest = strict_json.read(PlanManifest, directory / MANIFEST_NAME, FORMAT_VERSION, "plan")
            if manifest.key != key:
                return Found(None, f"{directory} says it is for something else")
            if problem := next(filter(None, map(_untrusted, (directory, plan))), None):
                return Found(None, problem)
            if plan.stat().st_size != manifest.bytes or (hashed and sha256_of(plan) != manifest.sha256):
                return Found(None, f"{plan} is not the file that was compiled")
        except strict_json.StrictJsonError as error:
            return Found(None, f"{directory / MANIFEST_NAME}: {error}")
        except OSError as error:
            return Found(None, f"cannot read {error.filename}: {error.strerror}")
        return Found(plan, sha256=manifest.sha256)

    def add(self, key: PlanKey, compile_to: Callable[[Path], float]) -> Found:
        """Compile a plan and note it; what lay there for `key` is removed first.

        Args:
            key: What it is for.
            compile_to: Writes the plan to a path and returns how many seconds that took.

        Raises:
            StorageError: The disk refuses.
        """
        directory = self.directory / key.name
        self.remove(directory)
        with new_directory(directory) as temporary:
            plan = temporary / PLAN_NAME
            seconds = compile_to(plan)
            manifest = PlanManifest(FORMAT_VERSION, key, plan.stat().st_size, sha256_of(plan), round(seconds, 3))
            (temporary / MANIFEST_NAME).write_text(strict_json.dumps(manifest), encoding="utf-8")
        with writing(directory):  # a umask that lets others write would let them run code here
            directory.chmod(0o755)
            (directory / PLAN_NAME).chmod(0o644)
        return Found(directory / PLAN_NAME, sha256=manifest.sha256)

    def remove(self, directory: Path) -> None:
        """Remove the directory of a plan, if it is there.

        Raises:
            StorageError: The disk refuses.
        """
        if directory.exists():
            with writing(directory):
                shutil.rmtree(directory)

    def others(self, graphs: Iterable[str], keep: set[str]) -> list[Path]:
        """Directories of plans of some graphs whose names are not in `keep`."""
        found = [path for graph in graphs for path in self.directory.glob(f"{graph}-{'[0-9a-f]' * 16}")]
        return sorted(path for path in found if path.name not in keep)

    def timing_cache(self, machine: Machine) -> Path:
        """Where the measured times of kernels lie for this machine."""
        return self.directory / f"timing-{_digest(asdict(machine))}.cache"

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Hold the cache: two processes that miss the same plan compile it once."""
        with writing(self.directory):
            self.directory.mkdir(parents=True, exist_ok=True)
            lock = (self.directory / _LOCK).open("a")
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _other(self, key: PlanKey) -> str:
        """Why nothing fits: there is no plan, or the nearest one differs in what is said here."""
        for path in sorted(self.directory.glob(f"{key.graph}-*/{MANIFEST_NAME}")):
            try:
                other = strict_json.read(PlanManifest, path, FORMAT_VERSION, "plan").key
            except (OSError, strict_json.StrictJsonError):
                continue
            differs = [_WORDS.get(name, name) for name, value in asdict(key).items() if asdict(other)[name] != value]
            if other.machine != key.machine:
                there, here = asdict(other.machine), asdict(key.machine)
                differs += [
                    f"{name} {there[name]!r} instead of {here[name]!r}" for name in there if there[name] != here[name]
                ]
                differs.remove("machine")
            return f"the plan in {path.parent} was compiled for other {', '.join(differs)}"
        return f"there is none in {self.directory}"


def _untrusted(path: Path) -> str:
    """Why what lies there may be somebody else's code; empty if it is this user's or root's alone."""
    about = path.stat()
    if about.st_uid not in (_ROOT, os.geteuid()):
        return f"{path} belongs to another user (uid {about.st_uid})"
    return f"others may write {path}" if about.st_mode & 0o022 else ""


def _digest(data: object) -> str:
    canonical = json.dumps(data, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]
