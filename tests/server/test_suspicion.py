"""Crawlers and farms among plausible users: found, and hardly anybody else."""

import dataclasses
import time

import pytest
from populations import DAY, NOW, Population, padded

from contactsync.server.quota import DAY_MS
from contactsync.server.suspicion import BOOK, suspicions

YEAR = 365


def look(*populations, book=BOOK):
    uses = [use for one in populations for use in one.uses]
    return suspicions(uses, {one.audience: one.epochs for one in populations}, NOW, book)


def names(found):
    return [one.use.account.name for one in found.suspects]


def users(seed, count=999, **options):
    """Users who came evenly over a year."""
    population = Population(seed, epochs=(YEAR + 10,))
    population.honest(count, lambda: population.chance.uniform(0, YEAR), **options)
    return population


# One crawler


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2, 4, 5])
def test_one_crawler_among_1000_accounts_comes_first(seed):
    """With one seed in about twenty, somebody has a book of 20,000 contacts, and comes before."""
    population = users(seed)
    population.crawler("crawler", 60)
    found = look(population)
    assert (found.accounts, found.used, found.compared) == (1000, 1000, 1000)
    first = found.suspects[0]
    assert first.use.account.name == "crawler"
    assert {"book", "points", "age"} <= set(first.signs)
    assert first.days == 60
    assert first.times_median == pytest.approx(first.numbers / 504, rel=0.1)
    assert first.use.points_total == 16_384 + 60 * 256
    assert first.numbers == first.book == first.use.points_total - 64 * 8
    assert f"at least {first.book:,} numbers in one epoch" in first.reasons[0]
    assert len(found.suspects) <= 10
    assert found.groups == ()


