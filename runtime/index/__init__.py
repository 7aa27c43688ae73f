"""The index: append-only segments of vectors, memory-mapped, committed by one rename.

layout.py    what lies on disk, as dataclasses
arrays.py    arrays written and mapped
segment.py   writing, mapping and checking one segment
lock.py      one writer at a time
store.py     a snapshot, and how one state follows another
writer.py    adding, deleting, compacting
merge.py     several segments become one
index.py     Index: create, open, add, delete, search
recall.py    what two-stage search misses
build.py     filling an index from a stream
"""

from .index import Hit, Index
from .layout import IndexOptions

__all__ = ["Hit", "Index", "IndexOptions"]
