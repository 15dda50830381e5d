"""The cache keeps label keys beside tokens. What earlier versions kept without them is looked up again."""

import sqlite3

import numpy as np
import pytest

from contactsync.client.cache import Cache
from contactsync.foundation.errors import OurError
from contactsync.tokens import Tokens

URL = "http://one.example"
ANNA, BODO = b"tel:+491512345671", b"tel:+491512345672"

VERSION_4 = """
CREATE TABLE tokens (
    audience TEXT NOT NULL, epoch INTEGER NOT NULL, identifier BLOB NOT NULL,
    token BLOB NOT NULL CHECK (length(token) = 10),
    member INTEGER,  -- 0, 1, or NULL when it was never matched in this epoch
    edition INTEGER, -- of the partition for which `member` holds
    PRIMARY KEY (audience, epoch, identifier)
) WITHOUT ROWID;
CREATE TABLE findings (
    audience TEXT NOT NULL, identifier BLOB NOT NULL, member INTEGER NOT NULL,
    PRIMARY KEY (audience, identifier)
) WITHOUT ROWID;
CREATE TABLE holdings (
    audience TEXT NOT NULL, epoch INTEGER NOT NULL, code TEXT NOT NULL, kind TEXT NOT NULL,
    record TEXT NOT NULL,
    PRIMARY KEY (audience, epoch, code, kind)
) WITHOUT ROWID;
CREATE TABLE asked (
    audience TEXT NOT NULL, epoch INTEGER NOT NULL, code TEXT NOT NULL,
    slot_bits INTEGER NOT NULL, buckets TEXT NOT NULL,
    PRIMARY KEY (audience, epoch, code)
) WITHOUT ROWID;
CREATE TABLE rounds (
    audience TEXT NOT NULL, epoch INTEGER NOT NULL, name TEXT NOT NULL,
    size INTEGER NOT NULL, identifiers TEXT NOT NULL,
    PRIMARY KEY (audience, epoch, name)
) WITHOUT ROWID;
CREATE TABLE epochs (
    audience TEXT NOT NULL, epoch INTEGER NOT NULL, public_key TEXT NOT NULL, announced TEXT,
    PRIMARY KEY (audience, epoch)
) WITHOUT ROWID;
CREATE TABLE seen (
    audience TEXT NOT NULL, identifier BLOB NOT NULL, month INTEGER NOT NULL,
    PRIMARY KEY (audience, identifier)
) WITHOUT ROWID;
PRAGMA user_version = 4;
"""


@pytest.fixture
def version_4(tmp_path):
    """A cache as version 4 made it: Anna is a member, Bodo was never matched."""
    with sqlite3.connect(tmp_path / "cache.sqlite") as db:
        db.executescript(VERSION_4)
        rows = [("people", 1, ANNA, b"a" * 10, 1, 7), ("people", 1, BODO, b"b" * 10, None, None)]
        db.executemany("INSERT INTO tokens VALUES (?, ?, ?, ?, ?, ?)", rows)
        db.execute("INSERT INTO findings VALUES ('people', ?, 1)", (ANNA,))
    db.close()
    return tmp_path / "cache.sqlite"


def key(octet):
    return np.full((1, 32), octet, np.uint8)


def token(octet):
    return Tokens.from_bytes(np.frombuffer(bytes([octet]) * 10, np.uint8).reshape(1, 10))


def test_a_cache_of_version_4_keeps_its_tokens_and_has_no_keys(version_4):
    for _ in range(2):
        with Cache(version_4, URL) as cache:
            known = cache.tokens("people", 1, [BODO, ANNA])
            assert known.known.tolist() == [True, True]
            assert known.keyed.tolist() == [False, False]
            assert known.member.tolist() == [False, True]
            assert known.edition.tolist() == [-1, 7]
            assert (known.labels, known.labelled.tolist()) == ([None, None], [-1, -1])
            assert known.tokens.to_bytes().tobytes() == b"b" * 10 + b"a" * 10
            assert cache.findings("people", [ANNA, BODO]).tolist() == [1, -1]
            assert known.where_keyed().known.tolist() == [False, False], "members as well as others"


def test_a_key_that_comes_later_leaves_what_was_matched(version_4):
    """Else a contact would be tested anew, and in screen mode another list of buckets be sent."""
    with Cache(version_4, URL) as cache:
        cache.add_tokens("people", 1, [ANNA], token(ord("a")), key(5))
        known = cache.tokens("people", 1, [ANNA, BODO])
        assert known.keyed.tolist() == [True, False]
        assert known.member.tolist() == [True, False]
        assert known.edition.tolist() == [7, -1]
        assert known.keys.tolist() == [[5] * 32, [0] * 32]
        assert known.where_keyed().known.tolist() == [True, False]


def test_a_row_of_another_length_is_refused(tmp_path):
    with Cache(tmp_path / "cache", URL) as cache, pytest.raises(OurError, match="damaged"):
        cache.add_tokens("people", 1, [ANNA], token(1), np.zeros((1, 31), np.uint8))
