"""Retrieval sets that every machine can make: text and judgements out of the Python standard library.

catalogue.py    the sets by name, and opening one
functions.py    a sentence asks for source code
classes.py      a sentence asks for the page of a class
files.py        a set to disk
"""

from .catalogue import SETS, Generated, make_set, open_set
from .files import write_set

__all__ = ["SETS", "Generated", "make_set", "open_set", "write_set"]
