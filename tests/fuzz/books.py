"""Address books: each format by itself, what holds books, single fields, and edits of cards."""

from __future__ import annotations

import gzip
import io
import itertools
import plistlib
import re
import sqlite3
import zipfile
from collections.abc import Iterable, Iterator

from books.cards import CARDS
from books.others import OTHERS
from books.tables import TABLES

from contactsync.contacts import categories
from contactsync.contacts.book import Entry, Fault, Group
from contactsync.contacts.csvbook import read_table
from contactsync.contacts.dialling import Dialling
from contactsync.contacts.fields import read_field
from contactsync.contacts.formats import entries_of
from contactsync.contacts.jcard import read_jcards
from contactsync.contacts.layout import table_of
from contactsync.contacts.ldif import read_ldif
from contactsync.contacts.plain import read_list
from contactsync.contacts.text import Decoder, text_lines, to_ascii_superset
from contactsync.contacts.vcard import read_vcards
from contactsync.contacts.xmlbook import read_xml
from contactsync.foundation.errors import BadInput
from contactsync.identifiers import Rejected
from contactsync.sources import apple, archives, databases, read_address_books
from fuzz import scratch
from fuzz.target import Target

REGIONS = ("DE", "US", "IT", "JP", None)
_CASES = [*CARDS, *TABLES, *OTHERS]
_CARD_WORDS = (
    *(
        b"BEGIN:VCARD\r\n",
        b"END:VCARD\r\n",
        b"VERSION:2.1\r\n",
        b"FN:",
        b"N:",
        b"TEL;TYPE=CELL:",
        b"AGENT:\r\n",
    ),
    *(
        b";ENCODING=QUOTED-PRINTABLE:",
        b";ENCODING=b:",
        b";CHARSET=x-sjis:",
        b"=\r\n",
        b"\r\n ",
        b"CATEGORIES:",
        b"item1.",
    ),
    *(b"KIND:group\r\n", b"MEMBER:urn:uuid:", b"UID:", b"\\n", b"\\,", b'"', b"tel:+4917604069001"),
)
_TABLE_WORDS = (
    b'"',
    b'""',
    b",",
    b";",
    b"\t",
    b"|",
    b"sep=;\n",
    b" ::: ",
    b"Name",
    b"Phone",
    b"Mobile",
    b"\n",
    b"Groups",
)
_NUMBER_WORDS = (
    b"+49",
    b"0176 04069001",
    b" oder ",
    b"/",
    b"ext. 5",
    b"*31#",
    b"(0)",
    b"tel:",
    b";phone-context=+1",
    b",",
    b"1-800-FLOWERS",
)


def _contents(*suffixes: str) -> list[bytes]:
    found = []
    for case in _CASES:
        files = case.content.items() if isinstance(case.content, dict) else [(case.name, case.content)]
        for name, content in files:
            if not suffixes or name.rpartition(".")[2] in suffixes:
                found.append(content.encode() if isinstance(content, str) else content)
    return [one for one in found if len(one) <= 4096][:40]


def _check(found: Iterable[Entry | Group | Fault]) -> None:
    """Readers never raise, and put no number into a fault."""
    for one in itertools.islice(found, 5000):
        if isinstance(one, Fault):
            text = one.place + one.reason + one.hint
            assert one.reason and text.isprintable(), text
            assert not re.search(r"\d{5}", text), text


def _book(data: bytes) -> None:
    region = REGIONS[data[0] % len(REGIONS)] if data else None
    book = read_address_books(["-"], region=region, stdin=io.BytesIO(data[1:]), grouped=True)
    for one in book.unreadable:
        text = one.reason + one.hint + one.place + one.file
        assert one.reason and text.isprintable() and not re.search(r"\d{5}", text), text
    for contact in book.contacts:
        assert contact.name.replace("\u200c", "").replace("\u200d", "").isprintable(), contact.name
        assert all(
            re.fullmatch(rb"tel:\+\d{5,15}|mailto:[!-~]+@[a-z0-9.-]+", one) for one in contact.identifiers
        )


def _vcard(data: bytes) -> None:
    _check(read_vcards(data, Decoder(data, "DE")))


def _ldif(data: bytes) -> None:
    _check(read_ldif(data, Decoder(data, "DE")))


def _xml(data: bytes) -> None:
    _check(read_xml(data, Decoder(data, "DE")))


def _jcard(data: bytes) -> None:
    _check(read_jcards(data))


