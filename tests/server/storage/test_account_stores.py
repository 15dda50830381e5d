"""What every store of accounts does."""

import os
import random
import threading
from dataclasses import replace

import pytest

from contactsync.foundation.errors import BadInput
from contactsync.server.quota import MOST, PointQuota, Standing, Terms, Verdict, leaked
from contactsync.server.storage.ports import BATCHES, Charge, NewAccount

CHARGED, REPEATED, REFUSED = Verdict.CHARGED, Verdict.REPEATED, Verdict.REFUSED


def test_accounts(accounts):
    accounts.add("shop", "people", "cs_one")
    accounts.add("Ärzte & Söhne", "business", "cs_two")
    assert [account.name for account in accounts.list()] == ["shop", "Ärzte & Söhne"]
    account = accounts.find("cs_two")
    assert (account.name, account.audience) == ("Ärzte & Söhne", "business")
    for wrong in ("", "cs_", "cs_one ", "cs_onf", "CS_ONE", "x" * 100_000, "\udc80"):
        assert accounts.find(wrong) is None
    with pytest.raises(BadInput, match="already"):
        accounts.add("shop", "people", "cs_three")
    accounts.revoke("shop")
    assert accounts.find("cs_one") is None
    assert accounts.find("cs_two") is not None
    with pytest.raises(BadInput, match="no account"):
        accounts.revoke("shop")


def test_the_revision_is_another_after_every_change(accounts):
    seen = [accounts.revision()]
    assert accounts.find("cs_one") is None
    assert accounts.revision() == seen[-1], "a look-up changes nothing"
    for change in (
        lambda: accounts.add("one", "people", "cs_one"),
        lambda: accounts.add("two", "people", "cs_two"),
        lambda: accounts.revoke("one"),
        lambda: accounts.add("one", "business", "cs_one"),
    ):
        change()
        seen.append(accounts.revision())
        assert accounts.revision() == seen[-1]
    assert len(set(seen)) == len(seen)
    thread = threading.Thread(target=accounts.revoke, args=("one",))
    thread.start()
    thread.join()
    assert accounts.revision() not in seen, "changed in another thread"


def test_one_object_serves_many_threads(accounts):
    found = []

    def work(i):
        accounts.add(f"account {i}", "people", f"cs_{i}")
        found.append(accounts.find(f"cs_{i}").name == f"account {i}")

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 8
    assert len(accounts.list()) == 8


# One-time codes


@pytest.fixture
def shop(accounts):
    accounts.add("shop", "business", "cs_shop")
    accounts.add_code("shop", "csc_one", 300_000)
    return accounts.find("cs_shop")


def test_a_code_brings_a_credential_of_its_account_once(accounts, shop, clock):
    found = accounts.redeem("csc_one", "cs_page", 3_600_000)
    assert found == accounts.find("cs_page") == replace(shop, until=clock.now + 3_600_000)
    assert accounts.redeem("csc_one", "cs_again", 3_600_000) is None
    assert accounts.find("cs_again") is None
    assert accounts.find("cs_shop") == shop, "the credential before it stays"


def test_a_code_is_no_credential_and_a_credential_no_code(accounts, shop):
    assert accounts.find("csc_one") is None
    assert accounts.redeem("cs_shop", "cs_page", 1000) is None
    assert accounts.find("cs_shop") == shop


@pytest.mark.parametrize("guess", ["", "csc_on", "csc_onE", "csc_one ", "x" * 10_000, "\udc80"])
def test_a_guess_brings_nothing_and_changes_nothing(accounts, shop, guess):
    before = accounts.revision()
    assert accounts.redeem(guess, "cs_page", 1000) is None
    assert accounts.revision() == before
    assert accounts.redeem("csc_one", "cs_page", 1000) is not None


def test_a_code_ends(accounts, shop, clock):
    clock.go(milliseconds=299_999)
    accounts.add_code("shop", "csc_two", 10)
    clock.go(milliseconds=1)
    assert accounts.redeem("csc_one", "cs_page", 1000) is None
    assert accounts.redeem("csc_two", "cs_page", 1000) is not None


def test_who_is_revoked_or_was_robbed_has_no_codes(accounts, shop):
    accounts.rotate("shop", "cs_new", 0)
    assert accounts.redeem("csc_one", "cs_page", 1000) is None
    accounts.add_code("shop", "csc_two", 300_000)
    accounts.revoke("shop")
    assert accounts.redeem("csc_two", "cs_page", 1000) is None
    with pytest.raises(BadInput, match="no account"):
        accounts.add_code("shop", "csc_three", 1000)


