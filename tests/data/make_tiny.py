"""Make tests/data/tiny.smartrt again: a random two-layer BERT of 32 dimensions.

Needed only when the bundle format changes. The vectors mean nothing; what is tested with them is the way
from text to search results, on machines that have no PyTorch.
"""

import shutil
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

import tiny_checkpoints  # noqa: E402
from smartrt.export.pipeline import export  # noqa: E402

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        checkpoint = tiny_checkpoints.build("bert", Path(temporary) / "tiny-random-bert")
        shutil.rmtree(HERE / "tiny.smartrt", ignore_errors=True)
        export(str(checkpoint), HERE / "tiny.smartrt")
