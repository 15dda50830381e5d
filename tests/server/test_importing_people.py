"""Imports of tables with labels and e-mail addresses: what is used, what is rejected, and what replaces."""

import io
from contextlib import closing

import numpy as np
import pytest

from contactsync.foundation.errors import BadInput
from contactsync.phones import Columns, read_numbers
from contactsync.phones import people as tables
from contactsync.server.members import ImportOptions, ImportReport, Share, import_members
from contactsync.server.storage.ports import Members
from contactsync.server.storage.records import Origin
from contactsync.server.storage.sqlite.members import SqliteMembers

BOTH = Columns(identity="id", label="handle", email="mail")
FIRST = 4915112345600


@pytest.fixture
def store(tmp_path):
    with closing(SqliteMembers.create(tmp_path / "registry.sqlite")) as store:
        yield store


def run(store, rows, *, columns=BOTH, head="id;phone;mail;handle", text=None, **options):
    """Import rows; the report, and (line, id, reason) of what was rejected."""
    refused = []
    options = {"max_rejected": Share(99)} | options
    options = ImportOptions(audience="people", region="DE", columns=columns, **options)
    text = "\n".join([head, *rows]).encode() if text is None else text
    report = import_members(store, io.BytesIO(text), "f", options, on_refusal=refused.append)
    return report, [(one.line, one.identity, one.reason) for one in refused]


def about(store, *texts):
    """Label and other identifier of each; None of strangers."""
    found = []
    for one in texts:
        identifier = b"mailto:" + one.encode() if "@" in one else b"tel:+%d" % (FIRST + int(one))
        records = store.show(Members.of([identifier]))
        found.append((records[0].label, records[0].other) if records else None)
    return found


def phone(place):
    return f"+{FIRST + place}"


def tel(place):
    return b"tel:" + phone(place).encode()


def test_numbers_addresses_and_labels(store):
    rows = [
        f"1;{phone(1)};Ann@Example.ORG;@ann",
        f"2;{phone(2)};;@bob",
        "3;;carl@example.org;@carl",
        f'4;{phone(4)};dora@example.org;"Dora ""D"" Ökolog"',
        "5;01511 2345605;;",
    ]
    report, refused = run(store, rows)
    assert refused == []
    assert report == ImportReport(5, 0, 0, 5, 0, 0, None, 4)
    assert about(store, "1", "ann@example.org", "2", "carl@example.org", "4", "5") == [
        (b"@ann", b"mailto:ann@example.org"),
        (b"@ann", tel(1)),
        (b"@bob", None),
        (b"@carl", None),
        ('Dora "D" Ökolog'.encode(), b"mailto:dora@example.org"),
        (None, None),
    ]
    again, refused = run(store, rows)
    assert (again, refused) == (ImportReport(5, 0, 0, 0, 5, 0, None, 0), [])
    # An empty label removes it; without the column labels stay.
    assert run(store, [f"1;{phone(1)};;"], columns=Columns(email="mail"))[0].labels is None
    assert about(store, "1") == [(b"@ann", b"mailto:ann@example.org")]
    assert run(store, [f"1;{phone(1)};;"])[0].labels == 1
    assert about(store, "1", "ann@example.org") == [(None, b"mailto:ann@example.org"), (None, tel(1))]


def test_what_cannot_be_used_is_rejected_and_the_rest_of_the_row_is_used(store):
    run(store, [f"1;{phone(1)};;before"])
    text = b"\n".join(
        [
            b"id;phone;mail;handle",
            b"a;%s;;" % phone(1).encode() + b"x" * 65,
            b"b;%s;;\xff\xfe" % phone(2).encode(),
            f"c;{phone(3)};;two\u202elines".encode(),
            b"d;%s;no address;@d" % phone(4).encode(),
            b"e;nonsense;e@example.org;@e",
            b"f;;;@f",
            b"g;nonsense;;@g",
            b"h;;h@;@h",
        ]
    )
    report, refused = run(store, (), text=text)
    assert [(line, who) for line, who, _ in refused] == [(i + 2, "abcdefgh"[i]) for i in range(8)]
    reasons = [reason for *_, reason in refused]
    assert "65 octets" in reasons[0]
    assert "UTF-8" in reasons[1]
    assert "printed" in reasons[2]
    assert "@" in reasons[3]
    assert reasons[5] == "neither a number nor an address"
    assert (report.rejected, report.added, report.known) == (8, 4, 1)
    assert about(store, "1", "2", "3", "4", "e@example.org") == [
        (b"before", None),
        (None, None),
        (None, None),
        (b"@d", None),
        (b"@e", None),
    ]


