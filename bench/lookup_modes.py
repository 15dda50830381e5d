"""Which privacy mode downloads how much, over N, and from which N on one of them downloads the least.

The figures are those that a sync plans by and `--max-download` counts: nothing is computed here.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bench import lookup_editions
from bench.harness import Row
from bench.lookup_costs import CONTACTS, TOGETHER
from bench.lookup_editions import CHURN, download
from contactsync.client.privacy import MODES, TWO_SERVER

PLOTTED = tuple(round(10 ** (4 + step / 4)) for step in range(21))
TABLED = (10**4, 10**5, 10**6, 10**7, 10**8, 10**9)
LEAST, MOST = 10**4, 10**9
_STEPS = 4_000
"""Costs rise in steps, as rows do, and are compared 240 times in each factor of two."""


def curve(counts: Sequence[int], contacts: int = CONTACTS) -> list[Row]:
    """Octets down in each mode, at the first sync and after the next edition, and up to both servers."""
    return [
        {
            "members": members,
            **{f"{mode}, first": download(members, contacts, mode) for mode in MODES},
            **{f"{mode}, later": download(members, contacts, mode, later=True) for mode in MODES},
            "keys up": lookup_editions.keys_octets(members, contacts),
            "least, first": least(members, contacts, later=False),
            "least, later": least(members, contacts, later=True),
        }
        for members in counts
    ]


def least(members: int, contacts: int, *, later: bool) -> str:
    """The mode that downloads the least; of equal ones the first, which tells no more."""
    return min(MODES, key=lambda mode: download(members, contacts, mode, later=later))


def from_which_on(contacts: int = CONTACTS, *, later: bool) -> int | None:
    """The number of members from which on two-server mode downloads the least; None if never below 10^9."""
    grid = np.unique(np.geomspace(LEAST, MOST, _STEPS).astype(np.int64)).tolist()
    others = [n for n in grid if least(n, contacts, later=later) != TWO_SERVER]
    if not others:
        return LEAST
    low = others[-1]
    if low == grid[-1]:
        return None
    high = grid[grid.index(low) + 1]
    while high - low > 1:
        middle = (low + high) // 2
        if least(middle, contacts, later=later) == TWO_SERVER:
            high = middle
        else:
            low = middle
    return high


def least_from(contacts: int = CONTACTS) -> list[Row]:
    """From which number of members on two-server mode downloads the least."""
    return [
        {
            "sync": "the first" if not later else f"an edition later, {2 * CHURN:.1%} changed",
            "two-server mode downloads the least from": from_which_on(contacts, later=later),
        }
        for later in (False, True)
    ]


def plot(sizes: Sequence[Row], costs: Sequence[Row], path: str) -> None:
    """Octets over N in each mode, and CPU over N of those who look up."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (octets, cpu) = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
    n = np.array([row["members"] for row in sizes], float)
    for mode, colour in zip(MODES, ("C0", "C2", "C1"), strict=True):
        octets.plot(n, [row[f"{mode}, first"] for row in sizes], "-", color=colour, label=mode)
        octets.plot(n, [row[f"{mode}, later"] for row in sizes], ":", color=colour)
    octets.plot(n, [row["keys up"] for row in sizes], "--", color="gray", label=f"{TWO_SERVER}: sent")
    octets.plot([], [], ":", color="black", label=f"an edition later ({2 * CHURN:.1%} changed)")
    octets.set(xscale="log", yscale="log", xlabel="members", ylabel="bytes", title=f"{CONTACTS} contacts")
    n = np.array([row["members"] for row in costs], float)
    for name, label in (
        ("server_ms", "each server, alone"),
        ("each_ms", f"each server, a client of {TOGETHER}"),
        ("client_ms", "client"),
    ):
        cpu.plot(n, [row[name] / 1e3 for row in costs], "o-", label=label)
    cpu.set(
        xscale="log", yscale="log", xlabel="members", ylabel="seconds", title=f"{TWO_SERVER}: CPU, one thread"
    )
    for axes in (octets, cpu):
        axes.grid(visible=True, alpha=0.3)
        axes.legend(fontsize=8)
    figure.savefig(path, dpi=110)
