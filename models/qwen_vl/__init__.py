"""Qwen-VL backbones: Qwen3-VL and Qwen2-VL, and the embedding models made from them.

presets.py     what each published embedding model adds to its backbone, as data
load.py        a checkpoint -> transformers' model, every exported weight accounted for
skeleton.py    that model without weights, each layer reading its own when it is called
decoder.py     the traced decoder, one for both backbones
vision.py      the traced vision towers
linear.py      their linear layers, and where their weights come from
traced.py      both, made for a reference
calibrate.py   statistics of the activations, layer by layer
reference.py   the published wrappers' way from items to vectors, in PyTorch
rendering.py   the published wrappers' prompts, as strings
"""
