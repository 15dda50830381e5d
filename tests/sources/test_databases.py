"""SQLite books of phones and programs: read from a copy in memory, never touched."""

import plistlib
import sqlite3
import time

import pytest

from contactsync.sources import read_address_books
from contactsync.sources.databases import read_database

CARD = "BEGIN:VCARD\r\nVERSION:4.0\r\nFN:Eva\r\nTEL:0176 04069005\r\nEND:VCARD\r\n"


def database(path, script):
    connection = sqlite3.connect(path)
    connection.executescript(script)
    connection.close()
    return path


def read(path, **more):
    book = read_address_books([path], region="DE", **more)
    rows = [(c.name, [i.decode().removeprefix("tel:") for i in c.identifiers]) for c in book.contacts]
    return rows, [entry.reason for entry in book.unreadable]


ANDROID = """
CREATE TABLE mimetypes(_id integer primary key, mimetype text);
INSERT INTO mimetypes VALUES (1,'vnd.android.cursor.item/name'),(5,'vnd.android.cursor.item/phone_v2'),
  (6,'vnd.android.cursor.item/email_v2'),(7,'vnd.android.cursor.item/group_membership');
CREATE TABLE raw_contacts(_id integer primary key, display_name text, deleted integer);
INSERT INTO raw_contacts VALUES (1,'Anna',0),(2,'Gone',1),(3,NULL,0);
CREATE TABLE groups(_id integer primary key, title text);
INSERT INTO groups VALUES (9,'Choir');
CREATE TABLE data(_id integer primary key, raw_contact_id integer, mimetype_id integer, data1 text);
INSERT INTO data(raw_contact_id, mimetype_id, data1) VALUES (1,5,'0176 04069001'),(1,6,'Anna@example.org'),
  (2,5,'0176 04069002'),(3,1,'Carl'),(3,5,'030 23125003'),(1,7,'9');
"""


ANDROIDS = [("Anna", ["+4917604069001", "mailto:anna@example.org"]), ("Carl", ["+493023125003"])]


def test_android(tmp_path):
    path = database(tmp_path / "contacts2.db", ANDROID)
    assert read(path) == (ANDROIDS, [])
    book = read_address_books([path], region="DE", grouped=True)
    assert [contact.groups for contact in book.contacts] == [("Choir",), ()]


def test_a_part_of_androids_is_named(tmp_path):
    path = database(tmp_path / "c.db", "CREATE TABLE data(raw_contact_id, mimetype_id, data1)")
    assert read(path) == ([], ["Android's database without the table that tells numbers from other data"])


APPLE = """
CREATE TABLE ZABCDRECORD(Z_PK integer, ZFIRSTNAME text, ZLASTNAME text, ZORGANIZATION text);
INSERT INTO ZABCDRECORD VALUES (1,'Abby','Bu',NULL),(2,NULL,NULL,'Mills'),(3,NULL,NULL,NULL);
CREATE TABLE ZABCDPHONENUMBER(ZOWNER integer, ZFULLNUMBER text);
INSERT INTO ZABCDPHONENUMBER VALUES (1,'0176 04069001'),(2,'030 23125002'),(1,'030 23125003');
CREATE TABLE ZABCDEMAILADDRESS(ZOWNER integer, ZADDRESS text);
INSERT INTO ZABCDEMAILADDRESS VALUES (1,'abby@example.org');
"""


def test_a_contacts_archive_of_macos(tmp_path):
    folder = tmp_path / "book.abbu"
    (folder / "Sources" / "X").mkdir(parents=True)
    (folder / "Metadata").mkdir()
    database(folder / "AddressBook-v22.abcddb", APPLE)
    database(folder / "Sources" / "X" / "AddressBook-v22.abcddb", APPLE.replace("Abby", "Ben"))
    (folder / "Metadata" / "1.abcdp").write_bytes(b"broken")  # not needed
    rows, reasons = read(folder)
    assert rows == [
        ("Abby Bu", ["+4917604069001", "+493023125003", "mailto:abby@example.org"]),
        ("Mills", ["+493023125002"]),
        ("Ben Bu", ["+4917604069001", "+493023125003", "mailto:abby@example.org"]),
    ]
    assert reasons == []


def test_an_archive_with_lists_alone(tmp_path):
    folder = tmp_path / "book.abbu"
    (folder / "Metadata").mkdir(parents=True)
    card = {"First": "Abby", "Last": "Bu", "Phone": {"values": ["0176 04069001", 5]}}
    card["Email"] = {"values": ["Abby@example.org", None]}
    (folder / "Metadata" / "1.abcdp").write_bytes(plistlib.dumps(card, fmt=plistlib.FMT_BINARY))
    (folder / "Metadata" / "2.abcdp").write_bytes(b"bplist00" + b"\xff" * 60)
    (folder / "Metadata" / "3.abcdp").write_bytes(plistlib.dumps([1]))
    assert read(folder) == (
        [("Abby Bu", ["+4917604069001", "mailto:abby@example.org"])],
        ["a broken contact"] * 2,
    )
    assert read(tmp_path / "book.abbu" / "Metadata")[1][0] == "no .vcf file in it"


