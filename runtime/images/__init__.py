"""Images: hostile bytes to the uint8 patches a vision graph takes.

limits.py    what an image may cost
decode.py    path, bytes, PIL image or array -> RGB, with every limit checked before pixels are decoded
resize.py    the sizes that the published processors choose, and the resizing itself
patches.py   RGB -> patches in merge-block order; normalisation is folded into the graph

Import from these files: this one imports none, so that encoding text loads no Pillow.
"""
