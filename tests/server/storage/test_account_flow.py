"""What every store of accounts does with epochs, grants and breakers."""

import os
import random
import threading

import pytest

from contactsync.server.breakers import MINUTE_MS, Breakers, BreakerState, Flow
from contactsync.server.quota import DAY_MS, PointQuota, Verdict
from contactsync.server.storage.ports import Charge, EpochUse, NewAccount

CHARGED, REPEATED, REFUSED, STOPPED = Verdict.CHARGED, Verdict.REPEATED, Verdict.REFUSED, Verdict.STOPPED
HUNDRED = PointQuota(100, 1)
YEAR = 365


def charge(account, points, epoch=1, allowance=HUNDRED, batch=None, **more):
    return Charge(account, points, batch or os.urandom(16), allowance, epoch, **more)


@pytest.fixture
def one(accounts):
    accounts.add("one", "people", "cs_one")
    return accounts.find("cs_one").id


def outcomes(accounts, *charges, breakers=None):
    options = () if breakers is None else (breakers,)
    return [standing.outcome for standing in accounts.charge(charges, *options)]


def granted(accounts, account):
    return accounts.standing(account, HUNDRED).granted


# Grants


def test_a_new_epoch_grants_what_was_evaluated_in_the_one_before_and_no_more(accounts, one):
    assert outcomes(accounts, charge(one, 90), charge(one, 8), charge(one, 8)) == [CHARGED, CHARGED, REFUSED]
    assert outcomes(accounts, charge(one, 60, 2)) == [CHARGED]
    assert granted(accounts, one) == 38
    (use,) = accounts.uses("one")
    assert (use.epoch_points, use.granted, use.points_total) == (60, 38, 158)
    # 38 of the grant and 2 of the bucket's last; then nothing, in whatever epoch.
    assert outcomes(accounts, charge(one, 40, 2)) == [CHARGED]
    assert outcomes(accounts, charge(one, 1, 2), charge(one, 1, 1)) == [REFUSED, REFUSED]
    assert accounts.uses("one")[0].epoch_points == 100


def test_what_does_not_fit_takes_nothing_of_the_grant(accounts, one):
    accounts.charge([charge(one, 98)])
    assert outcomes(accounts, charge(one, 101, 2)) == [REFUSED]
    assert granted(accounts, one) == 98
    assert outcomes(accounts, charge(one, 100, 2)) == [CHARGED]


def test_a_grant_is_not_for_the_epoch_before(accounts, one):
    accounts.charge([charge(one, 98), charge(one, 8, 2)])
    assert granted(accounts, one) == 90
    assert outcomes(accounts, charge(one, 8, 1), charge(one, 2, 1)) == [REFUSED, CHARGED]
    assert accounts.uses("one")[0].epoch_points == 8, "it counts the newest"
    assert outcomes(accounts, charge(one, 90, 2), charge(one, 1, 2)) == [CHARGED, REFUSED]


def test_a_repeat_is_free_and_takes_nothing_of_the_grant(accounts, one):
    accounts.charge([charge(one, 50)])
    batch = os.urandom(16)
    again = charge(one, 8, 2, batch=batch)
    assert outcomes(accounts, again, again) == [CHARGED, REPEATED]
    assert granted(accounts, one) == 42


def test_two_grants_in_a_year(accounts, one, clock):
    accounts.charge([charge(one, 40)])
    clock.go(days=400)  # the first epoch of all grants nothing, and is long over
    for epoch in (2, 3):
        accounts.charge([charge(one, 1, epoch)])
        accounts.charge([charge(one, 39, epoch)])
        clock.go(days=1)
    level = accounts.standing(one, HUNDRED).level
    accounts.charge([charge(one, 10, 4)])
    assert accounts.standing(one, HUNDRED).level == level + 10 * DAY_MS, "the third is no grant"
    assert granted(accounts, one) == 0
    clock.go(days=YEAR - 3)
    accounts.charge([charge(one, 1, 5)])
    assert granted(accounts, one) == 0, "a day too early"
    clock.go(days=1)
    accounts.charge([charge(one, 1, 6)])
    assert granted(accounts, one) == 0, "of one point, which it was itself"
    assert accounts.uses("one")[0].epoch_points == 1
    clock.go(days=1)
    accounts.charge([charge(one, 30, 6)])
    accounts.charge([charge(one, 1, 7)])
    assert granted(accounts, one) == 30


