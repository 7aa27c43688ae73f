"""What encoders find on retrieval sets, how sure that is, and where one beats another.

measure.py             several encoders and sets in one run: refuse, find, report
contenders.py          the encoders: bundles on an engine
pytorch_contender.py   and PyTorch on their checkpoint
encoded.py             encoded texts on disk, by the hash of all that decides them
findings.py            pooled, late, hybrid and stored rankings of one encoder on one set
stored.py              the hybrid as an index keeps the vectors
lexical.py             BM25
names.py               what the systems are called
report.py              means, intervals and p-values against one baseline, as JSON
significance.py        Holm's correction
per_query.py           what each query found, as lines of a file
wins.py                the largest wins and losses of one system against another
"""
