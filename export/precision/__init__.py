"""Smaller number types in a float graph: which products, how weights are rounded, and the proof that it took.

The way of a graph: `scheme` says what a precision means, `products` finds what can be quantised, `smoothing` and
`rounding` turn weights into codes, `packed`, `dynamic`, `static`, `half` and `tables` rewrite nodes, `convert`
runs them in order, `proof` counts what the written file really holds.
"""
