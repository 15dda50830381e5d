"""Batches of members take as long as batches of others: a statistical test.

A server cannot know: a blinded point is a uniformly random element, whatever its input. So a difference that
shows would be news about the protocol, the server, or this client. Batches of members and of others are sent
in pairs, in random order within each, over one connection. Their times are compared by two tests that
outliers do not decide: Yuen's t on trimmed means (Biometrika 61, 1974) and the Mann-Whitney U (1947).
"""

from __future__ import annotations

import gc
import math
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import phonenumbers
from numpy.typing import NDArray

from contactsync.audit.probe.budget import BATCH, FOUND_IN
from contactsync.audit.probe.probed import Probed
from contactsync.client.download import fetch_file
from contactsync.client.transport import Transport
from contactsync.directory import match, open_directory
from contactsync.directory.delta import read_delta
from contactsync.foundation.errors import ContactSyncError
from contactsync.identifiers import KINDS, SCHEME, calling_code
from contactsync.phones.mobile import MobileNumbers
from contactsync.publication.partition import Partition
from contactsync.tokens import Tokens
from contactsync.voprf.client import blind
from contactsync.voprf.suite import Rows

Times = NDArray[np.float64]

DIFFERENT: Final = 4.5
"""In standard deviations: beyond it, times differ. By chance once in 100,000 probes."""

UNDECIDED: Final = 3.0
"""Between this and `DIFFERENT` nothing is decided. By chance once in 200 probes."""

POWER: Final = 1.645
"""A difference of `DIFFERENT` + this many standard errors would have been seen in 95 of 100 probes."""

LARGEST_UNSEEN: Final = 0.1
LEAST_UNSEEN: Final = 0.002
"""A probe that would not have seen this part of the usual time, nor these seconds, proves nothing."""

LEAST_MEMBERS: Final = 4
MOST_BASE: Final = 64 << 20
"""Octets of a base that is fetched to find members in it."""

_TRIMMED: Final = 0.2
_DIGITS: Final = 15  # of a number that no plan has assigned


@dataclass(frozen=True, slots=True)
class Compared:
    """What two rows of times, in seconds, come to. `seen`: the least difference that would have been seen."""

    median: float
    difference: float
    seen: float
    t: float
    z: float

    @property
    def strength(self) -> float:
        """How many standard deviations the rows are apart, by the test that finds more."""
        return max(abs(self.t), abs(self.z))

    @property
    def outcome(self) -> str:
        """different, undecided (too few or too noisy to tell), or alike."""
        if self.strength > DIFFERENT:
            return "different"
        sees = self.seen <= max(LARGEST_UNSEEN * self.median, LEAST_UNSEEN)
        return "alike" if sees and self.strength < UNDECIDED else "undecided"


def compare(one: Sequence[float], other: Sequence[float]) -> Compared:
    """Compare times of two kinds, at least ten of each."""
    a, b = np.sort(np.asarray(one)), np.sort(np.asarray(other))
    (mean_a, variance_a), (mean_b, variance_b) = _trimmed(a), _trimmed(b)
    error = math.sqrt(variance_a + variance_b) or 1e-9
    # U: how many pairs have the first one later; ties count half.
    below = np.searchsorted(b, a, "left").sum()
    ties = np.searchsorted(b, a, "right").sum() - below
    n, m = len(a), len(b)
    deviation = math.sqrt(n * m * (n + m + 1) / 12)
    z = (float(below) + float(ties) / 2 - n * m / 2) / deviation
    return Compared(
        median=float(np.median(np.concatenate([a, b]))),
        difference=mean_a - mean_b,
        seen=(DIFFERENT + POWER) * error,
        t=(mean_a - mean_b) / error,
        z=z,
    )


def _trimmed(times: Times) -> tuple[float, float]:
    """The mean without the outer fifths of sorted times, and its variance by Yuen."""
    n = len(times)
    cut = int(_TRIMMED * n)
    kept = n - 2 * cut
    winsorized = np.clip(times, times[cut], times[n - cut - 1])
    variance = float(winsorized.var(ddof=1)) * (n - 1) / (kept * (kept - 1))
    return float(times[cut : n - cut].mean()), variance


def check_timing(
    probed: Probed, transport: Transport, work: Path, pairs: int, members: Sequence[bytes] | None
) -> None:
    """Find members (among `members`, identifiers, if there are any), then time `pairs` pairs of batches."""
    report, place = probed.report, probed.path(probed.first)
    with report.guard("timing", place):
        found = _find(probed, transport, work, members)
        if len(found) < LEAST_MEMBERS:
            where = "random numbers of the partitions" if members is None else "the file"
            report.leave(
                "timing",
                place,
                f"{len(found)} members were found among {where}, too few to compare",
                "give numbers of members with --members",
            )
            return
        inside, outside = _times(probed, found, pairs)
        if not inside:
            report.leave("timing", place, "the batches were not evaluated, see above")
            return
        _judge(probed, place, compare(inside, outside), 2 * len(inside) * BATCH)