def test_what_is_left_of_a_grant_ends_with_the_epoch(accounts, one, clock):
    accounts.charge([charge(one, 90)])
    accounts.charge([charge(one, 10, 2)])
    assert granted(accounts, one) == 80
    accounts.charge([charge(one, 1, 3)])
    assert granted(accounts, one) == 9


def test_epochs_that_were_passed_over_are_one_change(accounts, one):
    accounts.charge([charge(one, 50)])
    accounts.charge([charge(one, 8, 9)])
    assert granted(accounts, one) == 42


def test_random_charges_against_the_same_in_python(accounts, clock):
    rng = random.Random(2)
    accounts.add_all([NewAccount(str(i), "people", f"cs_{i}") for i in range(3)])
    ids = [accounts.find(f"cs_{i}").id for i in range(3)]
    # level, at, epoch, points of it, granted, times of grants
    twin = {account: [0, 0, 0, 0, 0, []] for account in ids}
    for _ in range(400):
        clock.go(milliseconds=rng.choice([0, 1000, 10**8, 10**10, -(10**8)]))
        account, points = rng.choice(ids), rng.randint(1, 100)
        mine = twin[account]
        epoch = max(1, mine[2] + rng.choice([-1, 0, 0, 0, 1, 2]))
        (standing,) = accounts.charge([charge(account, points, epoch)])
        if mine[2] and epoch > mine[2]:
            recent = [at for at in mine[5] if at > clock.now - YEAR * DAY_MS]
            mine[4] = 0 if len(recent) >= 2 else mine[3]
            if len(recent) < 2:
                mine[5] = [*mine[5], clock.now][-2:]
            mine[3] = 0
        free = min(points, mine[4]) if epoch >= mine[2] else 0
        mine[0] = max(0, mine[0] - max(0, clock.now - mine[1]))
        mine[1] = max(mine[1], clock.now)
        fits = mine[0] + (points - free) * DAY_MS <= 100 * DAY_MS
        if fits:
            mine[0] += (points - free) * DAY_MS
            mine[4] -= free
            mine[3] += points if epoch >= mine[2] else 0
        mine[2] = max(mine[2], epoch)
        assert (standing.outcome is CHARGED, standing.level, standing.granted) == (fits, mine[0], mine[4])


# What is counted


def test_epochs_and_full_batches_are_counted(accounts, one, clock):
    accounts.add("two", "business", "cs_two")
    two = accounts.find("cs_two").id
    began = clock.now
    accounts.charge(
        [charge(one, 8), charge(one, 60, full=True), charge(two, 8, 4), charge(two, 101, 4, full=True)]
    )
    clock.go(hours=1)
    accounts.charge([charge(one, 8, 2), charge(one, 8)])
    assert list(accounts.epochs()) == [
        EpochUse("business", 4, 8, began),
        EpochUse("people", 1, 76, began),
        EpochUse("people", 2, 8, began + 3_600_000),
    ]
    (use,) = accounts.uses("one")
    assert (use.batches, use.full_batches) == (4, 1)
    accounts.revoke("one")
    assert sum(one.points for one in accounts.epochs()) == 92, "a key has answered for who is gone, too"


def test_minutes_are_counted_and_forgotten(accounts, one, clock):
    generous = PointQuota(10**6, 1)
    accounts.charge([charge(one, 5, allowance=generous), charge(one, 7, allowance=generous)])
    clock.go(minutes=59)
    accounts.charge([charge(one, 100, allowance=generous)])
    flow = accounts.flow()
    assert sorted(flow.minutes.values()) == [(12, 12), (100, 100)], "added today, so new"
    assert flow.hour("all") == 112
    clock.go(minutes=1)
    assert accounts.flow().hour("all") == 100
    clock.go(hours=12)
    accounts.sweep()
    assert (accounts.flow().hour("all"), accounts.flow().most("all")) == (0, 112)
    clock.go(hours=24)
    accounts.sweep()
    assert accounts.flow() == Flow(clock.now)


# Breakers


