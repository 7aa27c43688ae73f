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
import shutil
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from .. import strict_json
from ..bundle import MANIFEST_NAME, sha256_of
from ..files import new_directory, writing
from .request import Profile  # noqa: TC001  (strict_json reads the types when it runs)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

FORMAT_VERSION = 1
PLAN_NAME = "plan.engine"
_LOCK = "build.lock"


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
    """What the cache holds for a key: the plan, or why there is none that may be loaded."""

    path: Path | None
    reason: str = ""


class PlanCache:
    """The plans of one bundle."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def find(self, key: PlanKey) -> Found:
        """The plan for `key`, its hash compared; never raises for what lies there."""
        directory = self.directory / key.name
        plan = directory / PLAN_NAME
        if not directory.is_dir():
            return Found(None, self._other(key))
        try:
            manifest = strict_json.read(PlanManifest, directory / MANIFEST_NAME, FORMAT_VERSION, "plan")
            if manifest.key != key:
                return Found(None, f"{directory} says it is for something else")
            if plan.stat().st_size != manifest.bytes or sha256_of(plan) != manifest.sha256:
                return Found(None, f"{plan} is not the file that was compiled")
        except strict_json.StrictJsonError as error:
            return Found(None, f"{directory / MANIFEST_NAME}: {error}")
        except OSError as error:
            return Found(None, f"cannot read {error.filename}: {error.strerror}")
        return Found(plan)

    def add(self, key: PlanKey, compile_to: Callable[[Path], float]) -> Path:
        """Compile a plan and note it; what lay there for `key` is removed first.

        Args:
            key: What it is for.
            compile_to: Writes the plan to a path and returns how many seconds that took.

        Raises:
            StorageError: The disk refuses.
        """
        directory = self.directory / key.name
        if directory.exists():
            with writing(directory):
                shutil.rmtree(directory)
        with new_directory(directory) as temporary:
            plan = temporary / PLAN_NAME
            seconds = compile_to(plan)
            manifest = PlanManifest(FORMAT_VERSION, key, plan.stat().st_size, sha256_of(plan), round(seconds, 3))
            (temporary / MANIFEST_NAME).write_text(strict_json.dumps(manifest), encoding="utf-8")
        return directory / PLAN_NAME

    def others(self, keep: set[str]) -> list[Path]:
        """Directories of plans whose names are not in `keep`."""
        if not self.directory.is_dir():
            return []
        return sorted(path.parent for path in self.directory.glob(f"*/{PLAN_NAME}") if path.parent.name not in keep)

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
            differs = [name for name, value in asdict(key).items() if asdict(other)[name] != value]
            if other.machine != key.machine:
                there, here = asdict(other.machine), asdict(key.machine)
                differs += [
                    f"{name} {there[name]!r} instead of {here[name]!r}" for name in there if there[name] != here[name]
                ]
                differs.remove("machine")
            return f"the plan in {path.parent} was compiled for another {', '.join(differs)}"
        return f"there is none in {self.directory}"


def _digest(data: object) -> str:
    canonical = json.dumps(data, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]
