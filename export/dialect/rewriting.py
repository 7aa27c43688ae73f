"""Rewriting a graph: nodes in front of a node, constants by content, one value in the place of another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

if TYPE_CHECKING:
    from collections.abc import Sequence


class Rewriter:
    """Adds float32 and integer nodes to one graph.

    Attributes:
        graph: The graph.
    """

    def __init__(self, model: ir.Model) -> None:
        self.graph = model.graph
        self._constants: dict[tuple[str, tuple[int, ...], bytes], ir.Value] = {}
        self._made = 0

    def constant(self, content: Any) -> ir.Value:
        """An initialiser of this content; the same content is stored once."""
        array = np.asarray(content)
        key = array.dtype.name, array.shape, array.tobytes()
        if key not in self._constants:
            tensor = ir.tensor(array, name=f"fused/constant_{len(self._constants)}")
            value = ir.Value(
                name=tensor.name, type=ir.TensorType(tensor.dtype), shape=ir.Shape(array.shape), const_value=tensor
            )
            self.graph.register_initializer(value)
            self._constants[key] = value
        return self._constants[key]

    def before(
        self,
        place: ir.Node,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        like: ir.Value | None = None,
        **attributes: Any,
    ) -> ir.Value:
        """A node with one output in front of `place`; the output has type and shape of `like`."""
        node = self._node(op_type, inputs, like, attributes)
        self.graph.insert_before(place, node)
        return node.outputs[0]

    def size(self, value: ir.Value, axis: int, place: ir.Node) -> ir.Value:
        """One size of `value` as a vector of one element."""
        until: dict[str, Any] = {} if axis == -1 else {"end": axis + 1}
        return self.before(place, "Shape", [value], start=axis, **until)

    def stand_in(self, old: ir.Value, new: ir.Value) -> None:
        """Let every reader of `old` read `new`, as an output of the graph under the old name."""
        was_output, name = old.is_graph_output(), old.name
        ir.convenience.replace_all_uses_with(old, new, replace_graph_outputs=True)
        if was_output:
            old.name, new.name = f"{name}_decomposed", name

    def _node(
        self, op_type: str, inputs: Sequence[ir.Value | None], like: ir.Value | None, attributes: dict[str, Any]
    ) -> ir.Node:
        self._made += 1
        node = ir.node(op_type, list(inputs), attributes, name=f"fused/{op_type}_{self._made}")
        (output,) = node.outputs
        output.name = node.name
        if like is not None:
            output.type, output.shape = like.type, like.shape
        return node