def _judge(probed: Probed, place: str, found: Compared, points: int) -> None:
    report = probed.report
    report.facts["timing"] = {
        "points": points,
        "median_ms": round(found.median * 1000, 3),
        "difference_ms": round(found.difference * 1000, 3),
        "seen_ms": round(found.seen * 1000, 3),
        "t": round(found.t, 2),
        "z": round(found.z, 2),
        "outcome": found.outcome,
    }
    figures = (
        f"{points:,} points, {found.median * 1000:.2f} ms a batch, members {found.difference * 1000:+.3f} ms,"
        f" t = {found.t:.1f}, z = {found.z:.1f}; {found.seen * 1000:.3f} ms would have been seen"
    )
    if found.outcome == "different":
        what = f"batches of members take another time than batches of others: {figures}"
        report.disprove("timing", place, what, "probe again; if it stays, the server knows who is blinded")
    elif found.outcome == "undecided":
        what = f"the times do not decide it: {figures}"
        report.leave("timing", place, what, "give more points, or probe from a place that is nearer")
    else:
        report.prove("timing")
        report.note("timing", place, figures)


def _times(probed: Probed, members: Sequence[bytes], pairs: int) -> tuple[list[float], list[float]]:
    """Times of batches of members and of others, in seconds; nothing if one was not evaluated."""
    times: tuple[list[float], list[float]] = ([], [])
    caller = probed.first
    gc.disable()  # a collection in between would be measured
    try:
        with probed.wire.line() as line:
            for number in range(pairs):
                batches = [blind([secrets.choice(members) for _ in range(BATCH)]), blind(_others(members))]
                for which in (0, 1) if secrets.randbits(1) else (1, 0):
                    if probed.budget.left < BATCH:
                        return times
                    reply = probed.post(caller, batches[which].blinded, line=line)
                    if probed.judge("proof", caller, batches[which], reply) is None:
                        return [], []
                    if number:  # the first pair warms the connection
                        times[which].append(reply.seconds)
    finally:
        gc.enable()
    return times


def _others(members: Sequence[bytes]) -> list[bytes]:
    """Numbers of the same calling codes that nobody has: no plan has any of that length."""
    found = []
    for _ in range(BATCH):
        code = calling_code(secrets.choice(members)).encode()
        rest = "".join(str(secrets.randbelow(10)) for _ in range(_DIGITS - len(code)))
        found.append(SCHEME + code + rest.encode())
    return found


def _find(probed: Probed, transport: Transport, work: Path, members: Sequence[bytes] | None) -> list[bytes]:
    """Members by their numbers, outputs and the directory: FOUND_IN points at most."""
    partitions = {
        name: one
        for name, one in probed.manifest.partitions.items()
        if one.base.length <= MOST_BASE and KINDS["tel"].owns_partition(name)
    }
    if members is None:
        partitions = dict(sorted(partitions.items(), key=lambda one: -one[1].members)[:1])
        candidates = _random_numbers(partitions)
    else:
        candidates = [one for one in dict.fromkeys(members) if calling_code(one) in partitions]
        while len(candidates) > FOUND_IN:
            candidates.pop(secrets.randbelow(len(candidates)))
    if not candidates:
        return []
    blinding = blind(candidates)
    outputs = probed.evaluate("proof", probed.first, blinding)
    if outputs is None:
        return []
    found: list[bytes] = []
    for name in {calling_code(one) for one in candidates}:
        which = [index for index, one in enumerate(candidates) if calling_code(one) == name]
        hits = _matches(partitions[name], outputs[which], transport, work)
        found += [candidates[index] for index, hit in zip(which, hits, strict=True) if hit]
    return found


def _matches(partition: Partition, outputs: Rows, transport: Transport, work: Path) -> list[bool]:
    path, tokens = fetch_file(transport, work, partition.base), Tokens.from_outputs(outputs)
    with open_directory(path, expect=partition.directory) as directory:
        there = match(tokens, directory)
    for one in partition.patch_files:
        patch = read_delta(fetch_file(transport, work, one.file), expect=one.file)
        there = patch.apply_to_mask(tokens, there)
    return [bool(hit) for hit in there]


def _random_numbers(partitions: dict[str, Partition]) -> list[bytes]:
    """Mobile numbers of the calling codes, picked at random from their numbering plans."""
    found: list[bytes] = []
    for code in partitions:
        regions = [one for one in phonenumbers.region_codes_for_country_code(int(code)) if len(one) == 2]
        for region in regions[:1]:
            try:
                numbers = MobileNumbers(region)
            except (ValueError, ContactSyncError):
                continue
            found += [
                SCHEME + numbers.number(secrets.randbelow(len(numbers))).encode() for _ in range(FOUND_IN)
            ]
    return list(dict.fromkeys(found))
