"""Buckets: the few shapes that a compiled graph, or a recorded one, is run in.

A plan is compiled for ranges of shapes and a CUDA graph is recorded for one shape, so feeds are padded with zeros up to
the next rung of each axis and outputs are cut back. Zeros are harmless: masks and indices are zero there, too.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from ..errors import EngineError, OptionError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from ..manifest import Images, Manifest
    from .base import Engine, Tensor, TensorSpec

PATCH_BUDGET = 8192
"""Padded patches per call of the vision graph; a page of the largest size has 7,000 and travels alone."""

_LEAST_LENGTH, _LEAST_BLOCKS = 32, 64


@dataclass(frozen=True)
class BucketOptions:
    """How far the buckets of a bundle reach.

    Attributes:
        max_length: Tokens of the longest item, the model's own limit if that is less. Plans for longer items take
            longer to compile and more memory to run.
        batch_tokens: Padded tokens per call of the encoder or decoder; an item that is longer travels alone.
    """

    max_length: int = 2048
    batch_tokens: int = 1024

    def __post_init__(self) -> None:
        for name, value in (("max_length", self.max_length), ("batch_tokens", self.batch_tokens)):
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 1 << 20:
                raise OptionError(f"{name} must be a whole number from 1 to {1 << 20:,}, got {value!r}")


@dataclass(frozen=True)
class Range:
    """Sizes of each axis that one plan's kernels are chosen for: the least, the one to be best at, the largest."""

    axes: dict[str, tuple[int, int, int]]

    def holds(self, sizes: Mapping[str, int]) -> bool:
        """Whether every axis lies inside."""
        return all(self.axes[axis][0] <= size <= self.axes[axis][2] for axis, size in sizes.items())


@dataclass(frozen=True)
class Buckets:
    """The shapes of one graph.

    Attributes:
        rungs: Sizes that each axis is padded to, rising.
        ranges: Each shape of rungs that is run lies in one of these, the first being the cheapest.
    """

    rungs: dict[str, tuple[int, ...]]
    ranges: tuple[Range, ...]

    def round_up(self, axis: str, size: int) -> int:
        """The next rung.

        Raises:
            EngineError: The size is beyond the last one.
        """
        for rung in self.rungs[axis]:
            if rung >= size:
                return rung
        raise EngineError(
            f"axis {axis!r} is {size}, the shapes of this graph end at {self.rungs[axis][-1]}: open the encoder with a "
            "larger max_length (--gpu-max-length) or batch_tokens (--token-budget; it compiles plans again), or send "
            "less at once"
        )

    def fit(self, sizes: Mapping[str, int]) -> tuple[dict[str, int], int]:
        """The padded size of each axis, and which range it is in.

        Raises:
            EngineError: Nothing is large enough.
        """
        rungs = {axis: self.round_up(axis, size) for axis, size in sizes.items()}
        for number, candidate in enumerate(self.ranges):
            padded = {axis: min(rung, candidate.axes[axis][2]) for axis, rung in rungs.items()}
            if candidate.holds(padded) and all(padded[axis] >= size for axis, size in sizes.items()):
                return padded, number
        raise EngineError(
            f"a call of {_described(sizes)} is larger than the shapes of this graph: send fewer items at once "
            "(token_budget), or give a larger batch_tokens"
        )


@runtime_checkable
class Bucketed(Protocol):
    """An engine that runs in buckets."""

    @property
    def buckets(self) -> Buckets:
        """Its shapes."""


def rounded(engine: Engine, axis: str, size: int) -> int:
    """What `size` becomes on `engine`: itself, unless the engine has buckets."""
    return engine.buckets.round_up(axis, size) if isinstance(engine, Bucketed) else size


def buckets_of(manifest: Manifest, graph: str, options: BucketOptions) -> Buckets:
    """The buckets of one graph of a bundle."""
    if graph == "vision":
        assert manifest.images is not None  # noqa: S101  (Manifest.problems saw to it)
        return _vision(manifest.images)
    lengths = _powers(_LEAST_LENGTH, min(options.max_length, manifest.tokenizer.max_length))
    buckets = _two_axes("batch", "length", lengths, options.batch_tokens)
    if graph != "decoder":
        return buckets
    rows = _powers(1, max(_visual_rows(manifest), options.batch_tokens, lengths[-1]))
    ranges = (Range(entry.axes | {"row": (1, entry.axes["length"][2], rows[-1])}) for entry in buckets.ranges)
    return Buckets(buckets.rungs | {"row": rows}, tuple(ranges))


def sizes_of(specs: Sequence[TensorSpec], feeds: Mapping[str, Tensor]) -> dict[str, int]:
    """The size of each named axis of some feeds."""
    return {
        axis: size
        for spec in specs
        for axis, size in zip(spec.axes, feeds[spec.name].shape, strict=True)
        if isinstance(axis, str)
    }


def shape_of(spec: TensorSpec, sizes: Mapping[str, int]) -> tuple[int, ...]:
    """The shape of a tensor, its named axes of these sizes."""
    return tuple(axis if isinstance(axis, int) else sizes[axis] for axis in spec.axes)


def fill(target: NDArray[Any], values: NDArray[Any]) -> None:
    """Write `values` into the corner of the larger `target`; the rest becomes zero."""
    if target.shape != values.shape:
        target[...] = 0
    target[tuple(slice(size) for size in values.shape)] = values


def cut(array: NDArray[Any], shape: Sequence[int]) -> NDArray[Any]:
    """The corner of `array` that has this shape."""
    return array[tuple(slice(size) for size in shape)]


def _vision(images: Images) -> Buckets:
    blocks = _powers(_LEAST_BLOCKS, _most_blocks(images))
    return _two_axes("image", "block", blocks, PATCH_BUDGET // images.merge_size**2)


def _most_blocks(images: Images) -> int:
    side = images.patch_size * images.merge_size
    return max(1, images.stages[-1].max_pixels // side**2)


def _visual_rows(manifest: Manifest) -> int:
    """Rows of the largest call of the vision graph."""
    images = manifest.images
    if images is None:
        return 1
    buckets = _vision(images)
    return max(axes["image"][2] * axes["block"][2] for axes in (entry.axes for entry in buckets.ranges))


def _two_axes(rows: str, width: str, widths: tuple[int, ...], budget: int) -> Buckets:
    """Rows of a width, at most `budget` places in all or one row.

    One row has ranges of its own, for latency, two rungs of the width in each: a range costs compiling time. Several
    rows have a range for each width, so that its corner, which memory is set aside for, is no more than the budget.
    """
    pairs = zip(widths[::2], [*widths[1::2], widths[-1]], strict=False)
    one = [Range({rows: (1, 1, 1), width: (least, most, most)}) for least, most in pairs]
    several = [(size, budget // size) for size in widths if budget // size > 1]
    many = [Range({rows: (2, most, most), width: (size, size, size)}) for size, most in several]
    return Buckets({rows: _powers(1, max(1, budget // widths[0])), width: widths}, (*one, *many))


def _powers(least: int, most: int) -> tuple[int, ...]:
    """Powers of two from `least` on below `most`, and `most`."""
    doubled = itertools.takewhile(lambda size: size < most, (least << step for step in itertools.count()))
    return (*doubled, most)


def _described(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{axis} {size}" for axis, size in sizes.items())
