"""Which table stands on which page. `smartrt bench tables` writes them, `--check` compares.

A table stands between ``<!-- table: NAME -->`` and ``<!-- end -->``; whatever was there is replaced. The default suite
has a page and a picture of its own; the page is compared, the picture, whose bytes are matplotlib's, is drawn with it.
"""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smartrt.errors import InputError
from smartrt.files import replace_file

from ..study.figure import draw
from ..study.page import render
from . import encoding, finding, scoring, study

if TYPE_CHECKING:
    from collections.abc import Callable

    Table = Callable[[Any], list[str]]

RESULTS = Path("benchmarks", "results")

README, BENCHMARKS, PERFORMANCE, PRECISION = (
    "README.md", "docs/benchmarks.md", "docs/performance.md", "docs/precision.md"
)  # fmt: skip

TABLES: dict[tuple[str, str], tuple[str, Table]] = {
    (README, "study"): ("study_minilm", study.points),
    (README, "accuracy"): ("accuracy_minilm", finding.gains),
    (README, "precision"): ("precision_minilm", encoding.precisions),
    (README, "stored"): ("accuracy_minilm", finding.stored),
    (README, "maxsim"): ("maxsim", scoring.summary),
    (README, "coldstart"): ("coldstart_minilm", encoding.coldstart),
    (README, "preprocess"): ("preprocess", encoding.preprocess),
    (BENCHMARKS, "study"): ("study_minilm", study.points),
    (BENCHMARKS, "machine"): ("study_minilm", study.machine),
    (BENCHMARKS, "latency"): ("study_minilm", study.latency),
    (BENCHMARKS, "stages"): ("study_minilm", study.stages),
    (BENCHMARKS, "cold"): ("study_minilm", study.cold),
    (BENCHMARKS, "generated sets"): ("study_minilm", study.quality),
    (BENCHMARKS, "accuracy"): ("accuracy_minilm", finding.systems),
    (BENCHMARKS, "toy"): ("toy_minilm", finding.toy),
    (PERFORMANCE, "coldstart"): ("coldstart_minilm", encoding.coldstart),
    (PERFORMANCE, "preprocess"): ("preprocess", encoding.preprocess),
    (PERFORMANCE, "maxsim, 1"): ("maxsim", partial(scoring.in_full, threads=1)),
    (PERFORMANCE, "maxsim, 4"): ("maxsim", partial(scoring.in_full, threads=4)),
    (PRECISION, "precision"): ("precision_minilm", encoding.precisions),
    (PRECISION, "precision decoder"): ("precision_decoder", encoding.precisions),
    (PRECISION, "large"): ("large_exports", encoding.large_exports),
}
"""By page and name of the table: its result, and what makes rows of it."""

STUDY, STUDY_PAGE, STUDY_PICTURE = "study_minilm", "docs/study_minilm.html", "docs/study_minilm.png"


def written(root: Path) -> dict[Path, str]:
    """Every page as it should be.

    Args:
        root: Of the repository.

    Raises:
        InputError: A page has no place for a table, or a result is missing.
    """
    pages: dict[Path, str] = {}
    for (page, name), (result, make) in TABLES.items():
        path = root / page
        text = pages.get(path) or _read(path)
        pages[path] = put(text, name, make(_result(root, result)), page)
    pages[root / STUDY_PAGE] = render(_result(root, STUDY))
    return pages


def update(root: Path) -> list[Path]:
    """Write the pages that are not as they should be; returns them."""
    changed = outdated(root)
    for path in changed:
        replace_file(path, written(root)[path].encode())
    if root / STUDY_PAGE in changed:
        draw(_result(root, STUDY), root / STUDY_PICTURE)
    return changed


def outdated(root: Path) -> list[Path]:
    """The pages that are not as they should be."""
    return [path for path, text in written(root).items() if not path.exists() or _read(path) != text]


def put(page: str, name: str, rows: list[str], where: str) -> str:
    """`page` with `rows` as its table `name`.

    Raises:
        InputError: There is no place for it, or more than one.
    """
    pattern = re.compile(rf"(<!-- table: {re.escape(name)} -->\n).*?(<!-- end -->)", re.DOTALL)
    table = "".join(f"{row}\n" for row in rows)
    changed, count = pattern.subn(lambda found: found[1] + table + found[2], page)
    if count != 1:
        raise InputError(f"{where} has {count} places '<!-- table: {name} --> ... <!-- end -->', it needs one")
    return changed


def _result(root: Path, name: str) -> Any:
    return json.loads(_read(root / RESULTS / f"{name}.json"))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}; run in the root of the repository") from None
