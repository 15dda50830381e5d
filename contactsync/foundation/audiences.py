"""The audiences of a service, named in every part: separate sets of members, found separately."""

from __future__ import annotations

from typing import Final

AUDIENCES: Final = ("people", "business")
"""Each has its own members, keys, epochs and manifest. The first is the default, and always published.

A member's audiences are stored as the bits `1 << index` of this tuple: a new one goes to the end.
"""
