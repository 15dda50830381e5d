"""The leaky bucket: figures, and what a clock that jumps may change."""

import pytest

from contactsync.server.quota import DAY_MS, PointQuota, Standing, Terms, leaked

USUAL = PointQuota()


def test_the_defaults():
    assert (USUAL.burst, USUAL.per_day, USUAL.window) == (16_384, 256, 64 * 86_400)
    assert Standing(0, 0, 0).left(USUAL) == 16_384
    assert Standing(0, 0, 0).next_step(USUAL) == 0


def test_a_wait_is_exactly_as_long_as_it_has_to_be():
    allowance = PointQuota(100, 7)
    for level in (0, 1, DAY_MS // 3, 93 * DAY_MS, 99 * DAY_MS + 1, 100 * DAY_MS):
        standing = Standing(level, 5_000, 5_000)
        for points in (1, 8, 100):
            wait = standing.wait(points, allowance)
            assert leaked(level, 5_000, 5_000 + wait * 1000, 7).left(allowance) >= points
            if wait:
                assert leaked(level, 5_000, 4_000 + wait * 1000, 7).left(allowance) < points


def test_the_next_step():
    allowance = PointQuota(100, 86_400)  # a point a second
    assert Standing(50 * DAY_MS, 0, 0).next_step(allowance) == 8
    assert Standing(3 * DAY_MS, 0, 0).next_step(allowance) == 3
    assert Standing(101 * DAY_MS, 0, 0).next_step(allowance) == 9, "what is owed comes first"
    assert Standing(100 * DAY_MS, 60_000, 0).next_step(allowance) == 68, "and a clock that was set back"
    assert Standing(0, 0, 0).next_step(PointQuota(3, 1)) == 0


@pytest.mark.parametrize(
    ("terms", "audience", "expected"),
    [
        (Terms(), "people", (1, 2)),
        (Terms(), "business", (3, 4)),
        (Terms("partner"), "business", (5, 6)),
        (Terms("partner", 7), "people", (7, 6)),
        (Terms("partner", None, 8), "people", (5, 8)),
        (Terms("was removed", 7, 8), "people", (7, 8)),
        (Terms("was removed"), "business", (3, 4)),
    ],
)
def test_account_class_audience_default(terms, audience, expected):
    classes = {"default": PointQuota(1, 2), "business": PointQuota(3, 4), "partner": PointQuota(5, 6)}
    assert terms.allowance(audience, classes) == PointQuota(*expected)


def test_leaking_in_steps_is_leaking_at_once():
    level, at = 1000 * DAY_MS, 0
    for now in (1, 17, 1_000, 999, 500, 86_400_000, 86_400_001, 3 * DAY_MS):
        standing = leaked(level, at, now, 333)
        level, at = standing.level, standing.at
    assert (level, at) == (1000 * DAY_MS - 333 * 3 * DAY_MS, 3 * DAY_MS)
