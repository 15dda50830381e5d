"""Which accounts look like crawlers, from what a blind server counts. Pure: rows of uses in, findings out.

The server does not see numbers, nor who is found. It sees how many points an account had evaluated, in how
many batches, and since when. An honest client looks up each contact once in an epoch, padded to a power of
two; after that it sends batches of `quota.STEP` points, most of them cover rounds. So what counts here is the
points without cover rounds, called *numbers*: at most `COVERS` smallest batches a day are left out.

An account can show four signs:

`book`
:   It asked for more numbers in one epoch than an address book has. This is a lower bound: all cover rounds
    that the account can have sent are left out of that one epoch.
`points`, `age`
:   It asked for far more numbers than the median of its peers (accounts of the same audience and class), or
    than the median of the `SAME_AGE` peers that were added at about the same time. Books are about
    log-normal, so logarithms are compared, by the modified z-score (B. Iglewicz and D. Hoaglin, 1993): the
    distance from the median, in units of 1.4826 times the median distance. An outlier moves neither of the
    two. The unit is at least a factor of two, because padding alone makes a difference of that size. And
    outliers are rare: where more than `RARE` of the peers are as far away, nobody is one.
`full`
:   Half of its batches or more are as large as a batch may be.

It is listed with `book`, or with any two. Most signs come first.

A farm of accounts stays below all of this. What gives it away is that its accounts move alike. So peers that
were added within a day, a week or four weeks are taken together (in two overlapping calendars, so that no
border cuts a farm of half that time), and it is counted how many of them used about as much, within a factor
of two, and at least `LEAST_ALIKE` numbers in an epoch. By chance, a share of them would: that of the other
peers, or that of a log-normal distribution with the peers' median and unit, whichever is larger. They are a
group if they are `GROUP` or more, at least `TIMES_ALIKE` times as many as chance gives, and if chance gives
so many with a probability below `CHANCE`. (The bound is H. Chernoff's, 1952: exp(-n KL(k/n, p)) for k of n.)
"""

from __future__ import annotations

import bisect
import math
import statistics
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from contactsync.server.quota import DAY_MS, STEP
from contactsync.server.storage.ports import AccountUse

BOOK: Final = 8192
"""Numbers in an epoch that no address book explains, unless the operator knows better.

Padded, a book of 4,097 to 8,192 numbers is as much; phones hold some hundred. Half of the default burst.
"""

COVERS: Final = 24
"""Smallest batches a day that count as cover rounds: a sync every hour."""

SAME_AGE: Final = 50
FEWEST: Final = 10
"""Peers without whom nothing is compared."""

UNUSUAL: Final = 3.5
"""The modified z-score from which on something is an outlier, as its authors recommend."""

RARE: Final = 0.01
"""The share of peers that can be outliers, or one of them if that is less."""

FULL_SHARE: Final = 0.5
FULL_BATCHES: Final = 4

GROUP: Final = 10
LEAST_ALIKE: Final = 256
TIMES_ALIKE: Final = 3.0
CHANCE: Final = 1e-9
SPANS: Final = {1: "a day", 7: "a week", 28: "four weeks"}
"""Days within which the accounts of a group were added, and their names."""

_DAY: Final = DAY_MS // 1000
_NORMAL: Final = 1.4826


@dataclass(frozen=True, slots=True)
class Suspect:
    """An account, its figures, and why it is listed.

    `numbers` are points without cover rounds, `book` is how many of them at least were for one epoch.
    `times_median` and `times_age` compare numbers with those of all peers and of those of the same age; None:
    there are too few.
    """

    use: AccountUse
    days: int
    numbers: int
    book: int
    full_share: float
    times_median: float | None
    times_age: float | None
    signs: tuple[str, ...]
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Alike:
    """Accounts that were added together and used about as much. By chance it would be `expected` of `added`.

    `first` and `last` are when they were added, in seconds since 1970; `least` and `most` are numbers.
    """

    names: tuple[str, ...]
    added: int
    expected: float
    first: int
    last: int
    least: int
    most: int
    points: int
    reason: str


@dataclass(frozen=True, slots=True)
class Suspicions:
    """What was found among `used` accounts; `compared` of them have enough peers. Most suspicious first."""

    accounts: int
    used: int
    compared: int
    suspects: tuple[Suspect, ...]
    groups: tuple[Alike, ...]


