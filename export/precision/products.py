"""The matrix products of a graph: with a constant weight, those that share an input, and those of attention."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from smartrt.errors import ExportError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    import numpy as np
    import onnx_ir as ir

KEPT = ("head",)
"""Modules that stay wide in every precision: an adapter is small and the last step before a token vector."""

_SCALING = {"Mul", "Div", "Add", "Where", "Cast", "Reshape", "Transpose"}  # between scores and their softmax


@dataclass(frozen=True, eq=False)
class Product:
    """``input @ weight`` with a constant ``weight [in, out]``.

    Attributes:
        path: The PyTorch module it came from, such as ``layers.0.mlp.up_proj``; every weight has its own.
        node: The product.
        weight: The initialiser, which may stand behind Identity operators.
        shared: Whether other products multiply by the same weight (ALBERT's layers).
    """

    path: str
    node: ir.Node
    weight: ir.Value
    shared: bool

    @property
    def input(self) -> ir.Value:
        """What is multiplied; a product converted before may have made it anew."""
        value = self.node.inputs[0]
        if value is None:
            raise ExportError(f"the product {self.path} has no input")
        return value

    @property
    def shape(self) -> tuple[int, int]:
        """``(in, out)``."""
        rows, columns = self.weight.shape.numpy()  # type: ignore[union-attr]  # `find_products` looked at it
        return rows, columns

    @property
    def kept(self) -> bool:
        """Whether it stays wide in every precision."""
        return self.path.split(".")[0] in KEPT


def find_products(graph: ir.Graph) -> list[Product]:
    """Every product of `graph` with a two-dimensional constant, in the order they run."""
    found: list[tuple[ir.Node, ir.Value]] = []
    for node in graph:
        if node.op_type == "MatMul" and node.domain in ("", "ai.onnx"):
            weight = _initialiser(node.inputs[1])
            if weight is not None and weight.shape is not None and len(weight.shape) == 2:
                found.append((node, weight))
    uses = Counter(id(weight) for _, weight in found)
    paths: dict[int, str] = {}
    for node, weight in found:
        if id(weight) not in paths:
            paths[id(weight)] = _free(_path(node, weight), paths.values())
    return [Product(paths[id(weight)], node, weight, uses[id(weight)] > 1) for node, weight in found]


def find_attention(graph: ir.Graph) -> list[ir.Node]:
    """Products of two activations around a softmax: queries with keys, and attention with values.

    Others, such as positions with rotary frequencies, are none of them. A fused Attention is both products in one node.
    """
    own = [node for node in graph if node.domain in ("", "ai.onnx")]
    return [node for node in own if node.op_type == "Attention" or (node.op_type == "MatMul" and _is_attention(node))]


def is_named(path: str, names: Collection[str]) -> bool:
    """Whether one of `names` is the module at `path` or holds it.

    ``layers.0`` holds ``layers.0.mlp.up_proj``; the empty name holds all.
    """
    return any(not name or path == name or path.startswith(f"{name}.") for name in names)


def by_input(products: Sequence[Product]) -> list[list[Product]]:
    """Products grouped by their input: query, key and value of one attention read the same states."""
    groups: dict[int, list[Product]] = {}
    for product in products:
        groups.setdefault(id(product.input), []).append(product)
    return list(groups.values())


def values_of(value: ir.Value) -> np.ndarray:
    """The content of an initialiser, read from where it lies."""
    if value.const_value is None:
        raise ExportError(f"the weight {value.name} has no value")
    return value.const_value.numpy()


def _is_attention(node: ir.Node) -> bool:
    activations = all(value is not None and _initialiser(value) is None for value in node.inputs)
    return activations and ("Softmax" in _before(node.inputs[0]) or "Softmax" in _behind(node))


def _initialiser(value: ir.Value | None) -> ir.Value | None:
    """The initialiser that `value` is, or passes on: a tracer puts Identity before a weight's second use."""
    while value is not None and not value.is_initializer():
        producer = value.producer()
        if producer is None or producer.op_type != "Identity":
            return None
        value = producer.inputs[0]
    return value


def _before(value: ir.Value | None) -> Iterator[str]:
    """Operators that made `value`, through those that only scale or turn it."""
    node = value.producer() if value is not None else None
    while node is not None:
        yield node.op_type
        value = node.inputs[0] if node.op_type in _SCALING and node.inputs else None
        node = value.producer() if value is not None else None


def _behind(node: ir.Node) -> set[str]:
    """Operators that read what `node` makes, through those that only scale or turn it."""
    found: set[str] = set()
    left = [node]
    while left:
        for use in left.pop().outputs[0].uses():
            found.add(use.node.op_type)
            if use.node.op_type in _SCALING:
                left.append(use.node)
    return found


def _path(node: ir.Node, weight: ir.Value) -> str:
    # PyTorch's tracer names initialisers after parameters, the older one nodes after modules.
    if weight.name and weight.name.endswith(".weight") and not (node.name or "").startswith("/"):
        return weight.name.removesuffix(".weight")
    return ".".join((node.name or "").strip("/").split("/")[:-1]) or (weight.name or "product").removesuffix(".weight")


def _free(path: str, taken: Collection[str]) -> str:
    chosen, number = path, 1
    while chosen in taken:
        chosen, number = f"{path}_{number}", number + 1
    return chosen
