"""How long tasks report their progress."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Called with the name of the task, how much is done, and how much there is in total (0: unknown)."""


def silent(_what: str, _done: int, _total: int) -> None:
    """A `Progress` that says nothing."""