@dataclass(frozen=True, slots=True)
class _Peer:
    """A use with what is compared. `scale` is the logarithm (base 2) of its numbers, `rate` for one epoch."""

    use: AccountUse
    days: int
    numbers: int
    book: int
    scale: float
    rate: float

    @property
    def added(self) -> int:
        return self.use.account.added


@dataclass(frozen=True, slots=True)
class _Usual:
    """Median and unit of the logarithms of some peers."""

    median: float
    unit: float

    @classmethod
    def of(cls, values: Sequence[float]) -> _Usual:
        median = statistics.median(values)
        return cls(median, max(1.0, _NORMAL * statistics.median([abs(value - median) for value in values])))

    def score(self, value: float) -> float:
        return (value - self.median) / self.unit

    def share(self, low: float, high: float) -> float:
        normal = statistics.NormalDist(self.median, self.unit)
        return normal.cdf(high) - normal.cdf(low)


def suspicions(
    uses: Sequence[AccountUse], epochs: Mapping[str, Sequence[int]], now: int, book: int = BOOK
) -> Suspicions:
    """Look through all accounts. `now`, and when the epochs of each audience began, in ms since 1970."""
    peers: defaultdict[tuple[str, str], list[_Peer]] = defaultdict(list)
    for use in uses:
        if use.points_total:
            account = use.account
            peer = _peer(use, now, epochs.get(account.audience, ()))
            peers[account.audience, account.terms.quota_class].append(peer)
    suspects: list[Suspect] = []
    groups: list[Alike] = []
    compared = 0
    for crowd in peers.values():
        crowd.sort(key=lambda peer: (peer.added, peer.use.account.name))
        suspects += _outliers(crowd, book)
        if len(crowd) >= FEWEST:
            compared += len(crowd)
            groups += _alike(crowd)
    suspects.sort(key=lambda one: (-len(one.signs), -one.book, -one.numbers, one.use.account.name))
    groups.sort(key=lambda one: (-one.points, one.names))
    used = sum(map(len, peers.values()))
    return Suspicions(len(uses), used, compared, tuple(suspects), tuple(groups))


