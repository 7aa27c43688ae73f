"""A Qwen3-VL of 2B size with random weights: made, exported, and asked for one page and one query.

    python docs/measure_page.py make PROCESSOR_DIR CHECKPOINT
    /usr/bin/time -v smartrt export CHECKPOINT --preset qwen3-vl-embedding -o page.smartrt
    python docs/measure_page.py encode page.smartrt

PROCESSOR_DIR holds the tokenizer, the chat template and `preprocessor_config.json` of the Qwen3-VL family. Random
weights say nothing about retrieval; they cost the time and memory that trained ones do. `make` needs the
export extra; `encode` runs without PyTorch.
"""

import argparse
import json
import resource
import shutil
import sys
import time
from pathlib import Path

import numpy as np

PROCESSOR_FILES = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json",
    "merges.txt", "chat_template.jinja", "preprocessor_config.json",
)  # fmt: skip
TEXT = {
    "vocab_size": 151936, "hidden_size": 2048, "intermediate_size": 6144, "num_hidden_layers": 28,
    "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128, "rope_theta": 5_000_000,
    "max_position_embeddings": 262144, "tie_word_embeddings": True,
    "rope_scaling": {"rope_type": "default", "mrope_section": [24, 20, 20], "mrope_interleaved": True},
}  # fmt: skip
VISION = {
    "depth": 24, "hidden_size": 1024, "num_heads": 16, "intermediate_size": 4096, "patch_size": 16,
    "out_hidden_size": 2048, "num_position_embeddings": 2304, "deepstack_visual_indexes": [5, 11, 17],
}  # fmt: skip


def make(processor: Path, checkpoint: Path) -> None:
    """Write the checkpoint in float16."""
    import torch
    import transformers

    torch.manual_seed(0)
    torch.set_default_dtype(torch.float16)
    config = transformers.Qwen3VLConfig(text_config=TEXT, vision_config=VISION, tie_word_embeddings=True)
    model = transformers.Qwen3VLForConditionalGeneration(config)
    model.save_pretrained(checkpoint)
    for name in PROCESSOR_FILES:
        shutil.copyfile(processor / name, checkpoint / name)
    sys.stdout.write(f"{checkpoint}: {sum(p.numel() for p in model.parameters()):,} parameters\n")


def encode(bundle: str) -> None:
    """Encode one query, then one page of 1240 x 1754, and print what each took."""
    import smartrt

    page = np.random.default_rng(0).integers(0, 256, (1754, 1240, 3), dtype=np.uint8)
    started = time.perf_counter()
    encoder = smartrt.Encoder.open(bundle, verify=False)
    report("opened", started)
    for label, items in (
        ("query", "which page has the totals?"),
        ("page", {"image": page}),
        ("query", "and who signed?"),
    ):
        started = time.perf_counter()
        result = encoder.encode_query(items) if label == "query" else encoder.encode_document(items)
        report(f"{label}, {len(result.tokens.values)} token vectors", started)


def report(what: str, started: float) -> None:
    """One line of JSON: seconds since `started`, and the process's peak memory so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    sys.stdout.write(
        json.dumps({"what": what, "seconds": round(time.perf_counter() - started, 2), "peak_mib": round(peak)}) + "\n"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    actions = parser.add_subparsers(dest="action", required=True)
    making = actions.add_parser("make")
    making.add_argument("processor", type=Path)
    making.add_argument("checkpoint", type=Path)
    actions.add_parser("encode").add_argument("bundle")
    args = parser.parse_args()
    make(args.processor, args.checkpoint) if args.action == "make" else encode(args.bundle)
