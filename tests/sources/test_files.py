"""Files, folders and standard input become one address book; what cannot be read costs itself."""

import io
import os

import pytest

from contactsync.contacts import NO_NAME
from contactsync.foundation.errors import BadInput
from contactsync.sources import read_address_books

ADA = "BEGIN:VCARD\nVERSION:3.0\nFN:Ada\nTEL:+49 151 12345678\nEND:VCARD\n"
BOB = "BEGIN:VCARD\nVERSION:3.0\nFN:Bob\nTEL:0151 23456789\nTEL:hello\nEND:VCARD\n"


def read(*sources, region="DE", stdin=None):
    return read_address_books(sources, region=region, stdin=stdin)


def test_a_file_its_contacts_and_what_it_cost(tmp_path):
    file = tmp_path / "book.vcf"
    file.write_text(ADA + BOB)
    book = read(file)
    assert [(c.name, c.identifiers) for c in book.contacts] == [
        ("Ada", (b"tel:+4915112345678",)),
        ("Bob", (b"tel:+4915123456789",)),
    ]
    assert book.contacts[1].place == f"{file}: card 2, line 6"
    (bad,) = book.unreadable
    assert (bad.file, bad.place, bad.reason) == (str(file), "card 2, line 10", "not a phone number")
    assert book.files == 1
    assert book.identifiers == [b"tel:+4915112345678", b"tel:+4915123456789"]


def test_without_a_region_a_local_number_says_what_is_missing(tmp_path):
    file = tmp_path / "book.vcf"
    file.write_text(BOB)
    book = read(file, region=None)
    assert book.contacts[0].identifiers == ()
    assert book.unreadable[0].reason == "no country code"
    assert "--region" in book.unreadable[0].hint


def test_a_folder_in_vdirsyncers_layout(tmp_path):
    inner = tmp_path / "work" / "deep"
    inner.mkdir(parents=True)
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "a.vcf").write_text(ADA)
    (inner / "b.VCF").write_text(BOB)
    (tmp_path / ".c.vcf").write_text(ADA.replace("Ada", "Hidden"))
    (tmp_path / ".hidden" / "d.vcf").write_text(ADA.replace("Ada", "Hidden"))
    (tmp_path / "displayname").write_text("People")
    book = read(tmp_path)
    assert [c.name for c in book.contacts] == ["Ada", "Bob"]
    assert book.files == 2


def test_an_empty_folder_says_so(tmp_path):
    assert [u.reason for u in read(tmp_path).unreadable] == ["no .vcf file in it"]


def test_standard_input():
    book = read("-", stdin=io.BytesIO(b"+49 151 12345678\n"))
    assert [(c.name, c.place) for c in book.contacts] == [(NO_NAME, "standard input: line 1")]


def test_the_same_entry_twice_is_one_contact(tmp_path):
    (tmp_path / "a.vcf").write_text(ADA + ADA.replace("+49 ", "0"))
    (tmp_path / "b.vcf").write_text(ADA)
    assert len(read(tmp_path, tmp_path / "a.vcf").contacts) == 1


ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_encodings(encoding, tmp_path):
    file = tmp_path / "book"
    file.write_bytes((ADA.replace("Ada", "Jörg") + BOB).encode(encoding))
    assert [c.name for c in read(file).contacts] == ["Jörg", "Bob"]


def test_what_does_not_exist_is_the_callers_fault(tmp_path):
    with pytest.raises(BadInput, match="no such file") as caught:
        read(tmp_path / "nowhere.vcf")
    assert caught.value.hint
    with pytest.raises(BadInput, match="unknown region"):
        read(region="XX")
    with pytest.raises(BadInput):
        read("a\0b")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "the file is empty"),
        (b" \r\n\r\n", "the file is empty"),
        (b"PK\x03\x04xxxxxxxx", "the archive is broken"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "not an address book"),
        (b"Dear Ada,\nall is well.\n", "not an address book"),
        (b"name;town\nAda;London\n", "no column with phone numbers or e-mail addresses"),
    ],
)
def test_other_files_are_named_and_cost_themselves(data, reason, tmp_path):
    (tmp_path / "a.vcf").write_bytes(data)
    (tmp_path / "b.vcf").write_text(ADA)
    book = read(tmp_path)
    assert [c.name for c in book.contacts] == ["Ada"]
    assert [u.reason for u in book.unreadable] == [reason]


