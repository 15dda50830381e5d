"""The timing test sees what leaks, and nothing where there is nothing. What it says of the kernels: make
timing.
"""

import numpy as np
import pytest

from timing import welch
from timing.kernels import CONTROLS, MEASURED


@pytest.mark.slow
@pytest.mark.parametrize("name", CONTROLS)
def test_a_leak_is_seen(name):
    assert max(welch.measure(CONTROLS[name], 1.0).t for _ in range(3)) > welch.LEAKS


def test_two_classes_of_one_distribution_are_not_told_apart():
    rng = np.random.default_rng(1)
    times = rng.gamma(3.0, 1000.0, 20_000)
    assert welch.judged(times, rng.random(20_000) < 0.5).t < welch.SUSPICIOUS


def test_a_difference_of_half_a_percent_is_seen_through_interrupts():
    rng = np.random.default_rng(1)
    fixed = rng.random(20_000) < 0.5
    times = (
        rng.normal(1000.0, 20.0, 20_000) + np.where(rng.random(20_000) < 0.02, 1e6, 0) + np.where(fixed, 0, 5)
    )
    assert welch.judged(times, fixed).t > welch.LEAKS


@pytest.mark.slow
@pytest.mark.parametrize("name", MEASURED)
def test_what_is_measured_runs_with_both_classes(name):
    for fixed in (True, False):
        assert MEASURED[name](fixed)() is not None
