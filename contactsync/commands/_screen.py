"""Tables on a terminal, by rich, which nothing else loads. What is not a terminal gets plain lines."""

from __future__ import annotations

import os
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Final

ISOLATE: Final = "\u2068%s\u2069"
"""FIRST STRONG ISOLATE and its end: what is between does not turn round the rest of the line (UAX #9)."""

_RIGHT_TO_LEFT: Final = frozenset({"R", "AL", "AN"})


def is_terminal() -> bool:
    """Whether stdout is a terminal that can show more than lines."""
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table as wide as the terminal, in which each cell wraps within its column."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    # Without padding at the edge, rich leaves a character out where the last column wraps.
    made = Table(box=None, header_style="bold", pad_edge=True, padding=(0, 2, 0, 0))
    console = Console(file=sys.stdout, highlight=False)
    least = [8 if number else 12 for number in range(len(head))]
    roomy = console.width > sum(least) + 2 * len(least)  # where there is no room for these, it cuts cells
    for name, width in zip(head, least, strict=True):
        made.add_column(name, overflow="fold", ratio=None, min_width=width if roomy else None)
    for row in rows:
        made.add_row(*(Text(isolated(cell)) for cell in row))
    with console.capture() as captured:
        console.print(made)
    lines = captured.get().splitlines()
    return "".join(f"{line.rstrip()}\n" for line in [*lines, ""])


def isolated(text: str) -> str:
    """The text, isolated if letters in it run from right to left, and if the terminal has the marks."""
    if not any(unicodedata.bidirectional(c) in _RIGHT_TO_LEFT for c in text):
        return text
    encoding = (getattr(sys.stdout, "encoding", "") or "").lower().replace("-", "")
    return ISOLATE % text if encoding.startswith("utf") else text