def test_limits_are_named_and_cost_what_is_beyond(tmp_path, monkeypatch):
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.vcf").write_text(ADA.replace("Ada", name))
    (tmp_path / "d" / "e").mkdir(parents=True)
    (tmp_path / "d" / "e" / "f.vcf").write_text(ADA)

    def reasons(limit, value):
        with monkeypatch.context() as patch:
            patch.setattr(limit, value)
            book = read(tmp_path)
        return len(book.contacts), [(u.place, u.reason) for u in book.unreadable]

    assert reasons("contactsync.sources.files.MAX_FILE", 1 << 20) == (4, [])
    too_large, too_deep = ("file", "larger than 0 MiB"), ("folder", "more than 1 folders deep")
    assert reasons("contactsync.sources.files.MAX_FILE", 10) == (0, [too_large] * 4)
    assert reasons("contactsync.sources.files.MAX_FILES", 2) == (2, [("folder", "more than 2 files")])
    assert reasons("contactsync.sources.files.MAX_DEPTH", 1) == (3, [too_deep])
    too_many = ("card 1, line 1", "too many contacts")
    assert reasons("contactsync.contacts.book.MAX_ENTRIES", 2) == (2, [too_many])


def test_too_many_numbers_of_one_contact(monkeypatch):
    monkeypatch.setattr("contactsync.contacts.book.MAX_NUMBERS", 2)
    numbers = "".join(f"TEL:+49 30 123456{i}\n" for i in range(5))
    book = read("-", stdin=io.BytesIO(f"BEGIN:VCARD\nFN:Ada\n{numbers}END:VCARD\n".encode()))
    assert len(book.identifiers) == 2
    assert [u.reason for u in book.unreadable] == ["too many numbers"]


def test_what_is_no_file_in_a_folder_costs_itself(tmp_path):
    os.mkfifo(tmp_path / "a.vcf")
    (tmp_path / "b.vcf").symlink_to(tmp_path / "nowhere")
    (tmp_path / "c.vcf").write_text(ADA)
    (tmp_path / "again").symlink_to(tmp_path)
    book = read(tmp_path)
    assert len(book.contacts) == 1
    assert [u.reason for u in book.unreadable] == ["not a file, or a broken link"] * 2


def test_names_are_fit_for_a_terminal():
    nasty = "A\x1b[2Jd\u202ea\x00\u2066 \u200fx\r" + "y" * 500
    book = read("-", stdin=io.BytesIO(f"BEGIN:VCARD\nFN:{nasty}\nTEL:030 123456\nEND:VCARD\n".encode()))
    assert book.contacts[0].name.startswith("A[2Jda x")
    assert len(book.contacts[0].name) <= 200
    assert book.contacts[0].name.isprintable()


def test_a_file_name_is_fit_for_a_terminal(tmp_path):
    file = os.fsencode(tmp_path) + b"/\xff\x1b.vcf"
    with open(file, "wb") as out:  # noqa: PTH123 - a name that is not UTF-8
        out.write(b"hello")
    book = read(os.fsdecode(file))
    assert book.unreadable[0].file == f"{tmp_path}/\ufffd?.vcf"


def test_standard_input_of_any_format():
    for data in (ADA.encode(), ADA.encode("utf-16"), b"name,phone\nAda,0151 12345678\n"):
        assert read("-", stdin=io.BytesIO(data)).contacts[0].name == "Ada"


def test_a_table_whose_notes_hold_a_card():
    rows = 'name,phone,notes\nAda,0151 12345678,x\nBob,0151 23456789,"\nBEGIN:VCARD\nFN:Eve\nEND:VCARD"\n'
    assert [c.name for c in read("-", stdin=io.BytesIO(rows.encode())).contacts] == ["Ada", "Bob"]


def test_cards_after_other_text():
    text = "Content-Type: text/vcard\n\n" + ADA
    assert [c.name for c in read("-", stdin=io.BytesIO(text.encode())).contacts] == ["Ada"]
