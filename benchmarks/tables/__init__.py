"""The tables of the documentation, made from `benchmarks/results/*.json`.

pages.py      which table stands on which page; writing and comparing them
encoding.py   precisions, cold start, pages, large exports
finding.py    retrieval sets, storage, the controlled benchmark
scoring.py    late interaction
study.py      latency and quality, joined
"""