def _peer(use: AccountUse, now: int, epochs: Sequence[int]) -> _Peer:
    added = use.account.added * 1000
    days = max(1, -(-(now - added) // DAY_MS))
    cover = STEP * min(use.batches, COVERS * days)
    numbers = max(0, use.points_total - cover)
    lived = 1 + sum(added < since <= now for since in sorted(epochs)[1:])
    return _Peer(
        use,
        days,
        numbers,
        max(0, use.epoch_points - cover),
        math.log2(max(numbers, STEP)),
        math.log2(max(numbers / lived, STEP)),
    )


# --- one account --------------------------------------------------------------------------------------------


def _outliers(crowd: Sequence[_Peer], book: int) -> Iterator[Suspect]:
    """The suspects among peers, who are in the order in which they were added."""
    enough = len(crowd) >= FEWEST
    scales = [peer.scale for peer in crowd]
    everybody = _Usual.of(scales)
    coevals = []
    for at in range(len(crowd)):
        first = max(0, min(at - SAME_AGE // 2, len(crowd) - SAME_AGE - 1))
        coevals.append(_Usual.of(scales[first : first + SAME_AGE + 1]))
    unusual = _rare([everybody.score(scale) for scale in scales])
    unusual_for_age = _rare([usual.score(scale) for usual, scale in zip(coevals, scales, strict=True)])
    for at, peer in enumerate(crowd):
        full = peer.use.full_batches / max(1, peer.use.batches)
        signs = {
            "book": peer.book > book,
            "points": enough and unusual[at],
            "age": enough and unusual_for_age[at],
            "full": full >= FULL_SHARE and peer.use.full_batches >= FULL_BATCHES,
        }
        if signs["book"] or sum(signs.values()) > 1:
            times_median = 2 ** (peer.scale - everybody.median) if enough else None
            times_age = 2 ** (peer.scale - coevals[at].median) if enough else None
            reasons = {
                "book": f"at least {peer.book:,} numbers in one epoch; a book has {book:,} at most",
                "points": f"{times_median or 0:,.0f} times the median of the {len(crowd):,} like it",
                "age": f"{times_age or 0:,.0f} times the median of those of the same age",
                "full": f"{full:.0%} of {peer.use.batches:,} batches are as large as a batch may be",
            }
            shown = tuple(sign for sign, found in signs.items() if found)
            yield Suspect(
                peer.use,
                peer.days,
                peer.numbers,
                peer.book,
                full,
                times_median,
                times_age,
                shown,
                tuple(reasons[sign] for sign in shown),
            )


def _rare(scores: Sequence[float]) -> list[bool]:
    """Which scores are unusual, and reached by few."""
    ordered, few = sorted(scores), max(1, int(len(scores) * RARE))
    return [score >= UNUSUAL and len(scores) - bisect.bisect_left(ordered, score) <= few for score in scores]


# --- many accounts ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Window:
    """Some of the peers of one time, whose rates are within a factor of two; `doubt` is ln of the chance."""

    doubt: float
    span: int
    members: Sequence[_Peer]
    added: int
    expected: float


def _alike(crowd: Sequence[_Peer]) -> Iterator[Alike]:
    """The groups among peers; nobody is in two of them."""
    everybody = _Usual.of([peer.rate for peer in crowd])
    rates = sorted(peer.rate for peer in crowd)
    found = [
        window
        for span in SPANS
        for shift in (0, span * _DAY // 2)
        for cohort in _cohorts(crowd, span * _DAY, shift)
        for window in _windows(cohort, span, rates, everybody)
    ]
    taken: set[int] = set()
    for window in sorted(found, key=lambda one: one.doubt):
        members = [peer for peer in window.members if peer.use.account.id not in taken]
        if len(members) * 2 > len(window.members) and len(members) >= GROUP:
            taken.update(peer.use.account.id for peer in members)
            yield _group(members, window)


def _cohorts(crowd: Sequence[_Peer], span: int, shift: int) -> Iterator[list[_Peer]]:
    """The peers by when they were added."""
    cohorts: defaultdict[int, list[_Peer]] = defaultdict(list)
    for peer in crowd:
        cohorts[(peer.added + shift) // span].append(peer)
    return (cohort for cohort in cohorts.values() if len(cohort) >= GROUP)


def _windows(
    cohort: Sequence[_Peer], span: int, rates: Sequence[float], everybody: _Usual
) -> Iterator[_Window]:
    """The windows of one cohort that chance does not explain, the least likely first, without overlap."""
    n, others = len(cohort), len(rates) - len(cohort)
    ordered = sorted(cohort, key=lambda peer: peer.rate)
    mine = [peer.rate for peer in ordered]
    found = []
    for at in range(bisect.bisect_left(mine, math.log2(LEAST_ALIKE)), n - GROUP + 1):
        low, high = mine[at], mine[at] + 1
        k = bisect.bisect_left(mine, high) - at
        if k >= GROUP:
            outside = bisect.bisect_left(rates, high) - bisect.bisect_left(rates, low) - k
            elsewhere = (outside + 1) / (others + 2) if others else 0.0
            share = max(everybody.share(low, high), elsewhere, 1 / len(rates))
            doubt = -n * _divergence(k / n, share)
            if k >= TIMES_ALIKE * n * share and doubt <= math.log(CHANCE):
                found.append((doubt, at, k, n * share))
    free = [True] * n
    for doubt, at, k, expected in sorted(found):
        if all(free[at : at + k]):
            free[at : at + k] = [False] * k
            yield _Window(doubt, span, ordered[at : at + k], n, expected)


def _divergence(share: float, p: float) -> float:
    """Kullback-Leibler divergence of two coins, in nats; 0 if the first is not the likelier one."""
    if share <= p:
        return 0.0
    rest = 0.0 if share == 1 else (1 - share) * math.log((1 - share) / (1 - p))
    return share * math.log(share / p) + rest


def _group(members: Sequence[_Peer], window: _Window) -> Alike:
    numbers = [peer.numbers for peer in members]
    added = [peer.added for peer in members]
    return Alike(
        tuple(sorted(peer.use.account.name for peer in members)),
        window.added,
        window.expected,
        min(added),
        max(added),
        min(numbers),
        max(numbers),
        sum(peer.use.points_total for peer in members),
        f"{len(members)} of {window.added:,} accounts that were added within {SPANS[window.span]} asked for"
        f" {min(numbers):,} to {max(numbers):,} numbers each; by chance it would be about"
        f" {window.expected:.1f}",
    )