def _table(data: bytes) -> None:
    lines = list(text_lines(data, Decoder(data, "JP")))
    if (table := table_of(lines[:50])) is not None:
        _check(read_table(lines, table))


def _list(data: bytes) -> None:
    _check(read_list(text_lines(data, Decoder(data))))


def _charset(data: bytes) -> None:
    plain = to_ascii_superset(data)
    decoder = Decoder(plain, REGIONS[len(data) % len(REGIONS)])
    for line in plain.split(b"\n"):
        assert isinstance(decoder.decode(line), str)
    if plain.isascii():
        assert decoder.decode(plain) == plain.decode()


def _zip(data: bytes) -> None:
    for name, content in archives.members(io.BytesIO(data)):
        assert isinstance(name, str)
        if isinstance(content, bytes):
            _check(entries_of(content, "DE"))


def _gzip(data: bytes) -> None:
    content = archives.gunzipped(io.BytesIO(data))
    if isinstance(content, bytes) and len(content) < 1 << 16:
        _check(entries_of(content, "DE"))


def _database(data: bytes) -> None:
    _check(databases.read_database(data))


def _plist(data: bytes) -> None:
    scratch.written("apple/Metadata/a.abcdp", data)
    _check(one for _, one in apple.read_lists(scratch.folder() / "apple"))


def _field(data: bytes) -> None:
    region = REGIONS[data[0] % len(REGIONS)] if data else None
    text = data[1:].decode("utf-8", "replace")
    for one in read_field(text, Dialling(region, "030" if region == "DE" else None)):
        assert isinstance(one, Rejected) or re.fullmatch(rb"tel:\+\d{5,15}|mailto:[!-~]+@[a-z0-9.-]+", one)


def _area_code(data: bytes) -> None:
    code, _, number = data.decode("utf-8", "replace").partition("\n")
    Dialling("DE", code)(number)


def _category(data: bytes) -> None:
    """What was added is taken out again, and nothing else is touched. Cards do not overlap."""
    word, _, book = data.partition(b"\0")
    category = categories.check_category(word.decode("utf-8", "replace") or "contactsync")
    done = 0
    for start, end in categories.cards_in(book):
        assert done <= start < end <= len(book)
        done, card = end, book[start:end]
        categories.uid_of(card)
        added = categories.add_category(card, category)
        if added is not None:
            assert categories.add_category(added, category) is None, "added twice"
            back = categories.remove_category(added, category)
            assert back is not None, "not found again"
            assert categories.remove_category(back, category) is None, "removed once only"


def _zips() -> Iterator[bytes]:
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        for names in (["Takeout/Contacts/All.vcf"], ["a.csv", "b.ldif", "__MACOSX/x.vcf"]):
            made = io.BytesIO()
            with zipfile.ZipFile(made, "w", method) as archive:
                for name in names:
                    entry = zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0))
                    entry.compress_type = method
                    archive.writestr(entry, _contents("vcf")[0][:500])
            yield made.getvalue()


def _databases() -> Iterator[bytes]:
    """Small databases of the programs that are known: their tables, and one person."""
    for script in (
        "CREATE TABLE ZABCDRECORD (Z_PK, ZFIRSTNAME, ZLASTNAME, ZORGANIZATION, ZUNIQUEID);"
        "CREATE TABLE ZABCDPHONENUMBER (ZOWNER, ZFULLNUMBER);"
        "INSERT INTO ZABCDRECORD VALUES (1, 'Ada', 'L', NULL, 'u'); INSERT INTO ZABCDPHONENUMBER VALUES (1, '0176 04069001');",
        "CREATE TABLE properties (card, name, value); INSERT INTO properties VALUES"
        " ('a', 'DisplayName', 'Ada'), ('a', 'CellularNumber', '0176 04069001');",
        "CREATE TABLE ABPerson (ROWID, First, Last, Organization); CREATE TABLE ABMultiValue (record_id, property, value);"
        "INSERT INTO ABPerson VALUES (1, 'Ada', 'L', ''); INSERT INTO ABMultiValue VALUES (1, 3, '0176 04069001');",
        "CREATE TABLE folder_id (uid, vcard); INSERT INTO folder_id VALUES"
        " ('1', 'BEGIN:VCARD\nFN:Ada\nTEL:0176 04069001\nEND:VCARD');",
        "CREATE TABLE raw_contacts (_id, display_name, deleted); CREATE TABLE data (raw_contact_id, mimetype_id, data1);"
        "CREATE TABLE mimetypes (_id, mimetype); INSERT INTO mimetypes VALUES (5, 'vnd.android.cursor.item/phone_v2');"
        "INSERT INTO raw_contacts VALUES (1, 'Ada', 0); INSERT INTO data VALUES (1, 5, '0176 04069001');",
    ):
        connection = sqlite3.connect(":memory:")
        connection.execute("PRAGMA page_size = 512")
        connection.executescript(script)
        yield connection.serialize()
        connection.close()