CRAWLERS = {
    "in its first half hour": {"age": 0.02},
    "after a week": {"age": 7},
    "after a year": {"age": YEAR},
    "with the smallest batches": {"age": 30, "size": 8},
    "with batches that are never full": {"age": 30, "size": 4000},
    "without the burst": {"age": 90, "burst": 256, "size": 256},
    "slowly": {"age": 120, "burst": 100, "per_day": 100, "size": 100},
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", CRAWLERS)
def test_however_it_goes_about_it(kind):
    population = users(7)
    population.crawler("crawler", **CRAWLERS[kind])
    assert "crawler" in names(look(population))[:3]


def test_full_batches_are_a_sign_and_small_ones_hide_nothing():
    population = users(1)
    population.crawler("full", 1)
    population.crawler("small", 1, size=8)
    found = {one.use.account.name: one for one in look(population).suspects}
    assert found["full"].signs == ("book", "full")
    assert found["full"].reasons[1] == "80% of 5 batches are as large as a batch may be"
    assert found["small"].signs == ("book",)
    assert found["small"].numbers == 16_384 + 256 - 24 * 8, "24 cover rounds a day, and no more"


def test_where_books_are_small_less_stands_out():
    """Below what an address book has, and far above what these ones have."""
    population = Population(1)
    population.honest(200, lambda: population.chance.uniform(0, YEAR), book=60)
    population.add("odd", 30, [(30, 4096)])
    (odd,) = look(population).suspects
    assert odd.signs == ("points", "age")
    assert odd.reasons[0] == "73 times the median of the 201 like it"
    population.add("large", 30, [(30, 512)])
    assert "large" not in names(look(population))


def test_what_the_largest_book_has_is_for_the_operator_to_say():
    population = users(2, 300)
    population.add("large", 10, [(10, 2048)] * 5)
    assert names(look(population)) == ["large"]
    assert look(population, book=20_000).suspects == ()
    assert len(look(population, book=500).suspects) > 30


@pytest.mark.slow
def test_the_young_are_compared_with_the_young():
    """Old accounts have looked their book up in twelve epochs. A young one that asks for as much is odd."""
    population = Population(1, epochs=range(30, 30 + 12 * 180, 180))
    population.honest(500, lambda: population.chance.uniform(2200, 2300), book=1000)
    population.honest(60, lambda: population.chance.uniform(1, 9), book=500)
    population.add("odd", 5, [(5, 4096)] * 4)
    (odd,) = look(population, book=20_000).suspects
    assert odd.signs == ("age", "full")
    assert odd.times_age == pytest.approx(32, rel=0.05)
    assert odd.times_median == pytest.approx(32 / 24, rel=0.05)


# Many accounts


@pytest.mark.slow
@pytest.mark.parametrize("within", [0.2, 3])
@pytest.mark.parametrize("points", [600, 2000, 7000])
def test_a_farm_of_50_young_accounts_below_the_quota_is_a_group(points, within):
    population = users(3, 950)
    population.farm("farm", 50, 5, points, within=within)
    found = look(population)
    (group,) = found.groups
    farmed = [name for name in group.names if name.startswith("farm")]
    assert len(farmed) == 50
    assert len(group.names) - 50 <= 10
    assert not any(name.startswith("farm") for name in names(found)), "none of them stands out alone"
    assert group.expected < group.added / 3
    assert group.first <= NOW // 1000 - 5 * DAY <= group.last + DAY
    assert group.last - group.first <= 7 * DAY
    assert group.least <= points <= group.most <= 2 * group.least
    assert f"{len(group.names)} of {group.added} accounts" in group.reason


def test_a_farm_that_hides_in_a_crowd_of_newcomers():
    population = users(4, 500)
    population.honest(400, lambda: population.chance.uniform(5, 6))
    population.farm("farm", 50, 5, 6000)
    (group,) = look(population).groups
    assert sum(name.startswith("farm") for name in group.names) == 50
    assert len(group.names) <= 55


def test_no_border_of_a_calendar_cuts_a_farm():
    """Nine accounts on each side of a midnight at which a week and four weeks end, too."""
    population = users(4, 500)
    midnight = NOW // DAY_MS // 28 * 28
    age = NOW / DAY_MS - midnight
    for number in range(18):
        hours = (number - 8.5) * 1.2
        population.add(f"farm {number}", age - hours / 24, [(age - 1, 4096)])
    (group,) = look(population).groups
    assert len({name for name in group.names if name.startswith("farm")}) == 18


def test_two_farms_are_two_groups_and_the_larger_one_comes_first():
    population = users(5, 900)
    population.farm("small", 20, 5, 3000)
    population.farm("large", 40, 90, 6000)
    first, second = look(population).groups
    assert {name.split()[0] for name in first.names} == {"large"}
    assert {name.split()[0] for name in second.names} >= {"small"}


def test_a_farm_that_takes_everything_is_a_group_and_each_of_it_a_suspect():
    population = users(6, 300)
    population.farm("farm", 50, 2, 15_000, size=4096)
    found = look(population)
    assert sum(name.startswith("farm") for name in names(found)) == 50
    assert len(found.groups[0].names) == 50


# Nobody else


HONEST = {
    "over a year": lambda p: p.honest(1000, lambda: p.chance.uniform(0, YEAR)),
    "all on one day": lambda p: p.honest(1000, 20),
    "in waves": lambda p: [p.honest(100, age) for age in range(0, 300, 30)],
    "suddenly many": lambda p: (
        p.honest(200, lambda: p.chance.uniform(300, 1500)),
        p.honest(800, lambda: p.chance.uniform(0, 2)),
    ),
    "a wave at an old service": lambda p: (
        p.honest(700, lambda: p.chance.uniform(400, 1500)),
        p.honest(300, 3),
    ),
    "some sync every hour": lambda p: (
        p.honest(900, lambda: p.chance.uniform(0, 200)),
        p.honest(100, lambda: p.chance.uniform(0, 200), syncs=24),
    ),
    "a wave of young ones among old ones": lambda p: (
        p.honest(900, lambda: p.chance.uniform(1000, 1500)),
        p.honest(100, 3),
    ),
    "a wave of people with larger books": lambda p: (
        p.honest(700, lambda: p.chance.uniform(0, YEAR), book=lambda: p.book() // 3),
        p.honest(300, 3),
    ),
    "a wave of almost empty books": lambda p: (
        p.honest(800, lambda: p.chance.uniform(0, YEAR)),
        p.honest(200, 3, book=100),
    ),
    "two kinds": lambda p: (
        p.honest(800, lambda: p.chance.uniform(0, 20), book=60),
        p.honest(200, lambda: p.chance.uniform(0, 20), book=2000),
    ),
    "few": lambda p: p.honest(30, lambda: p.chance.uniform(0, YEAR)),
}
EPOCHS = {"one epoch": (1600,), "six epochs": (1600, 900, 720, 540, 360, 180), "a new epoch": (1600, 1000, 5)}


@pytest.mark.slow
@pytest.mark.parametrize("epochs", EPOCHS)
@pytest.mark.parametrize("kind", HONEST)
def test_honest_users_are_hardly_ever_listed(kind, epochs):
    listed = accounts = 0
    for seed in range(1 if kind != "few" else 10):
        population = Population(seed, epochs=EPOCHS[epochs])
        HONEST[kind](population)
        found = look(population)
        assert found.groups == ()
        listed += len(found.suspects)
        accounts += found.accounts
    assert listed <= accounts / 100


def test_who_syncs_every_hour_for_a_year_is_not_listed():
    population = users(8, 300)
    population.honest(20, YEAR, syncs=24, book=400)
    hourly = {use.account.name for use in population.uses[-20:]}
    assert min(use.points_total for use in population.uses[-20:]) > 4 * BOOK
    assert not hourly & set(names(look(population)))


def test_a_class_is_compared_with_itself():
    people, partners = users(9, 300), Population(9, quota_class="partner")
    partners.honest(30, lambda: partners.chance.uniform(0, YEAR), book=30_000)
    found = look(people, partners, book=40_000)
    assert (found.used, found.compared) == (330, 330)
    assert found.suspects == found.groups == ()
    assert len(look(people, partners).suspects) >= 30, "without a word of the operator's"
    business = Population(9, audience="business")
    business.honest(30, lambda: business.chance.uniform(0, YEAR), book=30_000)
    assert look(people, business, book=40_000).suspects == ()


def test_with_too_few_others_nothing_is_compared():
    population = Population(1)
    population.honest(8, 30, book=60)
    population.add("odd", 30, [(30, 4096)])
    found = look(population)
    assert (found.used, found.compared, found.suspects) == (9, 0, ())
    population.add("crawler", 30, [(30, 4096)] * 4)
    population.uses.pop(0)
    (only,) = look(population).suspects
    assert (only.times_median, only.times_age, only.signs) == (None, None, ("book", "full"))


def test_who_never_asked_is_left_out():
    population = users(1, 100)
    for number in range(500):
        population.add(f"unused {number}", 1, [])
    found = look(population)
    assert (found.accounts, found.used, found.suspects, found.groups) == (600, 100, (), ())
    assert look(Population(1)).suspects == suspicions([], {}, NOW).groups == ()


def test_the_order_of_the_accounts_does_not_matter():
    population = users(3, 500)
    population.crawler("crawler", 60)
    population.farm("farm", 50, 5, 5000)
    one = look(population)
    population.chance.shuffle(population.uses)
    assert look(population) == one


def test_a_clock_that_was_wrong_is_no_error():
    population = users(3, 50)
    population.add("tomorrow", -1, [(0, 4096)] * 4)
    population.add("1970", NOW / DAY_MS, [(0, 8)])
    assert names(look(population)) == ["tomorrow"]


def test_what_was_asked_in_earlier_epochs_is_no_book_of_this_one():
    population = users(3, 300)
    use = population.add(
        "loyal", 3 * YEAR, [(3 * YEAR - epoch, padded(4000)) for epoch in range(0, 3 * YEAR, 180)]
    )
    population.uses[-1] = dataclasses.replace(use, epoch_points=4096)
    assert use.points_total > 3 * BOOK
    assert all("book" not in one.signs for one in look(population).suspects)


@pytest.mark.slow
@pytest.mark.parametrize("days", [0.5, YEAR])
def test_30000_accounts_in_seconds(days):
    """`days` 0.5: the worst case, all of them in one group of newcomers."""
    population = Population(1, epochs=(YEAR + 10,))
    population.honest(30_000, lambda: population.chance.uniform(0, days))
    begin = time.process_time()
    found = look(population)
    assert time.process_time() - begin < 20  # about 2 on an idle core
    assert len(found.suspects) <= 300
    assert found.groups == ()
