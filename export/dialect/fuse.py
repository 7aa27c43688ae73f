"""The dialect `fused`: a float graph rewritten to ONNX's own attention, norms and rotary embeddings.

Those operators came with opset 23. TensorRT 10.16 and newer and new ONNX Runtimes run each as one kernel; a graph in
the dialect `portable` runs everywhere else. Both are made of the same traced graph, before its precision is chosen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from onnx_ir.passes.common import NameFixPass, RemoveUnusedNodesPass

from smartrt.errors import ExportError

from ..precision.opset import raise_opset
from .attention import fuse_attention
from .gelu import fuse_gelus
from .heads import absorb_factors, drop_repeats, join_heads
from .masks import Masks
from .norms import fuse_norms
from .reading import operators
from .rewriting import Rewriter
from .rotary import Rotary
from .tidying import tidy

if TYPE_CHECKING:
    import onnx_ir as ir

OPSET = 23
"""The first with Attention, RMSNormalization and RotaryEmbedding."""


@dataclass(frozen=True)
class Fused:
    """What one graph holds after fusion.

    Attributes:
        attention: Attention nodes, one a layer.
        causal: Those of them that are told of causality by attribute, without a mask.
        rms_norms: RMSNormalization nodes.
        rotary: RotaryEmbedding nodes, two a layer.
        gelus: Gelu nodes.
        softmaxes: Softmax nodes that are left: attentions that stayed decomposed, and what never was one.
    """

    attention: int
    causal: int
    rms_norms: int
    rotary: int
    gelus: int
    softmaxes: int


def fuse(model: ir.Model) -> Fused:
    """Rewrite `model` in place; weights are not read, and their names stay.

    Everything is fused on its own and only where it is recognised whole; what is not stays decomposed, and right.

    Args:
        model: A float32 graph as the tracer wrote it, opset 18 to 23.

    Returns:
        What was fused.

    Raises:
        ExportError: No attention was recognised, or an operator of the graph means something else in opset 23.
    """
    rewriter = Rewriter(model)
    tidy(model, rewriter)
    raise_opset(model, OPSET)
    norms, gelus, rotary = fuse_norms(rewriter), fuse_gelus(rewriter), Rotary(rewriter).fuse()
    masks = Masks(rewriter)
    fuse_attention(rewriter, masks)
    join_heads(rewriter)
    drop_repeats(rewriter)
    absorb_factors(rewriter)
    attention = operators(model.graph, "Attention")
    if not attention:
        raise ExportError(
            "no attention of this graph is one that ONNX's Attention computes: export it with --dialect portable"
        )
    for node in attention:
        masks.spread(node)
    RemoveUnusedNodesPass()(model)
    NameFixPass()(model)
    causal = sum("is_causal" in node.attributes for node in attention)
    return Fused(len(attention), causal, norms, rotary, gelus, len(operators(model.graph, "Softmax")))