def test_of_many_who_have_the_code_at_once_one_gets_in(accounts, shop):
    found = []

    def work(i):
        found.append(accounts.redeem("csc_one", f"cs_{i}", 60_000))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len([one for one in found if one is not None]) == 1
    assert len([i for i in range(8) if accounts.find(f"cs_{i}")]) == 1


def test_what_is_left_of_codes_is_swept(accounts, shop, clock):
    before = accounts.revision()
    accounts.sweep()
    assert accounts.revision() == before
    clock.go(milliseconds=300_000)
    accounts.sweep()
    assert accounts.revision() != before, "its row is gone"


# Several at once


def new(*names, **options):
    return [NewAccount(name, "people", f"cs_{name}", **options) for name in names]


def names(accounts):
    return [account.name for account in accounts.list()]


def test_many_are_added_together_or_not_at_all(accounts):
    accounts.add_all(new("a", "b", terms=Terms("partner", 5, 6)))
    assert accounts.find("cs_b").terms == Terms("partner", 5, 6)
    before = accounts.revision()
    for wrong in (new("c", "d", "a"), new("c", "d", "c")):
        with pytest.raises(BadInput):
            accounts.add_all(wrong)
    assert names(accounts) == ["a", "b"]
    assert accounts.find("cs_c") is None
    assert accounts.revision() == before


def test_many_are_revoked_together_or_not_at_all(accounts):
    accounts.add_all(new("a", "b", "c"))
    with pytest.raises(BadInput, match="'x'"):
        accounts.revoke("a", "x", "b")
    assert names(accounts) == ["a", "b", "c"]
    accounts.revoke("a", "c")
    assert names(accounts) == ["b"]
    assert accounts.find("cs_a") is None


def test_the_identity_of_who_was_revoked_is_never_given_again(accounts):
    accounts.add_all(new("a", "b"))
    gone = accounts.find("cs_b").id
    accounts.revoke("b")
    accounts.add_all(new("b"))
    assert accounts.find("cs_b").id != gone
    assert accounts.charge([charge(gone)]) == [None]
    assert accounts.standing(gone, PointQuota()) is None


def test_who_is_unused_expires(accounts, clock):
    accounts.add_all(new("asks", "charged", "idle"))
    clock.go(days=100)
    accounts.add_all(new("new"))
    accounts.charge([charge(accounts.find("cs_charged").id)])
    accounts.standing(accounts.find("cs_asks").id, PointQuota())
    (use,) = accounts.uses("asks")
    assert use.last_used == clock.now // 1000 - 43_200, "the day, and no more"
    clock.go(days=10)
    ten_days_ago = clock.now // 1000 - 10 * 86_400
    for dry_run in (True, False):
        assert accounts.expire(ten_days_ago, dry_run=dry_run) == ["idle"]
        assert names(accounts) == ["asks", "charged", *(["idle"] if dry_run else []), "new"]
    assert accounts.find("cs_idle") is None
    assert accounts.expire(ten_days_ago + 86_400) == ["asks", "charged", "new"]


# Credentials


def test_a_credential_is_rotated_with_an_overlap(accounts, clock):
    accounts.add("a", "people", "cs_1")
    seen = accounts.revision()
    accounts.rotate("a", "cs_2", 1_000)
    assert accounts.revision() != seen
    old, young = accounts.find("cs_1"), accounts.find("cs_2")
    assert (old.until, young.until) == (clock.now + 1_000, None)
    assert old.id == young.id
    accounts.rotate("a", "cs_3", 60_000)
    assert accounts.find("cs_1").until == clock.now + 1_000, "no later than it would have"
    assert accounts.find("cs_2").until == clock.now + 60_000
    clock.go(seconds=1)
    accounts.sweep()
    assert accounts.find("cs_1") is None
    accounts.rotate("a", "cs_4", 0)
    for gone in ("cs_1", "cs_2", "cs_3"):
        assert accounts.find(gone) is None
    assert accounts.find("cs_4").name == "a"
    with pytest.raises(BadInput, match="no account"):
        accounts.rotate("b", "cs_5", 0)
    accounts.revoke("a")
    assert accounts.find("cs_4") is None


# Quotas


def charge(account, points=8, batch=None, allowance=None):
    return Charge(account, points, batch or os.urandom(16), allowance or PointQuota(100, 24))


@pytest.fixture
def one(accounts):
    accounts.add("one", "people", "cs_one")
    return accounts.find("cs_one").id


def outcomes(accounts, *charges):
    return [standing.outcome for standing in accounts.charge(charges)]


