"""The test of dudect (Reparaz, Balasch, Verbauwhede 2017): two classes of secrets, and Welch's t-test of
their times.

One class has always the same secret, the other a new one each time. They are measured in an order that chance
decides, so whatever else the machine does meets both. The slowest measurements are interrupts, not the code:
the test is repeated without the slowest of them, and the largest value counts.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CROPS = (1.0, 0.99, 0.95, 0.9, 0.75, 0.5)
"""The shares of the fastest measurements that are looked at."""

SUSPICIOUS, LEAKS = 4.5, 10.0
"""dudect's bounds: below the first nothing is seen, above the second it certainly leaks."""

_AT_ONCE = 20


@dataclass(frozen=True)
class Timing:
    """What came of a measurement: the largest |t|, how many measurements, the median in microseconds."""

    t: float
    count: int
    median_us: float


def measure(prepare: Callable[[bool], Callable[[], object]], seconds: float) -> Timing:
    """Measure for so long. `prepare(fixed)` makes one call ready, with the fixed secret or a new one."""
    for fixed in (True, False) * 5:
        prepare(fixed)()
    times: list[int] = []
    classes: list[bool] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        chosen = [bool(secrets.randbits(1)) for _ in range(_AT_ONCE)]
        calls = [prepare(fixed) for fixed in chosen]
        for call in calls:
            begun = time.perf_counter_ns()
            call()
            times.append(time.perf_counter_ns() - begun)
        classes += chosen
    return judged(np.array(times, np.float64), np.array(classes))


def judged(times: NDArray[np.float64], fixed: NDArray[np.bool_]) -> Timing:
    """The largest |t| over all crops. Which measurements are cropped does not depend on their class."""
    values = [abs(_welch(times[kept & fixed], times[kept & ~fixed])) for kept in _crops(times)]
    return Timing(max(values), times.size, float(np.median(times)) / 1000)


def _crops(times: NDArray[np.float64]) -> Sequence[NDArray[np.bool_]]:
    return [times <= np.quantile(times, share) for share in CROPS]


def _welch(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    if min(a.size, b.size) < 2:
        return 0.0
    spread = a.var(ddof=1) / a.size + b.var(ddof=1) / b.size
    return 0.0 if spread == 0 else float((a.mean() - b.mean()) / np.sqrt(spread))
