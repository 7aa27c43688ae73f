"""Items that calibration reads, and checkpoints whose products matter."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors.torch import load_file, save_file

import tiny_checkpoints
from smartrt.export.sentences import DOCUMENTS


def write_items(path: Path, count: int = 12, characters: int = 300) -> Path:
    """JSON Lines of texts that tiny checkpoints have words for."""
    words = " ".join(text for text in DOCUMENTS if len(text) < 5000)
    texts = [(words * (2 + characters // len(words)))[i : i + characters] for i in range(count)]
    lines = [json.dumps({"id": f"c{i}", "text": text}) for i, text in enumerate(texts)]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def loud_checkpoint(family: str, directory: Path, vocabulary: int = 600) -> Path:
    """A tiny checkpoint with the weights of its products times eight.

    As they are made, they add a hundredth to the residual stream: whatever becomes of them, vectors stay the same.
    """
    checkpoint = tiny_checkpoints.build(family, directory, vocabulary=vocabulary)
    path = checkpoint / "model.safetensors"
    tensors = load_file(path)
    for name, tensor in tensors.items():
        if tensor.ndim == 2 and "embed" not in name.replace("embedding_hidden_mapping", ""):
            tensors[name] = tensor * 8
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, metadata={"format": "pt"})
    return checkpoint
