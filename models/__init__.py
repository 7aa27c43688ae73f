"""Backbones in PyTorch: the reference forward, and the modules that are traced from it.

checkpoint.py     find the files of a checkpoint: a directory, a hub id, an installed package
recipe.py         what the checkpoint's own files say about pooling, prompts and lengths
text_encoder.py   the module with outputs `pooled` and `token_states`
reference.py      texts -> Embeddings in PyTorch, the truth every bundle is compared with
"""
