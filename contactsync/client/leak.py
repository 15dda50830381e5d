"""What the server could learn from a sync, in one sentence. The whole table is in docs/threat-model.md."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Buckets:
    """The buckets that were fetched of one partition: `fetched` of `total`, decoys included."""

    code: str
    fetched: int
    total: int

    @property
    def odds(self) -> float:
        """By how much seeing a bucket fetched multiplies the odds of a guess of a contact in it.

        One over the chance that it is fetched anyway, which is fetched / total: decoys are drawn without
        repetition.
        """
        return self.total / self.fetched


def sentence(
    *, points: int, codes: Sequence[str] | None, buckets: Sequence[Buckets] = (), crowded: Sequence[str] = ()
) -> str:
    """The line that ends every sync.

    `points` were sent for evaluation; `codes` are the calling codes whose files were fetched because of the
    book (None: all were fetched, or none); `buckets` those of the screen mode; `crowded` the calling codes of
    which everything was fetched, as buckets would have been no less.
    """
    told = [f"looked up {_between(points)}" if points else "asked for updates"]
    if codes:
        told.append(f"has contacts in {_codes(codes)}")
    if buckets:
        fetched, total = sum(b.fetched for b in buckets), sum(b.total for b in buckets)
        odds = max(b.odds for b in buckets)
        where = _codes([b.code for b in buckets])
        told.append(
            f"fetched {fetched:,} of {total:,} buckets of {where}, decoys included"
            f" (seeing one multiplies the odds of a guess by up to {odds:.3g})"
        )
    if crowded:
        told.append(f"has so many contacts who are members in {_codes(crowded)} that all of it was fetched")
    if codes or buckets or crowded:
        hidden = "not which, or who matched"
    elif points:
        hidden = "not which, of which countries, or who matched"
    else:
        hidden = "nothing about the address book"
    return f"the server could learn that this account {' and '.join(told)}; {hidden}"


def _between(points: int) -> str:
    low = 1 if points == 8 else points // 2 + 1
    return f"{low:,} to {points:,} new numbers"


def _codes(codes: Sequence[str]) -> str:
    return ", ".join(f"+{code}" for code in sorted(codes))
