"""What `smartrt bench gpu` makes and measures, as data."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any

from ..latency.ways import Way

PRESET = "qwen3-vl-embedding"
EAGER, SDPA, EXACT = "PyTorch fp16-eager", "PyTorch fp16", "PyTorch fp32"
"""Names of the baselines: half precision as it comes, as it is best served, and what outputs are compared with."""

QUERY, PAGE, DOCUMENTS = "1x32", "1x1240x1754", "32x128"
_BATCH_TOKENS = 32 * 128
_ROOM = f"token_budget={_BATCH_TOKENS},batch_tokens={_BATCH_TOKENS}"
"""A GPU takes the batch of documents whole, as PyTorch does."""


@dataclass(frozen=True)
class Exported:
    """A bundle to export: its name and the flags of `smartrt export`. `half` if its products are float16's alone."""

    name: str
    flags: tuple[str, ...]
    half: bool = False

    @property
    def asked(self) -> dict[str, str]:
        """What its manifest must say, as far as the flags decide it: ``precision``, ``dialect``, ``compute``."""
        given = dict(zip(self.flags[::2], self.flags[1::2], strict=True))
        asked = {"precision": given.get("--precision", "fp32"), "dialect": given.get("--dialect", "portable")}
        return asked | ({"compute": given["--compute"]} if "--compute" in given else {})


@dataclass(frozen=True)
class Group:
    """Contenders that are measured in one go; a part of the run.

    Attributes:
        name: Of the part.
        kinds: Names of `pytorch.KINDS`.
        runs: Name of a bundle and a way (`latency.ways`).
        budget_s: Seconds until it is given up.
    """

    name: str
    kinds: tuple[str, ...]
    runs: tuple[tuple[str, str], ...]
    budget_s: float

    def __post_init__(self) -> None:
        for _, way in self.runs:
            Way.parse(way)  # a misspelt one must not show after minutes


@dataclass(frozen=True)
class Plan:
    """What one run makes and measures. Without bundles and groups, which the defaults lack, it measures nothing.

    Attributes:
        size: Of the random checkpoint, a name of `checkpoint.sizes.SIZES`.
        device: Of every contender.
        bundles: To export.
        groups: To measure.
        queries, documents, corpus, starts, rounds, visit: See `latency.grid.Grid`.
        tests: Arguments of pytest; none: no tests are run.
        budgets: Seconds of the parts that are no group.
    """

    size: str = "2b"
    device: str = "cuda"
    bundles: tuple[Exported, ...] = ()
    groups: tuple[Group, ...] = ()
    queries: tuple[str, ...] = (QUERY,)
    documents: tuple[str, ...] = (PAGE, DOCUMENTS)
    corpus: int = 100
    starts: int = 1
    rounds: int = 2
    visit: float = 1.0
    tests: tuple[str, ...] = ("-m", "gpu", "-q")
    budgets: dict[str, float] = field(
        default_factory=lambda: {"tests": 180.0, "checkpoint": 30.0, "export": 600.0, "plans": 240.0}
    )

    def bundle(self, name: str) -> Exported:
        """The bundle of that name."""
        return next(each for each in self.bundles if each.name == name)

    @property
    def half(self) -> frozenset[str]:
        """Names of the bundles whose products are float16's."""
        return frozenset(each.name for each in self.bundles if each.half)

    def to_json(self) -> dict[str, Any]:
        """For the result: all that decides it, so that two runs of one plan can be told from two of different ones."""
        whole = asdict(self) | {"bundles": {each.name: " ".join(each.flags) for each in self.bundles}}
        groups = {
            each.name: {"kinds": list(each.kinds), "runs": [", ".join(run) for run in each.runs]}
            for each in self.groups
        }
        listed = {name: list(whole[name]) for name in ("queries", "documents", "tests")}
        del whole["budgets"]
        return whole | listed | {"half": sorted(self.half), "groups": groups}


_HALF = ("--precision", "fp16", "--preset", PRESET)
_PACKED = ("--compute", "fp16", "--rounding", "nearest", "--preset", PRESET)
_BUNDLES = (
    Exported("fp16", (*_HALF, "--dialect", "portable"), half=True),
    Exported("fp16-fused", (*_HALF, "--dialect", "fused"), half=True),
    Exported("int4", ("--precision", "int4", *_PACKED)),
    Exported("w8", ("--precision", "w8", *_PACKED)),
)


def _ort(cuda_graphs: str) -> str:
    return f"ort@cuda,cuda_graphs={cuda_graphs},{_ROOM}"


_TRT = f"trt@cuda,{_ROOM}"
_GROUPS = (
    Group(
        "latency-ort",
        ("fp32", "fp16-eager", "fp16"),
        tuple((bundle, _ort(graphs)) for bundle in ("fp16", "fp16-fused") for graphs in ("off", "on")),
        120,
    ),
    Group("latency-packed", ("fp16",), (("int4", _ort("on")), ("w8", _ort("on"))), 60),
    Group("latency-trt", ("fp32", "fp16"), (("fp16", _TRT), ("fp16-fused", _TRT), ("int4", _TRT)), 90),
)

WHOLE = Plan(bundles=_BUNDLES, groups=_GROUPS)
"""Everything, on the 2B checkpoint."""

QUICK = replace(
    WHOLE,
    bundles=_BUNDLES[:2],
    groups=(
        Group("latency-ort", ("fp32", "fp16-eager", "fp16"), (("fp16", _ort("on")), ("fp16-fused", _ort("on"))), 100),
    ),
    rounds=1,
    visit=0.5,
    corpus=50,
)
"""A first look: the same checkpoint and cells, fp16 alone, the fastest ways alone."""
