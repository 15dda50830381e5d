"""What no book has had for a year is forgotten, in the cache and on the disk; everything else stays."""

import sqlite3

import numpy as np
import pytest

from contactsync.client.cache import KEPT_MONTHS, Cache
from contactsync.tokens import TOKEN_BYTES, Tokens

URL = "http://one.example"
ANNA, BODO, CARL = b"tel:+491512345671", b"tel:+491512345672", b"tel:+491512345673"
MONTH = 12 * 2026 + 1


@pytest.fixture
def cache(tmp_path):
    with Cache(tmp_path / "cache.sqlite", URL) as cache:
        yield cache


def sync(cache, month, *book, audience="people", epoch=1):
    """What a sync stores of a book, in this month."""
    rows = np.frombuffer(b"".join(i[-TOKEN_BYTES:] for i in book), np.uint8).reshape(-1, TOKEN_BYTES)
    cache.add_tokens(audience, epoch, book, Tokens.from_bytes(rows), np.zeros((len(book), 32), np.uint8))
    one = np.ones(len(book), np.int64)
    cache.finish(audience, epoch, book, member=one > 0, edition=one, holdings={})
    cache.forget_unseen(audience, book, month)


def known(cache, audience="people"):
    found = cache.tokens(audience, 1, [ANNA, BODO, CARL]).known.tolist()
    assert [one >= 0 for one in cache.findings(audience, [ANNA, BODO, CARL]).tolist()] == found
    return found


def test_it_goes_after_a_year_and_not_before(cache):
    sync(cache, MONTH, ANNA, BODO)
    sync(cache, MONTH + KEPT_MONTHS, ANNA)
    assert known(cache) == [True, True, False], "in the thirteenth month it may be less than a year"
    sync(cache, MONTH + KEPT_MONTHS + 1, ANNA)
    assert known(cache) == [True, False, False]
    assert cache.counts()["identifiers"] == 1


def test_being_in_any_book_counts(cache):
    sync(cache, MONTH, ANNA, BODO)
    sync(cache, MONTH + 6, BODO)
    sync(cache, MONTH + 14, ANNA)
    assert known(cache) == [True, True, False], "another book had Bodo eight months ago"


def test_audiences_are_apart(cache):
    sync(cache, MONTH, BODO)
    sync(cache, MONTH, BODO, audience="business")
    sync(cache, MONTH + 20, ANNA, audience="business")
    assert known(cache) == [False, True, False]
    assert known(cache, "business") == [True, False, False]


def test_what_a_sync_that_broke_off_has_stored_counts_from_the_next_one(cache):
    rows = np.zeros((1, TOKEN_BYTES), np.uint8)
    cache.add_tokens("people", 1, [CARL], Tokens.from_bytes(rows), np.zeros((1, 32), np.uint8))
    cache.forget_unseen("people", [ANNA], MONTH)
    assert cache.tokens("people", 1, [CARL]).known.all()
    cache.forget_unseen("people", [ANNA], MONTH + KEPT_MONTHS + 1)
    assert not cache.tokens("people", 1, [CARL]).known.any()


def test_nothing_of_it_is_readable_and_a_new_epoch_takes_it_too(tmp_path):
    path = tmp_path / "cache.sqlite"
    with Cache(path, URL) as cache:
        sync(cache, MONTH, ANNA, BODO)
        sync(cache, MONTH + 13, ANNA)
    assert BODO not in path.read_bytes()
    assert ANNA in path.read_bytes()
    with Cache(path, URL) as cache:
        sync(cache, MONTH + 14, CARL, epoch=2)
    assert ANNA not in path.read_bytes()


def test_a_cache_of_version_3_loses_nothing(tmp_path):
    path = tmp_path / "cache.sqlite"
    with Cache(path, URL) as cache:
        sync(cache, MONTH, ANNA, BODO)
    with sqlite3.connect(path) as db:
        db.execute("DROP TABLE seen")
        db.execute("PRAGMA user_version = 3")
    db.close()
    with Cache(path, URL) as cache:
        cache.forget_unseen("people", [ANNA], MONTH + 50)
        assert known(cache) == [True, True, False], "nobody knows since when; it counts from now"


@pytest.mark.slow
def test_a_sync_says_which_book_it_was(person, service, monkeypatch):
    service.publish("+491512345671")
    person.sync("+491512345671", "+491512345672")
    with sqlite3.connect(person.server.cache) as db:
        assert db.execute("SELECT count(*) FROM seen").fetchone() == (2,)
        db.execute("UPDATE seen SET month = month - 13")
    db.close()
    report = person.sync("+491512345671")
    assert len(report.matches) == 1
    with sqlite3.connect(person.server.cache) as db:
        assert db.execute("SELECT identifier FROM seen").fetchall() == [(ANNA,)]
        assert db.execute("SELECT identifier FROM tokens").fetchall() == [(ANNA,)]
    db.close()
    assert person.sync("+491512345671").new_identifiers == 0
