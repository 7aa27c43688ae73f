"""How well a bundle retrieves, measured with NumPy alone: by the export that made it and on the device that runs it.

dataset.py         retrieval sets: documents, queries, judgements
stdlib_source.py   the public definitions of the Python standard library, as syntax trees
stdlib_corpus.py   the Python standard library as documents
stdlib_set.py      and as a set with judgements, on every machine and offline
known_item.py      what such a set is made by: one right answer a query
summaries.py       a docstring in two: what asks, and what is found
metrics.py         nDCG and its like, and the interval of a difference
quality.py         what one encoder finds, and what another loses
"""
