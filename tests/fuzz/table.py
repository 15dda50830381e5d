"""All targets. A parser that none of them reaches fails test_parsers_reached.py."""

from __future__ import annotations

from typing import Final

from fuzz import (
    books,
    client,
    data_files,
    dav,
    elsewhere,
    labelled,
    looked_up,
    numbers,
    publications,
    server,
    watched,
)
from fuzz.target import Target

_ROOMS: Final = (
    *(books, numbers, data_files, labelled, looked_up),
    *(publications, client, dav, server, elsewhere, watched),
)

TARGETS: Final[tuple[Target, ...]] = tuple(target for room in _ROOMS for target in room.TARGETS)


def named(name: str) -> Target:
    """The target of this name. Raises KeyError."""
    return {target.name: target for target in TARGETS}[name]
