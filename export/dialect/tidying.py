"""What every fusion relies on: constants where they can be read, no operator that does nothing, shapes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnx_ir.passes.common import IdentityEliminationPass, LiftConstantsToInitializersPass, ShapeInferencePass

from .reading import dims, factor_of, integers, same
from .sizes import name_equal_sizes

if TYPE_CHECKING:
    import onnx_ir as ir

    from .rewriting import Rewriter


def tidy(model: ir.Model, rewriter: Rewriter) -> None:
    """Leave the work of `model` as it is and say it plainly; weights are not read."""
    LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    IdentityEliminationPass()(model)
    ShapeInferencePass(strict_mode=False)(model)
    name_equal_sizes(model.graph)
    for node in list(model.graph):
        kept = _unchanged(node)
        if kept is not None and not node.outputs[0].is_graph_output():
            rewriter.stand_in(node.outputs[0], kept)
            model.graph.remove(node, safe=True)


def _unchanged(node: ir.Node) -> ir.Value | None:
    """The input that a cast to its own type, a product with one, or a slice of all hands on."""
    if node.op_type == "Cast" and node.inputs[0] is not None:
        return node.inputs[0] if node.inputs[0].dtype == node.attributes["to"].as_int() else None
    if node.op_type in ("Mul", "Div"):
        scaled = factor_of(node)
        if scaled is not None and scaled[1] == 1 and dims(scaled[0]):
            return scaled[0]
    return node.inputs[0] if node.op_type == "Slice" and _takes_all(node) else None


def _takes_all(node: ir.Node) -> bool:
    """Whether a Slice leaves nothing out, as where each layer cuts a mask to its keys; and turns nothing round."""
    steps = integers(node.inputs[4]) if len(node.inputs) > 4 else [1]
    before, after = dims(node.inputs[0]), dims(node.outputs[0])
    if before is None or after is None or integers(node.inputs[1]) != [0] or steps != [1]:
        return False
    return all(same(old, new) for old, new in zip(before, after, strict=True))
