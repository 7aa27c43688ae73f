"""A random Qwen3-VL of 2B or 8B size, to measure exports with: 4.3 or 16 GB in bfloat16, written shard by shard.

    .venv/bin/python docs/make_random_qwen.py 2b DIRECTORY PROCESSOR

PROCESSOR is a directory with the tokenizer, the chat template and the `preprocessor_config.json` of Qwen3-VL.
"""

import json
import math
import shutil
import sys
from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file

SHARD_BYTES = 1 << 29
TEXT = {
    "vocab_size": 151936, "head_dim": 128, "num_key_value_heads": 8, "max_position_embeddings": 262144,
    "rope_theta": 5e6,
    "rope_scaling": {"rope_type": "default", "mrope_section": [24, 20, 20], "mrope_interleaved": True},
}  # fmt: skip
VISION = {"num_heads": 16, "patch_size": 16, "num_position_embeddings": 2304}
SIZES = {
    "2b": (
        {"hidden_size": 2048, "intermediate_size": 6144, "num_hidden_layers": 28, "num_attention_heads": 16},
        {"depth": 24, "hidden_size": 1024, "intermediate_size": 4096, "deepstack_visual_indexes": [5, 11, 17]},
    ),
    "8b": (
        {"hidden_size": 4096, "intermediate_size": 12288, "num_hidden_layers": 36, "num_attention_heads": 32},
        {"depth": 27, "hidden_size": 1152, "intermediate_size": 4304, "deepstack_visual_indexes": [8, 16, 24]},
    ),
}
IDS = {
    "image_token_id": 151655, "video_token_id": 151656, "vision_start_token_id": 151652, "vision_end_token_id": 151653,
}  # fmt: skip


def main(size: str, directory: Path, processor: Path) -> None:
    """Write the checkpoint."""
    directory.mkdir(parents=True)
    for file in processor.iterdir():
        shutil.copyfile(file, directory / file.name)
    text, vision = SIZES[size]
    vision |= {"out_hidden_size": text["hidden_size"]}
    config = transformers.Qwen3VLConfig(text_config=TEXT | text, vision_config=VISION | vision, **IDS)
    config.architectures = ["Qwen3VLForConditionalGeneration"]
    config.save_pretrained(directory)
    with torch.device("meta"):
        model = transformers.AutoModel.from_config(config, dtype=torch.bfloat16)
    shapes = {f"model.{name}": tuple(parameter.shape) for name, parameter in model.named_parameters()}
    _write(directory, shapes)


def _write(directory: Path, shapes: dict[str, tuple[int, ...]]) -> None:
    generator = torch.Generator().manual_seed(20240521)
    shards: list[list[str]] = [[]]
    held = 0
    for name, shape in shapes.items():
        size = 2 * math.prod(shape)
        if held and held + size > SHARD_BYTES:
            shards.append([])
            held = 0
        shards[-1].append(name)
        held += size
    places = {}
    for number, names in enumerate(shards, start=1):
        file = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        save_file({name: _weight(name, shapes[name], generator) for name in names}, directory / file, {"format": "pt"})
        places |= dict.fromkeys(names, file)
    index = {"metadata": {"total_size": 2 * sum(map(math.prod, shapes.values()))}, "weight_map": places}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def _weight(name: str, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    """Norms are ones, all else is normal with the deviation models start from."""
    if "norm" in name and name.endswith("weight"):
        return torch.ones(shape, dtype=torch.bfloat16)
    return torch.empty(shape, dtype=torch.bfloat16).normal_(0.0, 0.02, generator=generator)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
