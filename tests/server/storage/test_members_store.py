"""What every kind of registry does. Another storage joins by one more line in OPEN."""

import sqlite3
from contextlib import closing

import numpy as np
import pytest

from contactsync.foundation.errors import BadInput, OurError
from contactsync.server.numbers import codes_of
from contactsync.server.storage.sqlite import SqliteRegistry
from contactsync.tokens import Tokens

OPEN = {"sqlite": lambda folder: SqliteRegistry.create(folder / "registry.sqlite")}

A, B, C = 4915100000001, 4915100000002, 12125550100


def numbers(*values):
    return np.array(sorted(values), np.uint64)


def tokens_for(values):
    rows = np.zeros((len(values), 10), np.uint8)
    rows[:, -8:] = np.asarray(values).astype(">u8").view(np.uint8).reshape(-1, 8)
    return rows


@pytest.fixture(params=OPEN)
def registry(request, tmp_path):
    with closing(OPEN[request.param](tmp_path)) as registry:
        yield registry


def stored(registry, audience, epoch, code):
    return [row.tobytes() for chunk in registry.tokens(audience, epoch, code) for row in chunk.to_bytes()]


def test_members_are_a_set(registry):
    assert registry.add_numbers(numbers(A, C)) == 2
    assert registry.add_numbers(numbers(A, B)) == 1
    assert registry.count("people") == 3
    assert registry.remove_numbers(numbers(A, 4915199999999)) == 1
    assert registry.count("people") == 2
    assert registry.codes("people") == [1, 49]


def test_audiences_are_independent(registry):
    registry.add_numbers(numbers(A, B))
    assert registry.count("business") == 0
    assert registry.add_numbers(numbers(A, C), "business") == 2
    assert registry.add_numbers(numbers(A), "business") == 0
    assert (registry.count("people"), registry.count("business")) == (2, 2)
    assert registry.codes("business") == [1, 49]
    assert registry.remove_numbers(numbers(A, B), "business") == 1
    assert (registry.count("people"), registry.count("business")) == (2, 1)
    assert registry.remove_numbers(numbers(A, C)) == 2
    assert (registry.count("people"), registry.count("business")) == (1, 0)


def test_a_number_of_no_country_is_refused_whole(registry):
    with pytest.raises(BadInput):
        registry.add_numbers(numbers(A, 210123456))
    assert registry.count("people") == 0


def test_touched_until_settled(registry):
    assert registry.touched(registry.serial()) == []
    registry.add_numbers(numbers(A))
    first = registry.serial()
    registry.add_numbers(numbers(C))
    assert registry.touched(first) == [49]
    assert registry.touched(registry.serial()) == [1, 49]
    registry.settle(first)
    assert registry.touched(registry.serial()) == [1]
    registry.settle(registry.serial())
    registry.add_numbers(numbers(A, C))  # nothing new
    registry.remove_numbers(numbers(B))  # nobody
    assert registry.touched(registry.serial()) == []
    registry.remove_numbers(numbers(C))
    assert registry.touched(registry.serial()) == [1]


def test_a_change_after_the_serial_survives_settling(registry):
    registry.add_numbers(numbers(A))
    serial = registry.serial()
    registry.add_numbers(numbers(B))
    registry.settle(serial)
    assert registry.touched(registry.serial()) == [49]


def test_unevaluated_is_asked_for_in_pages(registry):
    rng = np.random.default_rng(1)
    everyone = np.unique(rng.integers(10**9, 10**14, 3000).astype(np.uint64))
    everyone = everyone[np.isin(codes_of(everyone), [1, 49, 354])]
    registry.add_numbers(everyone)
    left = everyone.size
    for code in (1, 49, 354):
        assert registry.count_unevaluated("people", 1) == left
        expected = everyone[codes_of(everyone) == code]
        found, after = [], 0
        while (page := registry.unevaluated("people", 1, code, after, 100)).size:
            assert page.size <= 100
            found += page.tolist()
            after = found[-1]
        assert found == expected.tolist()
        registry.store_tokens("people", 1, expected, tokens_for(expected))
        assert registry.unevaluated("people", 1, code, 0, 100).size == 0
        assert registry.unevaluated("people", 2, code, 0, 10**6).size == expected.size
        assert len(stored(registry, "people", 1, code)) == expected.size
        left -= expected.size
    assert (left, registry.count_unevaluated("people", 2)) == (0, everyone.size)
    registry.remove_numbers(everyone[:10])
    assert registry.count_unevaluated("people", 1) == 0


