"""How long a crawl takes: the formulas, the documented figures, and a quota that is run hour by hour."""

import math

import pytest

from contactsync.audit.enumeration import MONTH, YEAR, Enumeration, enumeration
from contactsync.foundation.errors import BadInput
from contactsync.server.breakers import Breakers
from contactsync.server.quota import DAY_MS, PointQuota, Standing, leaked

DEFAULT = PointQuota()
NONE = Breakers()


def crawl(numbers=10**12, accounts=1, quota=DEFAULT, breakers=NONE, rotations=0):
    return Enumeration("XX", numbers, accounts, quota, breakers, rotations)


def test_the_figures_of_the_threat_model():
    assert crawl().tested(YEAR) == 109_824
    assert crawl().tested(2 * YEAR) - crawl().tested(YEAR) == 93_440
    assert crawl(rotations=2).tested(YEAR) == 172_928
    austria, country = enumeration("AT", 100, DEFAULT, NONE)
    assert (len(country), austria.tested(1), austria.tested(MONTH)) == (46_100_000, 1_664_000, 2_406_400)
    assert austria.days() == pytest.approx(1737, abs=1)
    assert austria.accounts_within(MONTH) == 1_916


def test_the_bucket_of_the_server_lets_as_much_through():
    """Points are charged as `server.quota` counts them, as many and as early as it allows."""
    quota, level, at, got = PointQuota(500, 40), 0, 0, 0
    for hour in range(24 * 60 + 1):
        now = hour * 3_600_000
        level = leaked(level, at, now, quota.per_day).level
        left = Standing(level, now, now).left(quota)
        level, at, got = level + left * DAY_MS, now, got + left
    assert abs(got - crawl(quota=quota).tested(60)) <= 1


def test_breakers_limit_what_thousands_do_together():
    breakers = Breakers(1_000_000, 250_000, 7)
    many = crawl(numbers=10**10, accounts=10**6, breakers=breakers)
    assert many.tested(7) == 250_000 * (24 * 7 + 1)
    assert many.tested(30) == pytest.approx(594e6, rel=0.001)
    assert many.accounts_within(MONTH) is None
    assert many.days() > 30


def test_without_time_the_burst_is_all():
    assert crawl(accounts=3).tested(0) == 3 * DEFAULT.burst


def test_all_numbers_are_the_most_that_can_be_tested():
    assert crawl(numbers=1000).tested(YEAR) == 1000
    assert crawl(numbers=1000).days() < 1e-9


def test_days_and_tested_agree():
    for rotations in (0, 1, 2, 12):
        one = crawl(numbers=50_000_000, accounts=70, rotations=rotations, breakers=Breakers(10**6, 10**5))
        days = one.days()
        assert one.tested(days + 1e-3) == one.numbers > one.tested(days * 0.999)


def test_more_than_two_grants_a_year_are_none():
    assert crawl(rotations=12).tested(YEAR) < crawl(rotations=2).tested(YEAR)  # smaller ones, and two of them
    assert crawl(rotations=12).tested(YEAR) > crawl().tested(YEAR)


def test_a_service_that_lets_next_to_nothing_through():
    assert crawl(numbers=10**15, quota=PointQuota(1, 1)).days() == math.inf


@pytest.mark.parametrize(("region", "digits"), [("XX", 0), ("AT", 20), ("", 0)])
def test_a_country_without_such_numbers(region, digits):
    with pytest.raises(BadInput):
        enumeration(region, 1, DEFAULT, NONE, digits=digits)
