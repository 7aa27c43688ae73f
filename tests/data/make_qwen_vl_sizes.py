"""Make tests/data/qwen_vl_sizes.json again: the sizes that the published processors give images.

Needs transformers 4.57 and qwen-vl-utils 0.0.14 (`pip install --no-deps qwen-vl-utils==0.0.14`). The latter is found
as installed but not imported: its module wants torchvision first thing, so the functions are taken out of its source
by themselves. tests/test_image_resize.py needs neither. Look at the difference first: a size that moved means that
other patches reach the model.

GME's rule is that of qwen-vl-utils, but an image that is more than 200 times as long as wide is not refused: its
longer side is cut to 200 times the shorter one behind the rounding.
"""

from __future__ import annotations

import ast
import json
import math
import re
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize as transformers_resize

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = Path(__file__).parent
MAX_RATIO = 200

# Width and height.
SIZES = (
    # tiny
    (1, 1), (1, 2), (2, 3), (5, 5), (10, 7), (13, 29), (16, 16), (27, 27), (28, 28), (31, 33), (32, 32),
    # halves, which go to the even multiple: of 32, then of 28
    (48, 48), (80, 80), (112, 112), (48, 80), (144, 240), (400, 304), (1072, 816), (16, 200),
    (42, 42), (70, 70), (98, 98), (42, 126), (70, 350), (490, 434), (14, 280),
    # small and ordinary
    (56, 56), (63, 65), (64, 64), (64, 63), (100, 50), (50, 100), (224, 224), (333, 777), (448, 448), (500, 375),
    (640, 480), (768, 1024), (800, 600), (1000, 1000), (1024, 768), (1240, 1754), (1280, 720), (1357, 1359),
    (1344, 1372), (1600, 1120), (1754, 1240), (1920, 1080),
    # at and over the limits
    (896, 896), (896, 897), (1003, 1001), (2048, 2048), (2480, 3508), (3000, 4000), (3700, 3600), (4100, 4096),
    # long
    (1, 100), (1, 200), (3, 600), (200, 1), (10, 1990), (20, 4000), (2, 333), (7, 1399), (900, 31), (5000, 27),
    (8000, 40), (64, 12800), (33, 6600), (200, 40000),
    # too long, by one pixel and by far
    (1, 201), (201, 1), (10, 2001), (5, 2000), (1, 300), (3000, 3), (1, 5000), (40001, 200), (100, 30000), (20001, 1),
)  # fmt: skip


def main() -> None:
    """Write the file."""
    qwen, without_refusal = _qwen_vl_utils(MAX_RATIO), _qwen_vl_utils(math.inf)

    def clamped(*arguments: int) -> tuple[int, int]:
        height, width = without_refusal(*arguments)
        if max(height, width) / min(height, width) > MAX_RATIO:
            return (width * MAX_RATIO, width) if height > width else (height, height * MAX_RATIO)
        return height, width

    settings = (
        (qwen, "qwen-vl-utils", "refuse", 32, 4096, 1843200),  # Qwen3-VL-Embedding
        (qwen, "qwen-vl-utils", "refuse", 32, 4096, 802816),  # LamRA
        (clamped, "qwen-vl-utils", "clamp", 28, 3136, 12845056),  # GME, first
        (transformers_resize, "transformers", "refuse", 28, 200704, 1003520),  # GME, second
        (transformers_resize, "transformers", "refuse", 28, 3136, 12845056),  # Qwen2-VL
    )
    data = {
        "made_with": {name: version(name) for name in ("qwen-vl-utils", "transformers")},
        "columns": "width and height before, then behind; without the latter the image is refused",
        "settings": [
            {
                "rule": rule,
                "long_images": long_images,
                "factor": factor,
                "min_pixels": least,
                "max_pixels": most,
                "sizes": [_row(resize, size, (factor, least, most)) for size in SIZES],
            }
            for resize, rule, long_images, factor, least, most in settings
        ],
    }
    text = json.dumps(data, indent=1)
    text = re.sub(r"\[\s+(\d[^]]*?)\s+\]", lambda row: f"[{' '.join(row[1].split())}]", text)  # a size is one line
    (HERE / "qwen_vl_sizes.json").write_text(text + "\n", encoding="utf-8")


def _row(resize: Callable[..., tuple[int, int]], size: tuple[int, int], limits: tuple[int, ...]) -> list[int]:
    width, height = size
    try:
        tall, wide = resize(height, width, *limits)
    except ValueError:
        return [width, height]
    return [width, height, wide, tall]


def _qwen_vl_utils(max_ratio: float) -> Callable[..., tuple[int, int]]:
    """`smart_resize` of the installed qwen-vl-utils, with its helpers, and nothing else of the module."""
    spec = find_spec("qwen_vl_utils")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("install qwen-vl-utils: pip install --no-deps qwen-vl-utils==0.0.14")
    source = Path(spec.submodule_search_locations[0]) / "vision_process.py"
    wanted = {"round_by_factor", "ceil_by_factor", "floor_by_factor", "smart_resize"}
    tree = ast.parse(source.read_text(encoding="utf-8"))
    tree.body = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name in wanted]
    names: dict[str, Any] = {"math": math, "MAX_RATIO": max_ratio}
    exec(compile(tree, str(source), "exec"), names)  # noqa: S102
    return names["smart_resize"]


if __name__ == "__main__":
    main()
