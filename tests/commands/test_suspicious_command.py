"""`contactsync server accounts suspicious`: what is printed where, from a real store."""

import json
import os
import re
import time
from contextlib import closing

import pytest
from click.testing import CliRunner

from contactsync.commands import main
from contactsync.foundation.limits import MAX_BATCH
from contactsync.server.quota import PointQuota, Verdict
from contactsync.server.storage.ports import Charge, NewAccount
from contactsync.server.storage.sqlite.accounts import SqliteAccounts
from contactsync.server.suspicion import BOOK

NOW = time.time_ns() // 1_000_000
DAY_MS = 86_400_000
ENOUGH = PointQuota(10**9, 1)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("suspicious") / "server"
    assert CliRunner().invoke(main, ["server", "init", "--data", str(folder)]).exit_code == 0
    return folder


@pytest.fixture
def store(data):
    """An empty store, whose clock is what `.now` says."""
    with closing(SqliteAccounts(data / "accounts.sqlite", lambda: store.now)) as store:
        store.now = NOW
        everybody = [one.name for one in store.list()]
        store.revoke(*everybody)
        yield store


@pytest.fixture
def run(data):
    def run(*words, code=0):
        result = CliRunner().invoke(main, ["server", "accounts", "suspicious", *words, "--data", str(data)])
        assert result.exit_code == code, result.stderr
        assert "Traceback" not in result.stderr
        return result

    return run


def use(store, name, days, *batches):
    """An account that was added so many days ago, and what it had evaluated then."""
    store.now = NOW - days * DAY_MS
    store.add_all([NewAccount(name, "people", name)])
    account = store.find(name).id
    charges = [Charge(account, n, os.urandom(16), ENOUGH, 1, n == MAX_BATCH) for n in batches]
    assert all(one.outcome is Verdict.CHARGED for one in store.charge(charges))
    store.now = NOW


def users(store, count=20):
    for number in range(count):
        use(store, f"user {number}", number, 64 << number % 4, 8, 8)


def test_a_crawler_is_listed_with_its_figures_and_why(store, run):
    users(store)
    use(store, "Mallory", 5, *[MAX_BATCH] * 4, 256)
    store.add("unused", "people", "unused")
    result = run()
    added = time.strftime("%Y-%m-%d", time.gmtime(NOW / 1000 - 5 * 86_400))
    numbers = 4 * MAX_BATCH + 256 - 5 * 8
    head, *reasons = result.stdout.splitlines()
    assert head == f"Mallory: added {added}, last used {added}, 16,640 points, 0 of them today, 0 refused"
    assert reasons[0] == f"  at least {numbers:,} numbers in one epoch; a book has {BOOK:,} at most"
    assert re.fullmatch(r"  \d+ times the median of the 21 like it", reasons[1])
    assert re.fullmatch(r"  \d+ times the median of those of the same age", reasons[2])
    assert reasons[3:] == ["  80% of 5 batches are as large as a batch may be"]
    said = result.stderr.splitlines()
    assert said[0] == "1 account and 0 groups stand out among 21 accounts that asked for anything"
    assert said[1].startswith("not visible here: which numbers are asked for")


def test_as_json(store, run):
    users(store, 40)
    use(store, "Mallory", 5, *[MAX_BATCH] * 4)
    for number in range(30):
        use(store, f"farm {number}", 100, 3000 + number)
    result = run("--json")
    found = json.loads(result.stdout)
    assert result.stderr == ""
    assert [found[key] for key in ("accounts", "used", "compared", "book")] == [71, 71, 71, BOOK]
    (suspect,), (group,) = found["suspects"], found["groups"]
    assert list(suspect) == [
        *("name", "audience", "class", "added", "last_used", "points_today", "points_total", "refused"),
        *("batches", "full_share", "numbers", "epoch_numbers", "times_median", "times_same_age"),
        *("signs", "reasons"),
    ]
    assert (suspect["name"], suspect["full_share"], suspect["points_total"]) == ("Mallory", 1, 4 * MAX_BATCH)
    assert suspect["signs"] == ["book", "age", "full"]
    assert list(group) == [
        *("accounts", "added_together", "expected", "first_added", "last_added"),
        *("least_numbers", "most_numbers", "points_total", "reason"),
    ]
    assert sorted(group["accounts"]) == sorted(f"farm {number}" for number in range(30))
    assert (group["least_numbers"], group["most_numbers"]) == (2992, 3021)


def test_a_group_shows_some_names_and_json_has_all(store, run):
    users(store, 40)
    for number in range(30):
        use(store, f"farm {number:02}", 100, 3000 + number)
    first, second = run().stdout.splitlines()
    names = ", ".join(f"farm {number:02}" for number in range(5))
    assert first == f"30 accounts that move alike, 90,435 points: {names} and 25 more (--json lists all)"
    assert second.startswith(
        "  30 of 30 accounts that were added within a day asked for 2,992 to 3,021 numbers"
    )


def test_nothing_stands_out(store, run):
    users(store)
    result = run()
    assert result.stdout == ""
    said = result.stderr.splitlines()
    assert said[0] == "nothing stands out among 20 accounts that asked for anything"
    assert len(said) == 2
    assert json.loads(run("--json").stdout)["suspects"] == []


def test_with_few_accounts_it_says_that_it_compared_nothing(store, run):
    use(store, "solo", 1, 64)
    said = run().stderr.splitlines()
    assert said[0] == "nothing stands out among 1 account that asked for anything"
    assert said[1] == "1 account has too few others of the same audience and class to compare with"
    assert run("--json").stdout


def test_the_largest_book_can_be_set(store, run):
    users(store)
    use(store, "club", 5, *[MAX_BATCH] * 3)
    assert run().stdout.startswith("club: ")
    assert "a book has 12,000 at most" in run("--book", "12000").stdout
    assert "a book has" not in run("--book", "13000").stdout
    for bad in ("0", "-1", "many"):
        assert run("--book", bad, code=2).stdout == ""
    shown = CliRunner().invoke(main, ["server", "accounts", "suspicious", "--help"]).stdout
    assert f"default: {BOOK}" in " ".join(shown.split())


def test_what_is_no_data_folder(tmp_path):
    result = CliRunner().invoke(main, ["server", "accounts", "suspicious", "--data", str(tmp_path)])
    assert result.exit_code == 3
    assert "is not the data folder of a server" in result.stderr
