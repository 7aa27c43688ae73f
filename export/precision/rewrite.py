"""Small edits of a graph: constants by content, weights that go straight to the disk, nodes around a node."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..external import DataFile

ORT_DOMAIN = "com.microsoft"


class Editor:
    """Adds nodes and initialisers to a graph under names that are still free; large content goes to `data`."""

    def __init__(self, model: ir.Model, data: DataFile) -> None:
        self.model = model
        self.graph = model.graph
        self._data = data
        self._stored: dict[str, ir.Value] = {}
        self._constants: dict[tuple[str, tuple[int, ...], bytes], ir.Value] = {}
        outputs = (output.name for node in self.graph for output in node.outputs)
        self._taken = {*outputs, *self.graph.initializers, *(node.name for node in self.graph)}

    def constant(self, name: str, array: Any) -> ir.Value:
        """An initialiser of this content; the same content is stored once."""
        values = np.asarray(array)
        key = values.dtype.name, values.shape, values.tobytes()
        if key not in self._constants:
            tensor = ir.tensor(values, name=self._free(name))
            self._constants[key] = self._register(tensor)
        return self._constants[key]

    def stored(self, name: str, array: Any) -> ir.Value:
        """An initialiser whose content goes to the disk at once and is let go; the same name is stored once."""
        if name not in self._stored:
            self._stored[name] = self._register(self._data.put(ir.tensor(array, name=self._free(name))))
        return self._stored[name]

    def replaced(self, weight: ir.Value) -> None:
        """Count `weight` as done: something else was stored in its place."""
        if weight.const_value is not None:
            self._data.advance(weight.const_value.nbytes)

    def before(
        self, place: ir.Node, op_type: str, inputs: Sequence[ir.Value | None], *, domain: str = "", **attributes: Any
    ) -> ir.Value:
        """A node with one output in front of `place`; returns the output."""
        node = self._node(place, op_type, inputs, domain, attributes)
        self.graph.insert_before(place, node)
        return node.outputs[0]

    def after(self, place: ir.Node, op_type: str, inputs: Sequence[ir.Value | None], **attributes: Any) -> ir.Value:
        """A node with one output behind `place`; returns the output."""
        node = self._node(place, op_type, inputs, "", attributes)
        self.graph.insert_after(place, node)
        return node.outputs[0]

    def take_place(self, node: ir.Node, value: ir.Value) -> None:
        """Let every reader of `node`'s output read `value`, and remove `node`."""
        (old,) = node.outputs
        self.stand_in(old, value)
        self.graph.remove(node, safe=True)

    def stand_in(self, old: ir.Value, new: ir.Value) -> None:
        """Let every reader of `old` but `new`'s own node read `new`, as an output of the graph under the old name."""
        new.type, new.shape = old.type, old.shape
        for use in list(old.uses()):
            if use.node is not new.producer():
                use.node.replace_input_with(use.idx, new)
        for place, output in enumerate(self.graph.outputs):
            if output is old:
                self.graph.outputs[place] = new
                old.name, new.name = f"{old.name}_inside", old.name

    def _node(
        self, place: ir.Node, op_type: str, inputs: Sequence[ir.Value | None], domain: str, attributes: dict[str, Any]
    ) -> ir.Node:
        base = self._free(f"{place.name or place.op_type}/{op_type}")
        node = ir.node(op_type, list(inputs), attributes, domain=domain, name=base)
        node.outputs[0].name = base
        if domain:
            self.model.opset_imports.setdefault(domain, 1)
        return node

    def _register(self, tensor: ir.TensorProtocol) -> ir.Value:
        value = ir.Value(
            name=tensor.name, type=ir.TensorType(tensor.dtype), shape=ir.Shape(tensor.shape.numpy()), const_value=tensor
        )
        self.graph.register_initializer(value)
        return value

    def _free(self, name: str) -> str:
        chosen, number = name, 1
        while chosen in self._taken:
            chosen, number = f"{name}_{number}", number + 1
        self._taken.add(chosen)
        return chosen
