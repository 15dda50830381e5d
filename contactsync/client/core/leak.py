"""What the server could learn from a sync, in one sentence. docs/threat-model.md has the whole table."""

from __future__ import annotations

from collections.abc import Sequence

from contactsync.client.core.round import LEAST
from contactsync.identifiers import title_of


def sentence(
    *,
    points: int,
    covered: bool,
    names: Sequence[str] | None,
    told: Sequence[str] = (),
    stores: Sequence[str] = (),
) -> str:
    """The line that ends every sync.

    `points` were sent for evaluation; with `covered`, all of them may be padding. `names` are the partitions
    whose files were fetched because of the book (None: all were fetched, or none). `told` is what the
    privacy mode adds. `stores` are other hosts that data files came from.
    """
    if points:
        parts = [f"looked up {_between(points, covered=covered)}"]
    else:
        parts = ["asked for updates and has nothing new to look up"]
    if names:
        parts.append(f"has contacts in {listed(names)}")
    parts += told
    if len(parts) > 1:
        hidden = "not which, or who matched"
    elif points:
        hidden = "not which, from which countries, or who matched"
    else:
        hidden = "nothing else about the address book"
    seen = f"; {' and '.join(stores)} saw which files this address fetched" if stores else ""
    return f"the server could learn that this account {' and '.join(parts)}; {hidden}{seen}"


def listed(names: Sequence[str]) -> str:
    """Partitions by their titles: calling codes as people write them, and `mail`."""
    return ", ".join(title_of(name) for name in sorted(names))


def _between(points: int, *, covered: bool) -> str:
    low = points // 2 + 1 if points > LEAST else 0 if covered else 1
    return f"{low:,} to {points:,} new numbers or addresses"
