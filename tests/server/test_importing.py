"""Imports of files: all or nothing, limits, replacing, objections; one transaction."""

import io
from contextlib import closing
from datetime import date, timedelta

import numpy as np
import pytest

from contactsync.foundation.errors import BadInput, OurError
from contactsync.phones import Columns
from contactsync.server import members
from contactsync.server.members import ImportOptions, ImportReport, Share, import_members
from contactsync.server.storage.ports import Members
from contactsync.server.storage.records import Origin, today
from contactsync.server.storage.sqlite.members import SqliteMembers

FIRST = 4915123450000


@pytest.fixture
def store(tmp_path):
    with closing(SqliteMembers.create(tmp_path / "registry.sqlite")) as store:
        yield store


def listed(count, first=FIRST):
    return "".join(f"+{first + i}\n" for i in range(count))


def run(store, text, *, audience="people", **options):
    refused = []
    options = ImportOptions(audience=audience, **options)
    return import_members(store, io.BytesIO(text.encode()), "f", options, on_refusal=refused.append)


def numbers(*values):
    return Members("tel", np.array(sorted(values), np.uint64))


def test_what_is_counted(store):
    text = listed(10) + "nonsense\n" + listed(3)
    assert run(store, text) == ImportReport(
        rows=14, rejected=1, twice=3, added=10, known=0, objected=0, removed=None
    )
    store.consent(numbers(FIRST), "people", granted=False, origin=Origin("x"))
    assert run(store, listed(11)) == ImportReport(11, 0, 0, 1, 9, 1, None)
    assert store.count("people") == 10


@pytest.mark.parametrize(
    ("bad", "limit", "is_refused"),
    [
        (20, None, False),
        (21, None, True),
        (1, Share(0), True),
        (2, Share(2), False),
        (3, Share(2), True),
        (2, Share(None, 20_000), False),
        (3, Share(None, 20_000), True),
    ],
)
def test_more_rejected_rows_than_allowed_change_nothing(store, bad, limit, is_refused):
    text = listed(100) + "nonsense\n" * bad
    options = {} if limit is None else {"max_rejected": limit}
    serial = store.serial()
    if is_refused:
        with pytest.raises(BadInput, match=f"{bad} of {100 + bad} rows were rejected, more than") as raised:
            run(store, text, **options)
        assert "--max-rejected" in raised.value.hint
        assert (store.count("people"), store.serial()) == (0, serial)
    else:
        assert run(store, text, **options).added == 100


def test_a_limit_as_text():
    assert [str(Share(1200)), str(Share(None, 20_000)), str(Share(None, 5_000))] == ["1,200", "2%", "0.5%"]


def test_a_file_larger_than_the_memory_is_one_transaction_too(store, monkeypatch):
    monkeypatch.setattr(members, "_SORTED_AT_ONCE", 10)
    monkeypatch.setattr("contactsync.phones.bulk.SMALL", 0)
    monkeypatch.setattr("contactsync.phones.records._MOST_RECORDS", 10)
    text = listed(100) + "nonsense\n" * 30
    with pytest.raises(BadInput, match="30 of 130 rows"):
        run(store, text)
    assert store.count("people") == 0
    assert run(store, text, max_rejected=Share(30)).added == 100
    assert store.serial() == 1


def test_a_failure_in_the_middle_changes_nothing(store, monkeypatch):
    monkeypatch.setattr(members, "_PIECE", 10)
    add, calls = store.add, []

    def failing(*arguments, **options):
        calls.append(1)
        if len(calls) == 3:
            raise OurError("the disk is full")
        return add(*arguments, **options)

    monkeypatch.setattr(store, "add", failing)
    with pytest.raises(OurError):
        run(store, listed(100))
    assert (store.count("people"), len(calls)) == (0, 3)


def test_a_dry_run_counts_and_changes_nothing(store):
    run(store, listed(10))
    serial = store.serial()
    assert run(store, listed(20), dry_run=True) == ImportReport(20, 0, 0, 10, 10, 0, None)
    report = run(store, listed(20, FIRST + 5), dry_run=True, replace=True, max_removed=Share(5))
    assert report == ImportReport(20, 0, 0, 15, 5, 0, 5)
    assert (store.count("people"), store.serial()) == (10, serial)


def test_replacing_is_refused_beyond_the_limit(store):
    run(store, listed(100))
    with pytest.raises(BadInput, match="6 of 100 members are not in it, more than 5%") as raised:
        run(store, listed(100, FIRST + 6), replace=True)
    assert "--max-removed" in raised.value.hint
    assert store.count("people") == 100
    assert run(store, listed(100, FIRST + 5), replace=True) == ImportReport(100, 0, 0, 5, 95, 0, 5)
    assert run(store, listed(2), replace=True, max_removed=Share(None, 1_000_000)).removed == 100
    assert store.count("people") == 2


@pytest.mark.parametrize("text", ["", "\n", "phone\n", "nonsense\n", "# nobody\n"])
@pytest.mark.parametrize("replace", [True, False])
def test_an_empty_file_is_refused_whatever_is_allowed(store, text, replace):
    run(store, listed(3))
    with pytest.raises(BadInput, match="no usable phone number"):
        run(store, text, replace=replace, max_removed=Share(10**9), max_rejected=Share(10**9))
    assert store.count("people") == 3


def test_who_is_replaced_away_leaves_business_too(store):
    run(store, listed(40))
    run(store, listed(40), audience="business", origin=Origin("shop"))
    assert run(store, listed(39, FIRST + 1), replace=True).removed == 1
    assert (store.count("people"), store.count("business")) == (39, 39)
    assert store.show(numbers(FIRST)) == []


def test_objections_outlast_a_replacement(store):
    run(store, listed(40))
    store.consent(numbers(FIRST), "people", granted=False, origin=Origin("x"))
    assert run(store, listed(40), replace=True).objected == 1
    assert run(store, listed(39, FIRST + 1), replace=True).objected == 0
    assert run(store, listed(40), replace=True).objected == 1


def test_an_import_verifies(store):
    last_year = today() - timedelta(days=365)
    run(store, listed(2), verified=last_year)
    run(store, listed(1), verified=today() - timedelta(days=1))
    days = [record.entry.verified for record in store.show(numbers(FIRST, FIRST + 1))]
    assert days == [today() - timedelta(days=1), last_year]
    with pytest.raises(BadInput, match="not a day"):
        run(store, listed(1), verified=date(2999, 1, 1))


def test_ids_and_regions_go_nowhere_near_the_registry(store, tmp_path):
    text = "id,phone,country\nsecret-id-1,0151 23450000,DE\nsecret-id-2,x,DE\n"
    run(store, text, columns=Columns("phone", "country", "id"))
    assert store.count("people") == 1
    assert b"secret-id" not in b"".join(path.read_bytes() for path in tmp_path.iterdir())
