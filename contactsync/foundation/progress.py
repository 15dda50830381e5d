"""How long tasks report their progress."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

Progress = Callable[[str, int, int], None]
"""Called with the name of the task, how much is done, and how much there is in total (0: unknown).

What the first call says is done was done before, such as what an interrupted download left.
"""

DOWNLOADING: Final = "downloading"
OCTETS: Final = frozenset({DOWNLOADING})
"""Tasks whose amounts are bytes."""


def silent(_what: str, _done: int, _total: int) -> None:
    """A `Progress` that says nothing."""
