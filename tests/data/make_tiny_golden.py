"""Make tests/data/tiny_golden.npz again: what ONNX Runtime on a CPU returns for three texts and the tiny bundle.

Needed only after make_tiny.py. Look at the difference first: vectors that moved mean that every index out
there has to be built again.
"""

from pathlib import Path

import numpy as np

import smartrt

HERE = Path(__file__).parent
TEXTS = ("how do I sort a list by a key?", "北京 2024! [SEP] café", "word " * 60)

if __name__ == "__main__":
    with smartrt.Encoder.open(HERE / "tiny.smartrt") as encoder:
        embeddings = encoder.encode_document(TEXTS)
        np.savez(
            HERE / "tiny_golden.npz",
            texts=np.array(TEXTS),
            identity=np.array(encoder.bundle.identity),
            pooled=embeddings.pooled,
            values=embeddings.tokens.values,
            offsets=embeddings.tokens.offsets,
            truncated=embeddings.truncated,
        )