def _plists() -> Iterator[bytes]:
    person = {"First": "Ada", "Phone": {"values": ["0176 04069001"], "labels": ["x"]}}
    yield plistlib.dumps(person)
    yield plistlib.dumps(person, fmt=plistlib.FMT_BINARY)


def _fields() -> Iterator[bytes]:
    for text in (
        "+49 176 04069001",
        "0176 04069001 oder 030 1234567",
        "tel:+1-212-555-0131;ext=5",
        "(030) 123/456-7",
        "٠١٢٣٤٥٦٧٨",
    ):
        yield b"\0" + text.encode()


TARGETS = (
    Target(
        "book",
        _book,
        lambda: [bytes([i % 5]) + one for i, one in enumerate(_contents())],
        words=_CARD_WORDS + _TABLE_WORDS,
    ),
    Target("book-vcard", _vcard, lambda: _contents("vcf"), words=_CARD_WORDS),
    Target(
        "book-jcard",
        _jcard,
        lambda: [
            *_contents("json"),
            b'["vcard",[["version",{},"text","4.0"],["tel",{},"uri","tel:+4917604069001"]]]',
        ],
        words=(b'["vcard",[', b"]]", b'"text"', b"{}", b'["tel",{},"uri","', b"null", b"1e999"),
    ),
    Target(
        "book-xml",
        _xml,
        lambda: _contents("xml"),
        words=(
            b"<contact>",
            b"</contact>",
            b"<number type='home'>",
            b"<!DOCTYPE x>",
            b"&amp;",
            b"<![CDATA[",
            b"<?xml version='1.0' encoding='utf-16'?>",
            b"<vcard>",
            b"<tel>",
            b"xmlns='urn:ietf:params:xml:ns:vcard-4.0'",
        ),
    ),
    Target(
        "book-ldif",
        _ldif,
        lambda: _contents("ldif", "ldi"),
        words=(
            b"dn: ",
            b"dn:: ",
            b"cn: ",
            b"mobile: ",
            b"\n ",
            b":< file:///",
            b"\n\n",
            b"objectClass: groupOfNames\n",
            b"member: ",
        ),
    ),
    Target("book-table", _table, lambda: _contents("csv", "txt", "tsv"), words=_TABLE_WORDS),
    Target("book-list", _list, lambda: _contents("txt"), words=_NUMBER_WORDS + (b"\n", b"#")),
    Target(
        "book-charset",
        _charset,
        _contents,
        words=(b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf", b"\x82\xa0", b"\xe4\xf6", b"\0", b"\x1b$B", b"\n"),
    ),
    Target(
        "book-zip",
        _zip,
        lambda: list(_zips()),
        words=(b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06", b"\xff\xff\xff\xff", b"\x08\0", b".vcf"),
        mebibytes=512,
        longest=2048,
    ),
    Target(
        "book-gzip",
        _gzip,
        lambda: [gzip.compress(one, mtime=0) for one in _contents("vcf")[:4]],
        words=(b"\x1f\x8b\x08", b"\0\0", b"\xff"),
        mebibytes=512,
    ),
    Target(
        "book-database",
        _database,
        lambda: list(_databases()),
        words=(b"CREATE TABLE ", b"\0\0", b"\x02\x02", b"ZABCDRECORD", b"properties", b"\xff\xff"),
        longest=8192,
    ),
    Target(
        "book-plist",
        _plist,
        lambda: list(_plists()),
        words=(
            b"<dict>",
            b"<key>First</key>",
            b"<string>",
            b"bplist00",
            b"<array>",
            b"\xff\xff",
            b"<!DOCTYPE",
        ),
    ),
    Target("field", _field, lambda: list(_fields()), words=_NUMBER_WORDS, longest=400),
    Target(
        "area-code",
        _area_code,
        lambda: [b"030\n1234567", b"+49 30\n1234567"],
        (BadInput,),
        words=_NUMBER_WORDS,
        longest=100,
    ),
    Target(
        "card-category",
        _category,
        lambda: [b"Club\0" + one for one in _contents("vcf")],
        (BadInput,),
        words=_CARD_WORDS,
    ),
)
