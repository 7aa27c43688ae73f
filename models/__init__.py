"""Backbones in PyTorch: the reference forward, and the modules that are traced from it.

checkpoint.py     find the files of a checkpoint: a directory, a hub id, an installed package
recipe.py         what the checkpoint's own files say about pooling, prompts and lengths
text_encoder.py   the module with outputs `pooled` and `token_states`
token_head.py     which layer's states become token vectors
adapter.py        the trained projection they may pass through
reference.py      texts -> Embeddings in PyTorch, the truth every bundle is compared with
qwen_vl/          the same for Qwen3-VL and Qwen2-VL
"""