@pytest.mark.parametrize("at_once", [1 << 16, 2, 1])
def test_of_rows_that_differ_the_first_counts(store, monkeypatch, at_once):
    """In one batch, and in several."""
    monkeypatch.setattr(tables, "ROWS_AT_ONCE", at_once)
    report, refused = run(
        store,
        [
            f"1;{phone(1)};;@first",
            f"2;{phone(1)};;@second",
            f"3;{phone(1)};;@first",
            f"4;{phone(2)};b@example.org;@b",
            f"5;{phone(2)};other@example.org;@b",
            f"6;{phone(3)};b@example.org;@b",
            "7;;b@example.org;@c",
            "8;;b@example.org;@b",
        ],
    )
    assert sorted(who for _, who, _ in refused) == ["2", "5", "6", "7"]
    assert (3, "2", "it came before in the file, with another label") in refused
    assert report.added == 2
    assert report.rejected == 4
    assert about(store, "1", "2", "b@example.org", "3", "other@example.org") == [
        (b"@first", None),
        (b"@b", b"mailto:b@example.org"),
        (b"@b", tel(2)),
        None,
        None,
    ]


def test_a_row_of_two_members_changes_neither(store):
    run(store, [f"1;{phone(1)};;@one", "2;;two@example.org;@two", f"3;{phone(3)};three@example.org;@3"])
    before = about(store, "1", "two@example.org", "3", "three@example.org")
    report, refused = run(
        store,
        [
            f"a;{phone(1)};two@example.org;@merged",
            f"b;{phone(3)};new@example.org;@renamed",
            f"c;{phone(9)};three@example.org;@stolen",
        ],
    )
    assert [who for _, who, _ in refused] == ["a", "b", "c"]
    assert {reason for *_, reason in refused} == {"its number and its address are not of one member"}
    assert (report.added, report.known, report.labels) == (0, 0, 0)
    assert about(store, "1", "two@example.org", "3", "three@example.org") == before
    assert about(store, "9", "new@example.org") == [None, None]


@pytest.mark.parametrize("at_once", [1 << 16, 3, 1])
def test_a_row_of_two_members_of_the_same_file_says_so(store, monkeypatch, at_once):
    """Not that another label came before: to repeat the label would not help."""
    monkeypatch.setattr(tables, "ROWS_AT_ONCE", at_once)
    report, refused = run(
        store,
        [
            f"1;{phone(1)};one@example.org;@one",
            f"2;{phone(2)};two@example.org;@two",
            f"3;{phone(3)};;@three",
            "4;;four@example.org;@four",
            f"a;{phone(1)};two@example.org;@one",  # paired, both of them, with others
            f"b;{phone(1)};two@example.org;@new",
            f"c;{phone(9)};two@example.org;@nine",  # a number that never came, and is not added
            f"d;{phone(3)};four@example.org;@three",  # two members, neither with both
            f"e;{phone(2)};new@example.org;@new",  # an address that never came
            f"f;{phone(1)};one@example.org;@new",  # one member, and really another label
            f"g;{phone(3)};three@example.org;@new",
        ],
    )
    two, label = (
        "its number and its address are not of one member",
        "it came before in the file, with another label",
    )
    assert [(who, reason) for _, who, reason in refused] == [
        ("a", two), ("b", two), ("c", two), ("d", two), ("e", two), ("f", label), ("g", label),
    ]  # fmt: skip
    assert (report.added, report.rejected) == (4, 7)
    assert about(store, "1", "2", "3", "9", "new@example.org", "three@example.org") == [
        (b"@one", b"mailto:one@example.org"),
        (b"@two", b"mailto:two@example.org"),
        (b"@three", None),
        None,
        None,
        None,
    ]


def test_too_many_rejected_and_a_dry_run_change_nothing(store):
    rows = [f"{i};{phone(i)};u{i}@example.org;@{i}" for i in range(5)]
    serial = store.serial()
    with pytest.raises(BadInput, match="1 of 6 rows were rejected"):
        run(store, [*rows, "x;;;"], max_rejected=Share(0))
    report, _ = run(store, rows, dry_run=True)
    assert (report.added, report.labels) == (5, 5)
    report, _ = run(store, rows, dry_run=True, replace=True)
    assert (report.added, report.removed, report.labels) == (5, 0, 5)
    assert (store.serial(), store.count("people")) == (serial, 0)
    with pytest.raises(BadInput, match="no usable phone number and no address"):
        run(store, [])


def test_replacing_keeps_who_is_in_the_file_with_one_of_two(store):
    run(store, [f"{i};{phone(i)};u{i}@example.org;@{i}" for i in range(6)] + ["l;;lone@example.org;@l"])
    rows = [
        f"0;{phone(0)};;@0",
        "1;;u1@example.org;@1",
        f"2;{phone(2)};new@example.org;@2",
        f"n;{phone(9)};;@n",
    ]
    with pytest.raises(BadInput, match="4 of 7 members are not in it"):
        run(store, rows, replace=True)
    report, refused = run(store, rows, replace=True, max_removed=Share(4))
    assert [who for _, who, _ in refused] == ["2"], "the row is rejected, and its member stays"
    assert (report.removed, report.added, report.known) == (4, 1, 2)
    assert about(store, "0", "1", "2", "9") == [
        (b"@0", b"mailto:u0@example.org"),
        (b"@1", b"mailto:u1@example.org"),
        (b"@2", b"mailto:u2@example.org"),
        (b"@n", None),
    ]
    assert about(store, "3", "u3@example.org", "5", "lone@example.org") == [None] * 4


