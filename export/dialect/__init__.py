"""The dialects of a float graph: `portable` as it was traced, `fused` with ONNX's own attention, norms and rotary."""