def test_thunderbird_old_and_new(tmp_path):
    script = """
    CREATE TABLE properties(card text, name text, value text);
    INSERT INTO properties VALUES ('a','DisplayName','Tea'),('a','CellularNumber','0176 04069001'),
      ('a','Notes','030 1'),('b','FirstName','Tom'),('b','LastName','Lee'),('b','HomePhone','030 23125002');
    CREATE TABLE lists(uid text, localId integer, name text);
    INSERT INTO lists VALUES ('l', 1, 'Choir');
    CREATE TABLE list_cards(list text, card text);
    INSERT INTO list_cards VALUES ('l','b');
    """
    script += f"INSERT INTO properties VALUES ('c','_vCard','{CARD}'),('c','DisplayName','x');"
    path = database(tmp_path / "abook.sqlite", script)
    rows, reasons = read(path)
    assert rows == [("Tea", ["+4917604069001"]), ("Tom Lee", ["+493023125002"]), ("Eva", ["+4917604069005"])]
    assert reasons == []
    book = read_address_books([path], region="DE", grouped=True)
    assert [contact.groups for contact in book.contacts] == [(), ("Choir",), ()]


def test_a_card_of_thunderbird_with_a_number_alone_is_somebody_without_a_name(tmp_path):
    script = """
    CREATE TABLE properties(card text, name text, value text);
    INSERT INTO properties VALUES ('a','CellularNumber','0176 04069001');
    INSERT INTO properties VALUES ('b','SecondEmail','tea@example.org');
    """
    path = database(tmp_path / "abook.sqlite", script)
    rows, reasons = read(path)
    assert rows == [("(no name)", ["+4917604069001"]), ("tea@example.org", ["mailto:tea@example.org"])]
    assert reasons == []


@pytest.mark.parametrize(
    "table", ["ECacheObjects(ECacheUID text, ECacheOBJ text)", "folder_id(uid text, vcard text)"]
)
def test_evolution_old_and_new(table, tmp_path):
    script = (
        f"CREATE TABLE {table}; INSERT INTO {table.partition('(')[0]} VALUES ('u', '{CARD}'), ('v', NULL);"
    )
    assert read(database(tmp_path / "contacts.db", script)) == ([("Eva", ["+4917604069005"])], [])


def test_an_iphones_backup(tmp_path):
    script = """
    CREATE TABLE ABPerson(ROWID integer primary key, First text, Last text, Organization text);
    INSERT INTO ABPerson VALUES (1,'Ina','Os',NULL);
    CREATE TABLE ABMultiValue(record_id integer, property integer, value text);
    INSERT INTO ABMultiValue VALUES (1,3,'0176 04069001'),(1,4,'ina@example.org');
    """
    assert read(database(tmp_path / "AddressBook.sqlitedb", script)) == (
        [("Ina Os", ["+4917604069001", "mailto:ina@example.org"])],
        [],
    )


def test_what_is_read_is_not_touched_and_an_open_log_is_said(tmp_path):
    path = tmp_path / "contacts2.db"
    writer = sqlite3.connect(path)
    writer.execute("PRAGMA journal_mode = WAL")
    writer.executescript(ANDROID)
    before = {p.name: (p.stat().st_mtime_ns, p.stat().st_size) for p in tmp_path.iterdir()}
    reasons = read(path)[1]
    assert reasons[-1] == "a program has the database open: its latest changes are not read"
    assert {p.name: (p.stat().st_mtime_ns, p.stat().st_size) for p in tmp_path.iterdir()} == before
    writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert read(path) == (ANDROIDS, [])
    writer.close()


def test_other_databases_are_named(tmp_path):
    assert read(database(tmp_path / "x.db", "CREATE TABLE t(a)"))[1] == ["a database of an unknown kind"]
    data = database(tmp_path / "y.db", ANDROID).read_bytes()
    for cut in (100, 3000, 5000):
        (fault, *_) = read_database(data[:cut])
        assert "broken" in fault.reason


def test_flipped_bytes_never_raise(tmp_path):
    data = bytearray(database(tmp_path / "y.db", ANDROID).read_bytes())
    for at in range(16, len(data), 97):
        changed = bytearray(data)
        changed[at] ^= 0xFF
        list(read_database(bytes(changed)))


def test_a_view_that_never_ends_is_not_run(tmp_path):
    script = """
    CREATE VIEW properties AS WITH RECURSIVE r(card, name, value) AS
      (SELECT 1,'DisplayName','x' UNION ALL SELECT card + 1, name, value FROM r) SELECT * FROM r;
    """
    started = time.process_time()
    assert read(database(tmp_path / "v.db", script))[1] == ["a database of an unknown kind"]
    assert time.process_time() - started < 2
