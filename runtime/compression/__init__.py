"""Fewer and shorter token vectors, chosen when an index is made; what that costs must be measured.

apply.py        one after the other
ward.py         tokens of a document that say nearly the same become one
projection.py   token vectors in fewer dimensions
"""
