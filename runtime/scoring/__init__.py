"""Late interaction over stored tokens, at the speed of the machine's matrix product.

storage.py    token vectors as they are kept: int16, int8, float16 or float32, in groups of 8 rows
ragged.py     documents cut into groups, and into runs that fit a budget
tiles.py      where groups come from: stored ones, chosen ones, rows in memory
upcast.py     exactly back to float32
shapes.py     how much is multiplied at a time, and by whom: what fits the caches, and what was tried
products.py   a tile times a block of query tokens; graphs.py has the same on ONNX Runtime
kernel.py     tile -> products -> best matches -> scores
rough.py      the same in 8 bits, with a proven bound on the error
exact.py      one pair in float64
stored.py     the ways into all this for stored documents
device.py     the same on a GPU; choice.py finds out which of the two is faster
workers.py    one Python thread per core; blas.py holds BLAS at one, buffers.py the memory of each
"""
