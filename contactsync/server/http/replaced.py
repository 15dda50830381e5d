"""Notices that a database was replaced while it is in use, without opening it.

A process that has opened a SQLite file goes on with that file, also if another one gets its name: what it
writes is lost, and what it reads is out of date. SQLite itself writes in place, and never makes another file.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

_Identity = tuple[int, int] | None


class Replaced:
    """What files were when this began. The members' is watched by `stat` alone: `serve` never opens it."""

    def __init__(self, files: Collection[Path]) -> None:
        self._known = {path: _identity(path) for path in files}

    def look(self) -> list[Path]:
        """Those that are gone, or another file now."""
        return [path for path, before in self._known.items() if _identity(path) != before]


def _identity(path: Path) -> _Identity:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_dev, stat.st_ino
