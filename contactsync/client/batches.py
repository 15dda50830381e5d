"""What is sent: new identifiers, hidden among random points, in batches."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

MAX_BATCH = 4096
"""What a server takes at most in one request (docs/http-api.md)."""
LEAST = 8
PADDING_BYTES = 32


@dataclass(frozen=True, slots=True)
class Batch:
    """Inputs to blind together. `places[i]` is input i's index among the new identifiers, -1 for padding."""

    inputs: list[bytes]
    places: list[int]


def padded(count: int) -> int:
    """How many points are sent for so many new identifiers: none, or the next power of two, at least 8."""
    return 0 if count == 0 else max(LEAST, 1 << (count - 1).bit_length())


def batches(new: Sequence[bytes]) -> Iterator[Batch]:
    """Pad, shuffle and split. Padding is random bytes, which blind like anything else (RFC 9497 §3.3.2)."""
    places = [*range(len(new)), *[-1] * (padded(len(new)) - len(new))]
    secrets.SystemRandom().shuffle(places)
    for start in range(0, len(places), MAX_BATCH):
        chosen = places[start : start + MAX_BATCH]
        yield Batch([secrets.token_bytes(PADDING_BYTES) if i < 0 else new[i] for i in chosen], chosen)