def test_all_accounts_together_stop_at_the_limit_and_go_on_as_minutes_leave(accounts, one, clock):
    accounts.add("two", "people", "cs_two")
    two = accounts.find("cs_two").id
    breakers = Breakers(all=100)
    assert outcomes(accounts, charge(one, 60), charge(two, 41), charge(two, 40), breakers=breakers) == [
        CHARGED,
        STOPPED,
        CHARGED,
    ]
    clock.go(minutes=30)
    (stopped,) = accounts.charge([charge(two, 8)], breakers)
    assert (stopped.outcome, stopped.retry) == (STOPPED, 30 * 60)
    assert (stopped.left(HUNDRED), accounts.uses("two")[0].refused) == (60, 0), "nothing is charged"
    clock.go(seconds=stopped.retry, milliseconds=-1)
    assert outcomes(accounts, charge(two, 8), breakers=breakers) == [STOPPED]
    clock.go(milliseconds=1)
    assert outcomes(accounts, charge(two, 8), breakers=breakers) == [CHARGED]


def test_new_accounts_stop_themselves_and_not_the_others(accounts, clock):
    accounts.add("old", "people", "cs_old")
    clock.go(days=7, seconds=1)
    accounts.add("new", "people", "cs_new")
    old, new = accounts.find("cs_old").id, accounts.find("cs_new").id
    breakers = Breakers(all=150, new=50)
    assert outcomes(accounts, charge(new, 50), charge(new, 1), charge(old, 100), breakers=breakers) == [
        CHARGED,
        STOPPED,
        CHARGED,
    ]
    assert outcomes(accounts, charge(old, 0 + 1, allowance=PointQuota(500, 1)), breakers=breakers) == [
        STOPPED
    ]
    flow = accounts.flow()
    assert (flow.hour("all"), flow.hour("new")) == (150, 50)


def test_what_is_beyond_the_quota_is_refused_and_a_repeat_is_free_whatever_the_breaker_says(accounts, one):
    batch = os.urandom(16)
    breakers = Breakers(all=10)
    assert outcomes(
        accounts,
        charge(one, 10, batch=batch),
        charge(one, 10, batch=batch),
        charge(one, 101),
        breakers=breakers,
    ) == [CHARGED, REPEATED, REFUSED]


def test_a_clock_that_was_set_forward_and_back_stops_nobody(accounts, one, clock):
    breakers = Breakers(all=10)
    clock.go(days=1000)
    assert outcomes(accounts, charge(one, 10), breakers=breakers) == [CHARGED]
    clock.go(days=-1000)
    assert outcomes(accounts, charge(one, 10), breakers=breakers) == [CHARGED]
    accounts.sweep()
    assert len(accounts.flow().minutes) == 1


def test_the_limit_is_exact_whoever_charges(accounts):
    accounts.add_all([NewAccount(str(i), "people", f"cs_{i}") for i in range(8)])
    ids = [accounts.find(f"cs_{i}").id for i in range(8)]
    given, ready = [], threading.Barrier(8)

    def work(account):
        ready.wait()
        for _ in range(12):
            given.extend(outcomes(accounts, charge(account, 7), breakers=Breakers(all=500)))

    threads = [threading.Thread(target=work, args=(account,)) for account in ids]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(given) == 96
    assert given.count(CHARGED) == 500 // 7
    assert accounts.flow().hour("all") == 500 // 7 * 7


def test_states():
    now = 1_000_000 * MINUTE_MS
    breakers = Breakers(all=100, new=0, alarm_percent=80)
    for points, state in (
        (0, BreakerState.QUIET),
        (79, BreakerState.QUIET),
        (80, BreakerState.ALARM),
        (99, BreakerState.ALARM),
    ):
        assert Flow(now).plus(points, new=True).state("all", breakers) is state
    full = Flow(now).plus(100, new=True)
    assert full.state("all", breakers) is BreakerState.STOPPED
    assert full.state("new", breakers) is BreakerState.QUIET, "there is no limit"
    assert Flow(now).plus(79, new=False).state("all", breakers, asked=22) is BreakerState.STOPPED


def test_the_wait_is_until_enough_minutes_have_left():
    minute = 1_000_000
    flow = Flow(minute * MINUTE_MS + 1, {minute - 59: (10, 0), minute - 30: (50, 50), minute: (40, 0)})
    breakers = Breakers(all=100, new=60)
    for points, new, seconds in (
        (1, False, 60),
        (10, False, 60),
        (11, False, 30 * 60),
        (61, False, 60 * 60),
        (1000, False, 60 * 60),  # more than is ever free: as long as for all of it
        (11, True, 30 * 60),
    ):
        assert flow.wait(points, breakers, new=new) == seconds, (points, new)
    assert flow.wait(10**9, Breakers(), new=True) == 0
