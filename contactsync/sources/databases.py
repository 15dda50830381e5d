"""Address books in SQLite: of macOS, iOS, Thunderbird, Evolution and Android.

A database is read from its bytes in memory, so nothing beside the file is touched, whoever has it open.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from contactsync.contacts.book import Entry, Fault, Group, Number
from contactsync.contacts.vcard import read_vcards

SQLITE = b"SQLite format 3\0"
_PATIENCE = 120.0  # seconds
_STEPS = 100_000  # of SQLite's machine, between two looks at the clock
_WAL = b"\x02\x02"  # write and read version of a database that has a write-ahead log
_EXPORT = {
    "Thunderbird": "in Thunderbird: Address Book, Tools, Export",
    "macOS": "in Contacts: File, Export, Export vCard",
    "Android": "in Contacts: Fix & manage, Export to file",
    "Evolution": "in Evolution: Contacts, select all, Save as vCard",
    "iOS": "on icloud.com: Contacts, Export vCard",
}

Found = Iterator[Entry | Group | Fault]


def read_database(data: bytes) -> Found:
    """The contacts of a database. Never raises."""
    connection = sqlite3.connect(":memory:")
    try:
        tables = _open(connection, data)
        for program, needed, read in _KINDS:
            if needed <= set(tables):
                try:
                    yield from read(connection, tables)
                except sqlite3.Error:
                    yield Fault(
                        "file",
                        f"the database of {program} is broken, or of another version",
                        _EXPORT[program],
                    )
                return
        cards = [
            (table, column)
            for table, columns in tables.items()
            for column in columns
            if column in _CARD_COLUMNS
        ]
        if cards:
            yield from _evolution(connection, cards)
        else:
            yield Fault("file", "a database of an unknown kind", "export the contacts as vCard")
    except (sqlite3.Error, OverflowError, ValueError, MemoryError):  # the last: SQLite takes nothing of it
        yield Fault("file", "the database is broken", "export the contacts as vCard")
    finally:
        connection.close()


def _open(connection: sqlite3.Connection, data: bytes) -> dict[str, dict[str, str]]:
    """Load a database. Its tables: for each, the columns in small letters, as they are written."""
    if data[18:20] == _WAL:
        data = data[:18] + b"\x01\x01" + data[20:]
    connection.deserialize(data)
    connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
    end = time.monotonic() + _PATIENCE
    connection.set_progress_handler(lambda: time.monotonic() > end, _STEPS)
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA query_only = ON")
    names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    found: dict[str, dict[str, str]] = {}
    for name in names:
        rows = connection.execute(f"PRAGMA table_info({_quoted(name)})").fetchall()
        found[name.lower()] = {str(row[1]).lower(): str(row[1]) for row in rows}
    return found


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _rows(
    connection: sqlite3.Connection, tables: dict[str, dict[str, str]], table: str, columns: Sequence[str]
) -> Iterator[tuple[Any, ...]]:
    """The wanted columns of a table, None for those that it lacks; nothing if there is no such table."""
    if table not in tables:
        return
    wanted = [_quoted(tables[table][column]) if column in tables[table] else "NULL" for column in columns]
    yield from connection.execute(f"SELECT {', '.join(wanted)} FROM {_quoted(table)}")  # noqa: S608 - quoted


def _text(value: Any) -> str:
    return value.strip() if isinstance(value, str) else str(value) if isinstance(value, int) else ""


def _people(
    names: dict[Any, str],
    numbers: dict[Any, list[str]],
    mails: dict[Any, list[str]],
    groups: dict[Any, list[str]] | None = None,
) -> Found:
    """One entry for each key that has a name, a number or an address."""
    for count, key in enumerate(dict.fromkeys((*names, *numbers, *mails)), 1):
        place = f"contact {count}"
        found, written = (
            tuple(Number(text, place) for text in of.get(key, ()) if text) for of in (numbers, mails)
        )
        name = names.get(key) or next((one.text for one in written), "")
        if name or found:
            yield Entry(name, found, place, tuple((groups or {}).get(key, ())), str(key), written)


def _apple(connection: sqlite3.Connection, tables: dict[str, dict[str, str]]) -> Found:
    columns = ("z_pk", "zfirstname", "zmiddlename", "zlastname", "znickname", "zorganization")
    names: dict[Any, str] = {}
    for key, first, middle, last, nickname, company in _rows(connection, tables, "zabcdrecord", columns):
        whole = " ".join(part for part in map(_text, (first, middle, last)) if part)
        names[key] = whole or _text(nickname) or _text(company)
    numbers: dict[Any, list[str]] = {}
    for owner, number in _rows(connection, tables, "zabcdphonenumber", ("zowner", "zfullnumber")):
        numbers.setdefault(owner, []).append(_text(number))
    mails: dict[Any, list[str]] = {}
    for owner, address in _rows(connection, tables, "zabcdemailaddress", ("zowner", "zaddress")):
        mails.setdefault(owner, []).append(_text(address))
    yield from _people(names, numbers, mails)


def _ios(connection: sqlite3.Connection, tables: dict[str, dict[str, str]]) -> Found:
    names = {
        key: " ".join(part for part in map(_text, (first, last)) if part) or _text(company)
        for key, first, last, company in connection.execute(
            "SELECT ROWID, First, Last, Organization FROM ABPerson"
        )
    }
    numbers: dict[Any, list[str]] = {}
    mails: dict[Any, list[str]] = {}
    for owner, kind, value in _rows(connection, tables, "abmultivalue", ("record_id", "property", "value")):
        if kind == 3:  # kABPersonPhoneProperty
            numbers.setdefault(owner, []).append(_text(value))
        elif kind == 4:  # kABPersonEmailProperty
            mails.setdefault(owner, []).append(_text(value))
    yield from _people(names, numbers, mails)


_THUNDERBIRD_NUMBERS = ("HomePhone", "WorkPhone", "FaxNumber", "PagerNumber", "CellularNumber")
_THUNDERBIRD_MAILS = ("PrimaryEmail", "SecondEmail")


def _thunderbird(connection: sqlite3.Connection, tables: dict[str, dict[str, str]]) -> Found:
    people: dict[Any, dict[str, str]] = {}
    for card, name, value in _rows(connection, tables, "properties", ("card", "name", "value")):
        people.setdefault(card, {})[_text(name)] = _text(value)
    for count, (uid, values) in enumerate(people.items(), 1):
        place = f"contact {count}"
        if "BEGIN:VCARD" in values.get("_vCard", "").upper():
            for found in read_vcards(values["_vCard"].encode()):
                yield found._replace(uid=str(uid)) if isinstance(found, Entry) else found
            continue
        whole = " ".join(part for part in (values.get("FirstName"), values.get("LastName")) if part)
        instead = (values.get(name) for name in ("NickName", "Company", "PrimaryEmail"))
        name = values.get("DisplayName") or whole or next(filter(None, instead), "")
        numbers = tuple(Number(values[kind], place) for kind in _THUNDERBIRD_NUMBERS if values.get(kind))
        mails = tuple(Number(values[kind], place) for kind in _THUNDERBIRD_MAILS if values.get(kind))
        if name or numbers or mails:
            name = name or next((one.text for one in mails), "")
            yield Entry(name, numbers, place, (), str(uid), mails)
    listed: dict[Any, list[str]] = {}
    for uid, card in _rows(connection, tables, "list_cards", ("list", "card")):
        listed.setdefault(uid, []).append(str(card))
    for uid, title in _rows(connection, tables, "lists", ("uid", "name")):
        yield Group(_text(title), tuple(listed.get(uid, ())))


def _android(connection: sqlite3.Connection, tables: dict[str, dict[str, str]]) -> Found:
    if "mimetypes" not in tables:
        reason = "Android's database without the table that tells numbers from other data"
        yield Fault("file", reason, _EXPORT["Android"])
        return
    kinds = dict(_rows(connection, tables, "mimetypes", ("_id", "mimetype")))
    known = list(_rows(connection, tables, "raw_contacts", ("_id", "display_name", "deleted")))
    gone = {key for key, _, deleted in known if deleted == 1}
    names = {key: _text(name) for key, name, _ in known if key not in gone}
    titles = dict(_rows(connection, tables, "groups", ("_id", "title")))
    numbers: dict[Any, list[str]] = {}
    mails: dict[Any, list[str]] = {}
    groups: dict[Any, list[str]] = {}
    for key, kind, value in _rows(connection, tables, "data", ("raw_contact_id", "mimetype_id", "data1")):
        if key in gone:
            continue
        mimetype = _text(kinds.get(kind)).removeprefix("vnd.android.cursor.item/")
        if mimetype == "phone_v2":
            numbers.setdefault(key, []).append(_text(value))
        elif mimetype == "email_v2":
            mails.setdefault(key, []).append(_text(value))
        elif mimetype in {"name", "organization", "nickname"} and not names.get(key):
            names[key] = _text(value)
        elif mimetype == "group_membership" and _text(value).isdecimal():
            groups.setdefault(key, []).append(_text(titles.get(int(_text(value)))))
    yield from _people(names, numbers, mails, groups)


_CARD_COLUMNS = {"vcard", "ecacheobj"}


def _evolution(connection: sqlite3.Connection, cards: list[tuple[str, str]]) -> Found:
    for table, column in cards:
        # Names from the database's own list of tables.
        for (text,) in connection.execute(f"SELECT {_quoted(column)} FROM {_quoted(table)}"):  # noqa: S608 - quoted
            if "BEGIN:VCARD" in _text(text).upper():
                yield from read_vcards(_text(text).encode())


_KINDS: tuple[tuple[str, set[str], Callable[[sqlite3.Connection, dict[str, dict[str, str]]], Found]], ...] = (
    ("macOS", {"zabcdrecord", "zabcdphonenumber"}, _apple),
    ("iOS", {"abperson", "abmultivalue"}, _ios),
    ("Thunderbird", {"properties"}, _thunderbird),
    ("Android", {"data", "mimetypes"}, _android),
    ("Android", {"data", "raw_contacts"}, _android),
    ("Android", {"data"}, _android),
)
