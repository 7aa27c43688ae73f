"""Qwen-VL backbones: Qwen3-VL and Qwen2-VL, and the embedding models made from them.

presets.py     what each published embedding model adds to its backbone, as data
load.py        a checkpoint -> transformers' model, every exported weight accounted for
decoder.py     the traced decoder, one for both backbones
vision.py      the traced vision towers
reference.py   the published wrappers' way from items to vectors, in PyTorch
rendering.py   the published wrappers' prompts, as strings
"""
