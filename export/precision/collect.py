"""Statistics of a text encoder's activations, some modules at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from smartrt.models.statistics import InputStatistics

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from smartrt.manifest import Side
    from smartrt.models.reference import Reference

_BUDGET = 1 << 30  # bytes of moments held at a time; each further GiB is one more pass over the items


def calibrate_text(
    reference: Reference, items: Sequence[tuple[Side, str]], *, moments: bool
) -> Iterator[tuple[str, InputStatistics]]:
    """Run the items through the encoder and yield each linear layer's statistics, in the order of its modules.

    Args:
        reference: Runs each item alone, so that no padding is counted.
        items: Side and text.
        moments: Whether second moments are needed; they take most of the time.
    """
    modules = {
        name: module for name, module in reference.encoder.named_modules() if isinstance(module, torch.nn.Linear)
    }
    for names in _within_budget({name: module.in_features for name, module in modules.items()}, moments):
        collected = _collect(reference, items, {name: modules[name] for name in names}, moments=moments)
        for name in names:
            if name in collected:
                yield name, collected.pop(name)


def _within_budget(widths: dict[str, int], moments: bool) -> Iterator[list[str]]:
    names: list[str] = []
    held = 0
    for name, width in widths.items():
        size = 4 * width * width if moments else 0
        if names and held + size > _BUDGET:
            yield names
            names, held = [], 0
        names.append(name)
        held += size
    if names:
        yield names


def _collect(
    reference: Reference, items: Sequence[tuple[Side, str]], modules: dict[str, Any], *, moments: bool
) -> dict[str, InputStatistics]:
    found: dict[str, InputStatistics] = {}

    def hook(name: str) -> Any:
        def add(_: Any, inputs: tuple[torch.Tensor, ...]) -> None:
            known = found.get(name)
            found[name] = known.with_item(inputs[0]) if known else InputStatistics.of(inputs[0], moments=moments)

        return add

    handles = [module.register_forward_pre_hook(hook(name)) for name, module in modules.items()]
    try:
        for side, text in items:
            reference.encode([text], side)
    finally:
        for handle in handles:
            handle.remove()
    return found
