"""The comparison of times: it finds a difference, passes none by default, says what it would have seen."""

import time

import numpy as np
import pytest
from probed_site import MEMBERS, unchecked, wrong

from contactsync.audit.probe import timing
from contactsync.audit.probe.timing import compare


def times(seed, n, mean=0.010, spread=0.001, outliers=0.05):
    """Times of a server: a mean, some spread, and now and then a hundred times as much."""
    draw = np.random.default_rng(seed)
    found = mean + spread * draw.standard_gamma(2.0, n)
    return found + (draw.random(n) < outliers) * draw.random(n)


def test_alike_is_found_alike_and_seldom_different():
    outcomes = [compare(times(2 * i, 100), times(2 * i + 1, 100)).outcome for i in range(300)]
    assert outcomes.count("different") == 0
    assert outcomes.count("alike") > 280


def test_a_difference_is_found_at_the_size_that_is_promised():
    """What `seen` states is found in at least 90 of 100 cases, whatever the outliers."""
    found = 0
    for i in range(200):
        one, other = times(2 * i, 120), times(2 * i + 1, 120)
        promised = compare(one, other).seen
        found += compare(one + promised, other).outcome == "different"
    assert found > 180


def test_a_delay_for_every_fifth_member_is_found():
    draw = np.random.default_rng(5)
    slow = times(1, 400) + (draw.random(400) < 0.2) * 0.010
    assert compare(slow, times(2, 400)).outcome == "different"


def test_too_few_or_too_noisy_is_undecided_and_never_alike():
    assert compare(times(1, 12, spread=0.02), times(2, 12, spread=0.02)).outcome == "undecided"
    noisy = compare(times(3, 60, spread=0.5), times(4, 60, spread=0.5))
    assert (noisy.outcome, noisy.strength < 3) == ("undecided", True)


def test_ties_are_no_difference():
    assert compare([0.01] * 50, [0.01] * 50).strength == 0


@pytest.mark.slow
def test_a_server_that_knows_whose_points_they_are_and_waits(probe, middleman, monkeypatch):
    """It cannot, so the test tells it: it takes the points that are blinded for members."""
    marked = set()

    def blind(inputs):
        made = timing_blind(inputs)
        if set(inputs) <= set(MEMBERS):
            marked.update(row.tobytes() for row in made.blinded)
        return made

    def tamper(request, reply):
        if "/v1/evaluate/" in request.path and request.body[:32] in marked:
            time.sleep(0.1)

    timing_blind = timing.blind
    monkeypatch.setattr(timing, "blind", blind)
    middleman.tamper = tamper
    report = probe(900, members=MEMBERS)
    assert wrong(report) == {"timing"}
    assert report.facts["timing"]["outcome"] == "different"
    assert report.facts["timing"]["difference_ms"] > 50
    assert report.facts["timing"]["points"] > 300


@pytest.mark.slow
def test_members_are_found_by_guessing_where_everybody_is_one(probe, monkeypatch):
    monkeypatch.setattr(timing, "LEAST_UNSEEN", 60.0)  # however busy this machine is
    report = probe(800)
    assert "timing" in report.facts, [one.message for one in report.findings]
    assert "timing" not in wrong(report)


@pytest.mark.slow
def test_who_is_no_member_is_not_taken_for_one(probe):
    report = probe(800, members=[b"tel:+4917600000%03d" % number for number in range(40)])
    assert "timing" in unchecked(report)
    assert any("0 members were found among the file" in one.message for one in report.findings)