def test_tokens_come_back_as_stored(registry):
    registry.add_numbers(numbers(A, B, C))
    rows = tokens_for([A, B])
    registry.store_tokens("people", 1, numbers(A, B), rows)
    assert stored(registry, "people", 1, 49) == [row.tobytes() for row in rows]
    assert stored(registry, "people", 1, 1) == []
    assert stored(registry, "people", 2, 49) == []
    assert stored(registry, "business", 1, 49) == []
    (chunk,) = registry.tokens("people", 1, 49)
    assert isinstance(chunk, Tokens)


def test_tokens_go_with_the_member_and_with_the_epoch(registry):
    registry.add_numbers(numbers(A, B))
    registry.add_numbers(numbers(A, B), "business")
    for audience, epoch in (("people", 1), ("people", 2), ("business", 1)):
        registry.store_tokens(audience, epoch, numbers(A, B), tokens_for([A, B]))
    registry.remove_numbers(numbers(A), "people")
    assert len(stored(registry, "people", 1, 49)) == len(stored(registry, "people", 2, 49)) == 1
    assert len(stored(registry, "business", 1, 49)) == 2
    registry.remove_numbers(numbers(A))
    assert len(stored(registry, "business", 1, 49)) == 1
    registry.drop_tokens("people", range(2))
    assert stored(registry, "people", 1, 49) == []
    assert len(stored(registry, "people", 2, 49)) == len(stored(registry, "business", 1, 49)) == 1


def test_no_token_for_who_has_left_meanwhile(registry):
    registry.add_numbers(numbers(A, B))
    registry.remove_numbers(numbers(A))
    registry.store_tokens("people", 1, numbers(A, B), tokens_for([A, B]))
    assert stored(registry, "people", 1, 49) == [tokens_for([B]).tobytes()]


def test_accounts(registry):
    registry.add_account("shop", "people", "cs_one")
    registry.add_account("Ärzte & Söhne", "business", "cs_two")
    assert [account.name for account in registry.accounts()] == ["shop", "Ärzte & Söhne"]
    account = registry.find_account("cs_two")
    assert (account.name, account.audience) == ("Ärzte & Söhne", "business")
    for wrong in ("", "cs_", "cs_one ", "cs_onf", "CS_ONE", "x" * 100_000, "\udc80"):
        assert registry.find_account(wrong) is None
    with pytest.raises(BadInput, match="already"):
        registry.add_account("shop", "people", "cs_three")
    registry.revoke_account("shop")
    assert registry.find_account("cs_one") is None
    assert registry.find_account("cs_two") is not None
    with pytest.raises(BadInput, match="no account"):
        registry.revoke_account("shop")


# SQLite's own


def test_a_snapshot_sees_one_moment_while_another_process_writes(tmp_path):
    with (
        closing(SqliteRegistry.create(tmp_path / "r.sqlite")) as registry,
        closing(SqliteRegistry(tmp_path / "r.sqlite")) as other,
    ):
        registry.add_numbers(numbers(A))
        with registry.snapshot():
            other.add_numbers(numbers(B))
            assert registry.count("people") == 1
        assert registry.count("people") == 2


def test_nothing_of_a_credential_or_of_who_was_removed_is_in_the_file(tmp_path):
    path = tmp_path / "r.sqlite"
    with closing(SqliteRegistry.create(path)) as registry:
        registry.add_account("shop", "people", "cs_very_secret")
        registry.add_numbers(numbers(A, B))
        registry.store_tokens("people", 1, numbers(A, B), np.full((2, 10), 0xEE, np.uint8))
        registry.remove_numbers(numbers(A, B))
    files = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert b"cs_very_secret" not in files
    assert A.to_bytes(6, "big") not in files
    assert b"\xee" * 10 not in files
    assert path.stat().st_mode & 0o077 == 0


def test_damaged_missing_or_newer(tmp_path):
    path = tmp_path / "r.sqlite"
    with pytest.raises(OurError, match="no registry"):
        SqliteRegistry(path)
    path.write_bytes(b"SQLite format 3\0" + b"rubbish" * 1000)
    with pytest.raises(OurError, match="cannot be used"):
        SqliteRegistry(path)
    path.unlink()
    SqliteRegistry.create(path).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 2")
    with pytest.raises(OurError, match="version 2"):
        SqliteRegistry(path)


def test_a_full_disk_is_called_that_and_loses_nothing(tmp_path):
    with closing(SqliteRegistry.create(tmp_path / "registry.sqlite")) as registry:
        registry.add_numbers(np.array([493012345], np.uint64), "people")
        (pages,) = registry._connection.execute("PRAGMA page_count").fetchone()
        registry._connection.execute(f"PRAGMA max_page_count = {pages}")  # what a full disk looks like
        with pytest.raises(OurError, match="full"):
            registry.add_numbers(np.arange(493_000_000, 493_100_000, dtype=np.uint64), "people")
        assert registry.count("people") == 1
