"""The audiences of a service: separate sets of members, which are looked up separately."""

from __future__ import annotations

from typing import Final

AUDIENCES: Final = ("people", "business")
"""Each has its own members, keys, epochs and manifest. The first is the default, and is always published.

A member's audiences are stored as the bits `1 << index` of this tuple: add new audiences at the end.
"""
