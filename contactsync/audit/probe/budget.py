"""How many points a probe may send, and what it sends them for: the most important first.

Every valid blinded element of a request with a credential counts, whether the server charges it or not, and
again if the same batch is sent again. So the figure holds for a server that charges what it should not.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from contactsync.foundation.errors import BadInput, OurError

BATCH: Final = 8
"""Points of a usual batch: as few as a client ever sends."""

LEAST: Final = BATCH
"""With fewer points than this nothing can be proven."""

LARGE: Final = 65
"""Points of a batch that a server may handle in another way than small ones."""

LINES: Final = 4
"""Connections at once."""

REPEATS: Final = 12
"""Batches one after the other."""

LEAST_PAIRS: Final = 25
MOST_PAIRS: Final = 256
"""Pairs of a batch of members and one of others, whose times are compared. The first warms the connection."""

FOUND_IN: Final = 16
"""Points by which the members of --members are looked up first."""


@dataclass(frozen=True, slots=True)
class ProbeStep:
    """Something to spend points on. `rules` are what it serves to check.

    It sends at most `points`, of which at most `charged` weigh on the first account.
    """

    name: str
    rules: tuple[str, ...]
    points: int
    charged: int
    what: str


class PointBudget:
    """The points that may still be sent. Threads may share it."""

    def __init__(self, points: int) -> None:
        """Raises BadInput if it is too small to prove anything."""
        if points < LEAST:
            raise BadInput(
                f"a budget of {points} points is too small", hint=f"the least that proves anything is {LEAST}"
            )
        self.points = points
        self.sent = 0
        self._lock = threading.Lock()

    @property
    def left(self) -> int:
        """Points that may still be sent."""
        return self.points - self.sent

    def spend(self, points: int) -> None:
        """Count points that are about to be sent. Raises OurError, and counts none, if they are too many."""
        with self._lock:
            if points > self.left:
                raise OurError(
                    f"{points} points would exceed the budget of {self.points}",
                    hint="it was not sent: the server was busy, and repetitions took the rest",
                )
            self.sent += points


@dataclass(frozen=True, slots=True)
class ProbePlan:
    """What is done with a budget, and what is left out: each step is in one of both.

    `pairs` are those of the comparison of times.
    """

    steps: Mapping[str, ProbeStep]
    left_out: Sequence[ProbeStep]
    pairs: int

    def __contains__(self, name: str) -> bool:
        return name in self.steps


def steps_for(accounts: int, left: int, *, has_next: bool) -> list[ProbeStep]:
    """All steps, the most important first. `left` is what the account has left, the grant included."""
    others = (accounts - 1) * BATCH
    parallel, repeats, known = LINES * 2 * BATCH, REPEATS * BATCH, 2 * BATCH + 1
    ahead = BATCH if has_next else 0
    times = FOUND_IN + 2 * BATCH * LEAST_PAIRS
    found = [
        ProbeStep(
            "key", ("proof", "finalize", "nonce"), BATCH, BATCH, "a batch, under the key of the manifest"
        ),
        ProbeStep(
            "refusals", ("refusal",), 2, 0, "a valid point in each of two batches that must be refused"
        ),
        ProbeStep("accounts", ("accounts",), others, 0, "the same batch from every other account"),
        ProbeStep("charges", ("quota",), 4 * BATCH, 2 * BATCH, "a batch, the same again, one twice at once"),
        ProbeStep("determinism", ("determinism",), known, known, "known points in other batches and places"),
        ProbeStep("next", ("proof",), ahead, ahead, "a batch for the epoch that is announced"),
        ProbeStep("parallel", ("parallel",), parallel, parallel, f"batches over {LINES} connections at once"),
        ProbeStep("sizes", ("proof",), LARGE + 1, LARGE + 1, "the smallest batch, and one beyond small ones"),
        ProbeStep("repeats", ("proof",), repeats, repeats, "batches one after the other"),
        ProbeStep("timing", ("timing",), times, times, "batches of members and of others"),
        ProbeStep("out-of-quota", ("out-of-quota",), left + 1, left, "more points than the account has left"),
    ]
    return [step for step in found if step.points > 0]


def plan(budget: int, left: int, steps: Sequence[ProbeStep]) -> ProbePlan:
    """Take the steps in order, each if there are points for it. The last one may take what the account has.

    `left` bounds what all others may be charged: what is sent beyond it would be refused.
    """
    taken: dict[str, ProbeStep] = {}
    left_out: list[ProbeStep] = []
    free, chargeable = budget, left
    for step in steps:
        # What the others were charged it need not send any more: the last one costs what is left then.
        is_last = step.name == "out-of-quota"
        if free <= chargeable if is_last else step.points > min(free, chargeable):
            left_out.append(step)
            continue
        taken[step.name] = step
        if not is_last:
            free, chargeable = free - step.points, chargeable - step.charged
    pairs = 0
    if "timing" in taken:
        # It may have more, and still leave enough for the last step: each pair lowers what that one costs.
        pairs = min(MOST_PAIRS, LEAST_PAIRS + min(free, chargeable) // (2 * BATCH))
    return ProbePlan(taken, left_out, pairs)
