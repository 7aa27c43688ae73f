"""The index: append-only segments of vectors, memory-mapped, committed by one rename.

layout.py    what lies on disk, as dataclasses
arrays.py    arrays written and mapped
segment.py   writing, mapping and checking one segment
lock.py      one writer at a time
index.py     Index: create, open, add, search
build.py     filling an index from a stream
"""

from .index import Hit, Index

__all__ = ["Hit", "Index"]
