"""The odds of a guess, against a simulation of buckets, and against the table of docs/threat-model.md."""

import math
import random
import re
from pathlib import Path

import pytest

from contactsync.audit.leakage import Life, course, leakage
from contactsync.directory.ranges import chosen
from contactsync.foundation.errors import BadInput

DOCUMENT = (Path(__file__).resolve().parents[2] / "docs" / "threat-model.md").read_text()


def test_download_mode_tells_nothing():
    found = leakage(Life(10**6, 100, mode="download", syncs=1000, epochs=10, devices=5))
    assert (found.contact_odds, found.ledger_odds, found.lists) == (1.0, 1.0, 0)
    assert found.chance == found.prior


@pytest.mark.parametrize("members", [1000, 100_000])
def test_a_small_partition_is_fetched_whole(members):
    assert not leakage(Life(members, 50)).screened


def test_the_table_of_the_threat_model():
    rows = re.findall(
        r"^\| 10\^(\d) \| ([\d,]+) \| .*? \| (?:none; .*? \| )?([\d.]+) % \| ([\d.]+) \|$",
        DOCUMENT,
        re.MULTILINE,
    )
    assert len(rows) == 4
    for power, per_list, _, to_name in rows:
        # 64 buckets and 100 contacts, who were not all looked up at once: so 64 of them at a time.
        found = leakage(Life(10 ** int(power), 64, leak_budget=1e9))
        assert found.per_list == int(per_list.replace(",", ""))
        hundred = found.lists_to_name - math.log2(100 / 64) / math.log2(found.per_list)
        assert hundred == pytest.approx(float(to_name), abs=0.06)


@pytest.mark.slow
def test_the_chance_is_what_a_simulation_gives():
    """Contacts are in every list; others by chance, as often as `chosen` draws their bucket as a decoy."""
    life = Life(400_000, 40, epochs=2, syncs=2, leak_budget=1e9)
    found = leakage(life)
    chance = random.Random(1)
    buckets = found.buckets_total
    people = [chance.randrange(buckets) for _ in range(life.members)]
    contacts = range(life.contacts)
    left = set(range(life.members))
    for _ in range(found.contact_lists):
        people = [chance.randrange(buckets) for _ in people]  # another key, other buckets
        wanted = sorted({people[who] for who in contacts})
        fetched = set(chosen(wanted, buckets, chance.randbytes(32), total=life.buckets, asked=[]))
        assert len(fetched) == found.buckets_fetched
        left = {who for who in left if people[who] in fetched}
    assert left >= set(contacts)
    assert life.contacts / len(left) == pytest.approx(found.chance, rel=0.1)


def test_the_budget_of_each_device_limits_its_lists():
    found = leakage(Life(10**6, 64, syncs=50, epochs=1, devices=2))
    per_device = found.lists // 2
    assert found.per_list**per_device <= 1000 < found.per_list ** (per_device + 1)
    assert found.ledger_odds <= 1000
    assert found.lists + found.lists_refused == 100
    assert found.contact_lists == 2
    assert found.contact_odds == pytest.approx(found.per_list**2)


def test_guesses_and_epochs_multiply():
    one = leakage(Life(10**7, 64, leak_budget=1e12))
    many = leakage(Life(10**7, 64, syncs=3, epochs=3, guesses=2, leak_budget=1e12))
    assert many.contact_odds == pytest.approx(one.contact_odds**3)
    assert many.group_odds == pytest.approx(one.contact_odds**6)


def test_the_curve_rises_from_the_prior():
    life = Life(10**6, 64)
    points = course(life)
    assert points[0] == (0, pytest.approx(64 / 10**6))
    chances = [y for _, y in points]
    assert chances == sorted(chances)
    assert chances[-1] > 0.5


@pytest.mark.parametrize(
    "life",
    [
        {"members": 10, "contacts": 11},
        {"members": 1 << 60, "contacts": 1},
        {"members": 10**6, "contacts": 5, "guesses": 6},
        {"members": 10**6, "contacts": 5, "syncs": 1, "epochs": 2},
    ],
)
def test_figures_that_do_not_go_together(life):
    with pytest.raises(BadInput):
        Life(**life)
