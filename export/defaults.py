"""Defaults that the command line shows without importing what uses them."""

OPSET = 18
"""ONNX Runtime reads it since 1.14; the TensorRT parser's operator list of release 10.1 covers 9 to 20."""

TOLERANCE = 1e-4
"""Largest absolute difference of any output from PyTorch that a float32 bundle may have."""