def test_charged_until_the_burst_and_then_as_it_leaks(accounts, one, clock):
    allowance = PointQuota(100, 24)  # a point an hour
    seen = accounts.revision()
    assert outcomes(accounts, charge(one, 60), charge(one, 41), charge(one, 40)) == [
        CHARGED,
        REFUSED,
        CHARGED,
    ]
    assert accounts.revision() == seen, "a charge changes no answer to a look-up"
    standing = accounts.standing(one, allowance)
    assert (standing.left(allowance), standing.wait(8, allowance)) == (0, 8 * 3600)
    clock.go(hours=8, milliseconds=-1)
    assert outcomes(accounts, charge(one)) == [REFUSED]
    clock.go(milliseconds=1)
    assert outcomes(accounts, charge(one), charge(one, 1)) == [CHARGED, REFUSED]
    clock.go(days=1000)
    assert outcomes(accounts, charge(one, 101), charge(one, 100), charge(one, 1)) == [
        REFUSED,
        CHARGED,
        REFUSED,
    ]
    (use,) = accounts.uses("one")
    assert (use.points_today, use.points_total, use.refused) == (100, 208, 5)


def test_the_same_batch_is_free_for_a_day(accounts, one, clock):
    accounts.add("two", "people", "cs_two")
    two = accounts.find("cs_two").id
    batch = os.urandom(16)
    assert outcomes(accounts, charge(one, 100, batch), charge(one, 100, batch)) == [CHARGED, REPEATED]
    assert outcomes(accounts, charge(two, 100, batch)) == [CHARGED], "it is another's"
    clock.go(days=1, milliseconds=-1)
    assert outcomes(accounts, charge(one, 100, batch)) == [REPEATED]
    clock.go(milliseconds=1)
    assert outcomes(accounts, charge(one, 100, batch)) == [REFUSED]
    (use,) = accounts.uses("one")
    assert (use.points_total, use.refused) == (100, 1)


def test_a_batch_that_was_refused_is_not_free(accounts, one, clock):
    batch = os.urandom(16)
    assert outcomes(accounts, charge(one, 100), charge(one, 8, batch)) == [CHARGED, REFUSED]
    clock.go(hours=8)
    assert outcomes(accounts, charge(one, 8, batch), charge(one, 8, batch)) == [CHARGED, REPEATED]


def test_so_many_batches_are_remembered_and_what_is_swept_is_not(accounts, one, clock):
    allowance = PointQuota(10**6, 1)
    batches = [os.urandom(16) for _ in range(BATCHES + 1)]
    assert set(outcomes(accounts, *(charge(one, 1, b, allowance) for b in batches))) == {CHARGED}
    repeated = outcomes(accounts, *(charge(one, 1, b, allowance) for b in reversed(batches)))
    assert repeated == [REPEATED] * BATCHES + [CHARGED]
    clock.go(hours=23)
    accounts.sweep()
    assert outcomes(accounts, charge(one, 1, batches[-1], allowance)) == [REPEATED]
    clock.go(hours=1)
    accounts.sweep()
    clock.go(hours=-2)
    assert outcomes(accounts, charge(one, 1, batches[-1], allowance)) == [CHARGED]


def test_a_clock_set_back_gives_nothing_more_and_set_forward_no_more_than_the_burst(accounts, one, clock):
    allowance = PointQuota(100, 24)
    accounts.charge([charge(one, 100)])
    clock.go(hours=10)
    assert accounts.standing(one, allowance).left(allowance) == 10
    accounts.charge([charge(one, 10)])
    clock.go(hours=-10)
    for _ in range(10):
        assert outcomes(accounts, charge(one, 1)) == [REFUSED], "this time has leaked already"
        clock.go(hours=1)
    standing = accounts.charge([charge(one, 8)])[0]
    assert (standing.outcome, standing.wait(8, allowance)) == (REFUSED, 8 * 3600)
    clock.go(days=365 * 200)
    assert accounts.standing(one, allowance).left(allowance) == 100
    assert outcomes(accounts, charge(one, 100), charge(one, 1)) == [CHARGED, REFUSED]
    clock.go(days=-365 * 200)
    assert outcomes(accounts, charge(one, 1)) == [REFUSED]
    accounts.change(["one"], lambda terms: terms, refill=True)
    assert outcomes(accounts, charge(one, 100), charge(one, 1)) == [CHARGED, REFUSED], "the way out"
    clock.go(hours=8)
    assert outcomes(accounts, charge(one, 8)) == [CHARGED]