def test_without_the_column_of_addresses_they_are_not_replaced(store):
    run(store, ["l;;lone@example.org;@l", f"1;{phone(1)};;@1"])
    columns = Columns(label="handle")
    report, _ = run(store, [f"2;{phone(2)};x;@2"], columns=columns, replace=True, max_removed=Share(9))
    assert report.removed == 1
    assert about(store, "1", "2", "lone@example.org") == [None, (b"@2", None), (b"@l", None)]


def test_addresses_alone(store):
    columns = Columns(phone="", email="mail", label="handle")
    report, refused = run(store, ["a@example.org;@a", "b@example.org;"], head="mail;handle", columns=columns)
    assert (report.added, refused) == (2, [])
    assert about(store, "a@example.org", "b@example.org") == [(b"@a", None), (None, None)]
    # By place: the first line is a row then.
    columns = Columns(phone="", email="1")
    report, refused = run(store, ["d@example.org;x"], head="c@example.org;y", columns=columns)
    assert (report.rows, report.added, refused) == (2, 2, [])


def test_who_objected_is_not_added_by_the_other_identifier(store):
    store.consent(Members.of([tel(1)]), "people", granted=False, origin=Origin("letter"))
    report, _ = run(store, [f"1;{phone(1)};ann@example.org;@ann"])
    assert (report.added, report.objected, report.labels) == (0, 1, 0)
    assert store.count("people") == 0
    report, _ = run(store, ["1;;ann@example.org;@ann"])
    assert (report.added, report.objected) == (0, 1)


JSON = (
    '{"phone": "+4915112345601", "mail": "ann@example.org", "handle": "@ann"}\n'
    '{"phone": 4915112345602, "mail": null, "handle": "B\\u00f6b"}\n'
    '{"mail": "c@example.org", "handle": "\\ud800"}\n'
    "no json\n"
)
DUMP = (
    "-- PostgreSQL database dump\n"
    "COPY public.users (handle, phone, mail) FROM stdin;\n"
    "@ann\t+4915112345601\tann@example.org\n"
    "à\t+4915112345602\t\\N\n"
    "\\N\t\\N\tc@example.org\n"
    "\\.\n"
)


def test_the_other_formats(store):
    columns = Columns(label="handle", email="mail")
    report, refused = run(store, (), text=JSON.encode(), columns=columns)
    assert (report.rows, report.added) == (4, 2)
    assert [line for line, *_ in refused] == [2, 3, 4], refused
    assert about(store, "1", "c@example.org") == [(b"@ann", b"mailto:ann@example.org"), (None, None)]
    report, refused = run(store, (), text=DUMP.encode(), columns=columns)
    assert (report.rows, report.added, report.known, refused) == (3, 1, 2, [])
    assert about(store, "2") == [("à".encode(), None)]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (Columns(label="nickname"), "no column named nickname"),
        (Columns(email="e-mail"), "no column named e-mail"),
    ],
)
def test_a_column_that_is_not_there(store, columns, message):
    with pytest.raises(BadInput, match=message) as raised:
        run(store, [f"1;{phone(1)};;"], columns=columns)
    assert "its columns are: id, phone, mail, handle" in raised.value.hint


def test_one_column_is_not_two_things():
    with pytest.raises(BadInput, match="both that of the number and that of the email"):
        Columns(email="Phone")


def test_it_reads_the_same_numbers_whatever_the_size_of_its_pieces():
    rng = np.random.default_rng(5)
    rows = []
    for i in range(4000):
        number = ["+4915112%06d", "0151 12%06d", '"+49 (0) 151-12%06d"', "%d", ""][rng.integers(5)]
        number = number % i if "%" in number else number
        rows.append(
            f'{i};{number};u{i}@example.org;"line\nfeed {i}"' if i % 9 == 0 else f"{i};{number};;@{i}"
        )
    rows[100] = 'open;"never closed'
    rows[2000] = "long;" + "9" * 70_000
    text = "\n".join(["id;phone;mail;handle", *rows]).encode()
    found = []
    for chunk in (1 << 23, 1 << 18, 150_000):
        batches = list(tables.read_people(io.BytesIO(text), "DE", "f", columns=BOTH, chunk=chunk))
        found.append(
            (
                [one for batch in batches for one in batch.people],
                [(one.line, one.reason) for batch in batches for one in batch.refused],
            )
        )
    assert found[0] == found[1] == found[2]
    numbers = [
        (line, number)
        for batch in read_numbers(io.BytesIO(text), "DE", "f", columns=Columns(identity="id"))
        for line, number in zip(batch.lines.tolist(), batch.numbers.tolist(), strict=True)
        if number
    ]
    assert [(one.line, one.number) for one in found[0][0] if one.number] == numbers
    assert len(numbers) > 2000
