"""The simulated crawl: numbers of a country are counted, and as many tested as the server lets."""

import json
import math
import random
import re

import phonenumbers
import pytest
from phonenumbers import PhoneMetadata, PhoneNumberType

from bench import crawl
from bench.crawl import Course, Setup
from contactsync.foundation.errors import BadInput
from contactsync.identifiers.tel import normalise
from contactsync.phones.mobile import MobileNumbers
from contactsync.server.quota import PointQuota

COUNTRY = MobileNumbers("AT")


# The numbers of a country


@pytest.mark.slow
@pytest.mark.parametrize("region", ["SH", "FK"])
def test_every_number_that_matches_the_plan_is_counted_once(region):
    country = MobileNumbers(region)
    pattern = re.compile(PhoneMetadata.metadata_for_region(region).mobile.national_number_pattern)
    shape = f"0{country.digits}"
    found = [f"{n:{shape}}" for n in range(10**country.digits) if pattern.fullmatch(f"{n:{shape}}")]
    assert len(country) == len(found) > 0
    assert list(country.numbers(0, len(country))) == [country.code + national for national in found]
    with pytest.raises(IndexError):
        country.number(len(country))


@pytest.mark.parametrize("region", ["AT", "DE", "GB", "IN", "BR"])
def test_they_are_mobile_numbers_and_identifiers(region):
    country, chance = MobileNumbers(region), random.Random(1)
    places = sorted(chance.sample(range(len(country)), 200))
    numbers = [country.number(place) for place in places]
    assert numbers == sorted(set(numbers))
    for number in numbers:
        parsed = phonenumbers.parse(f"+{number}")
        assert phonenumbers.number_type(parsed) in {
            PhoneNumberType.MOBILE,
            PhoneNumberType.FIXED_LINE_OR_MOBILE,
        }
        assert normalise(f"+{number}", None) == b"tel:+" + number.encode()


def test_one_length_is_the_usual_one_and_all_are_told():
    assert (COUNTRY.digits, len(COUNTRY)) == (9, COUNTRY.lengths[9])
    assert COUNTRY.lengths[10] == 10 * COUNTRY.lengths[9]
    assert len(MobileNumbers("AT", 10)) == COUNTRY.lengths[10]
    for region, digits, error in (("XX", 0, BadInput), ("AT", 3, ValueError)):
        with pytest.raises(error):
            MobileNumbers(region, digits)


# What a course comes to


def test_what_is_later_is_extrapolated_at_the_last_rate():
    course = Course(9)
    for _ in range(3):
        course.add(0, 100)
    for day in range(1, 10):
        course.add(day, 10)
    assert [course.tested(day) for day in (0, 0.5, 1, 9)] == [300, 300, 310, 390]
    assert course.rate == 10
    assert course.tested(19) == 490
    assert (course.days_for(200), course.days_for(305), course.days_for(490)) == (0, 1, 19)
    stopped = Course(9)
    stopped.add(0, 100)
    assert (stopped.rate, stopped.days_for(101)) == (0, math.inf)


def simulate(tmp_path, accounts, allowance, breakers=(0, 0), *, days=3, every=4):
    setup = Setup(COUNTRY, accounts, PointQuota(*allowance), breakers, days, every)
    return setup, setup.simulate(tmp_path / "server", breakers)


@pytest.mark.slow
def test_accounts_get_their_burst_and_what_comes_back(tmp_path):
    setup, course = simulate(tmp_path, 3, (100, 8))
    assert [course.tested(day) for day in (0, 0.9, 1, 2, 3)] == [300, 300, 324, 348, 372]
    assert course.rate == 24
    assert course.sent == 3 * 4
    assert course.evaluated == 100 + 9 * 8, "one large batch in four, and all small ones"
    row = setup.row("here", course, (0, 0))
    assert (row["first_hour"], row["first_day"], row["first_month"]) == (300, 324, 372 + 27 * 24)
    assert row["days"] == pytest.approx((len(COUNTRY) - 300) / 24)
    assert row["accounts_for_30_days"] == -(-len(COUNTRY) // (100 + 30 * 8))


@pytest.mark.slow
def test_a_breaker_lets_so_much_through_in_an_hour(tmp_path):
    setup, course = simulate(tmp_path, 4, (256, 8), breakers=(300, 0), days=1)
    hours = [course.tested(hour / 24) for hour in (0, 1.01, 2.02, 3.03)]
    assert hours == [256, 512, 768, 1024]
    assert setup.row("few", course, (300, 0))["accounts_for_30_days"] is None
    assert setup.row("many", course, (0, 0))["accounts_for_30_days"] is not None


@pytest.mark.slow
def test_a_limit_below_a_batch_makes_batches_smaller_and_does_not_stop_them(tmp_path):
    _setup, course = simulate(tmp_path, 1, (100, 8), breakers=(70, 0), days=1)
    assert [course.tested(hour / 24) for hour in (0, 1.01, 24)] == [70, 100, 108]


@pytest.mark.slow
def test_it_stops_when_all_numbers_are_tested(tmp_path):
    country = MobileNumbers("NU")
    setup = Setup(country, 2, PointQuota(10**9, 1), (0, 0), 1, 1000)
    course = setup.simulate(tmp_path / "server", (0, 0))
    assert len(country) <= course.counts[-1] < len(country) + 4096
    assert setup.row("all", course, (0, 0))["days"] == 0


def test_peers_are_computed_from_their_figures():
    signal = crawl._computed(crawl.SIGNAL, 100, COUNTRY, crawl.SIGNAL_QUOTA)
    assert signal["first_year"] == 100 * (50_000 + 365 * 144)
    assert signal["days"] == (len(COUNTRY) / 100 - 50_000) / 144
    free = crawl._steady("free", 1, COUNTRY, 24_000_000)
    assert (free["first_hour"], free["first_month"]) == (1_000_000, len(COUNTRY))
    assert (free["accounts_for_30_days"], free["days"]) == (1, len(COUNTRY) / 24e6)


@pytest.mark.slow
def test_the_command(tmp_path, capsys):
    rows = tmp_path / "rows"
    words = ["--accounts", "2", "--burst", "64", "--per-day", "8", "--days", "6", "--seconds", "1"]
    crawl.main([*words, "--country", "AT", "--json", str(rows)])
    out = capsys.readouterr().out
    assert f"AT: {len(COUNTRY):,} mobile numbers of 9 digits" in out
    assert "extrapolated" in out
    first, *_, whatsapp = json.loads(rows.read_text())
    assert (first["numbers"], first["points_charged"], first["first_day"]) == (len(COUNTRY), 2 * 224, 144)
    assert first["steady_points_a_day"] == 16
    assert whatsapp["first_hour"] == len(COUNTRY)
    for bad in (["--country", "XX"], ["--accounts", "0"], ["--digits", "2"], ["--days", "5"]):
        with pytest.raises(SystemExit) as error:
            crawl.main(bad)
        assert error.value.code == 2