def test_the_figures_at_their_ends(accounts, one, clock):
    most = PointQuota(MOST, MOST)
    assert outcomes(accounts, charge(one, MOST, None, most), charge(one, 1, None, most)) == [CHARGED, REFUSED]
    clock.go(milliseconds=1)
    standing = accounts.standing(one, most)
    assert standing.left(most) == MOST // 86_400_000
    clock.go(days=1)
    assert outcomes(accounts, charge(one, MOST, None, most)) == [CHARGED]
    least = PointQuota(1, 1)
    assert outcomes(accounts, charge(one, 1, None, least)) == [REFUSED]
    assert accounts.standing(one, least).wait(1, least) == MOST * 86_400


def test_an_allowance_that_is_changed_counts_from_now_on(accounts, one):
    accounts.charge([charge(one, 100)])
    assert outcomes(accounts, charge(one, 8, None, PointQuota(108, 24))) == [CHARGED]
    assert outcomes(accounts, charge(one, 1, None, PointQuota(50, 24))) == [REFUSED]
    standing = accounts.standing(one, PointQuota(50, 24))
    assert standing.left(PointQuota(50, 24)) == 0
    assert standing.wait(1, PointQuota(50, 24)) == 59 * 3600


def test_points_of_today(accounts, one, clock):
    accounts.charge([charge(one, 8), charge(one, 4)])
    clock.go(hours=11)
    accounts.charge([charge(one, 2)])
    (use,) = accounts.uses("one")
    assert (use.points_today, use.points_total) == (14, 14)
    clock.go(hours=1)
    (use,) = accounts.uses("one")
    assert (use.points_today, use.points_total) == (0, 14), "another day"
    accounts.standing(one, PointQuota())
    accounts.charge([charge(one, 3)])
    (use,) = accounts.uses("one")
    assert (use.points_today, use.points_total) == (3, 17)


def test_terms_are_changed_for_all_or_none(accounts):
    accounts.add_all(new("a", "b"))
    seen = accounts.revision()
    with pytest.raises(BadInput, match="'x'"):
        accounts.change(["a", "x"], lambda terms: replace(terms, burst=5))
    assert accounts.find("cs_a").terms == Terms()
    assert accounts.revision() == seen
    accounts.change(["a", "b"], lambda terms: replace(terms, burst=5))
    accounts.change(["b"], lambda terms: replace(terms, per_day=6, quota_class="c"))
    assert [account.terms for account in accounts.list()] == [Terms("", 5), Terms("c", 5, 6)]
    assert accounts.revision() != seen
    with pytest.raises(BadInput, match="no account"):
        accounts.uses("x")


def test_random_charges_leave_what_the_arithmetic_says(accounts, clock):
    """Charges at random times against `leaked`, the same in Python; the clock jumps now and then."""
    rng = random.Random(1)
    accounts.add_all(new(*(str(i) for i in range(4))))
    ids = [accounts.find(f"cs_{i}").id for i in range(4)]
    twin = dict.fromkeys(ids, (0, 0))
    for _ in range(600):
        clock.go(milliseconds=rng.choice([0, 1, 1000, 3_600_000, 10**8, -5_000_000, -(10**8)]))
        group = []
        for _ in range(rng.randint(1, 3)):
            allowance = PointQuota(rng.choice([1, 50, 5000]), rng.choice([1, 7, 10**6]))
            group.append(charge(rng.choice(ids), rng.randint(1, allowance.burst), None, allowance))
        for one, standing in zip(group, accounts.charge(group), strict=True):
            expected = leaked(*twin[one.account], clock.now, one.allowance.per_day)
            fits = one.points <= expected.left(one.allowance)
            level = expected.level + (one.points * 86_400_000 if fits else 0)
            assert standing == Standing(level, expected.at, clock.now, CHARGED if fits else REFUSED)
            twin[one.account] = level, expected.at


def test_the_sum_is_exact_whoever_charges(accounts, one):
    """Eight threads at once; what they were given is what fits, and the same batch of all is charged once."""
    allowance, shared = PointQuota(1000, 1), os.urandom(16)
    given, ready = [], threading.Barrier(8)

    def work():
        given.extend(outcomes(accounts, charge(one, 8, shared, allowance)))
        ready.wait(60)  # or the batch of a late one would be forgotten
        for _ in range(40):
            given.extend(outcomes(accounts, charge(one, 8, None, allowance)))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (given.count(CHARGED), given.count(REPEATED)) == (125, 7)
    assert accounts.uses("one")[0].points_total == 1000


def test_the_secret_is_shared_and_stays(accounts):
    assert len(accounts.secret()) == 32
    assert accounts.secret() == accounts.secret()
