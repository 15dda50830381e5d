"""Writes back into address books who matched: a category in their cards, on demand, and takes it away again.

`marks` plans and does it, `undo` keeps the list of what was changed, `places` changes one card where it is.
"""
