"""gzip and zip: read in memory, within limits, whatever the archive says of itself."""

import gzip
import io
import struct
import zipfile

import pytest

from contactsync.sources import read_address_books

ADA = "BEGIN:VCARD\r\nVERSION:3.0\r\nFN:Ada\r\nTEL:0176 04069001\r\nEND:VCARD\r\n"
BOB = ADA.replace("Ada", "Bob").replace("001", "002")


def zipped(members, compression=zipfile.ZIP_DEFLATED):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return data.getvalue()


def read(data, tmp_path, name="book.zip"):
    path = tmp_path / name
    path.write_bytes(data)
    book = read_address_books([path], region="DE")
    return [contact.name for contact in book.contacts], [entry.reason for entry in book.unreadable]


TAKEOUT = {
    "Takeout/Contacts/All Contacts/All Contacts.vcf": ADA + BOB,
    "Takeout/Contacts/My Contacts/My Contacts.vcf": ADA,
    "Takeout/Contacts/All Contacts/Ada.jpg": b"\xff\xd8",
    "__MACOSX/._x.vcf": "nothing",
}


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED])
def test_a_takeout(tmp_path, compression):
    names, reasons = read(zipped(TAKEOUT, compression), tmp_path)
    assert names == ["Ada", "Bob"]
    assert reasons == ["1 file was passed over (.jpg)"]


def test_a_takeout_through_a_pipe():
    class Pipe(io.BytesIO):
        def seekable(self):
            return False

    book = read_address_books(["-"], region="DE", stdin=Pipe(zipped(TAKEOUT)))
    assert [contact.name for contact in book.contacts] == ["Ada", "Bob"]
    assert book.contacts[0].place == (
        "standard input: Takeout/Contacts/All Contacts/All Contacts.vcf: card 1, line 1"
    )


def test_tables_are_read_if_there_are_no_cards(tmp_path):
    assert read(zipped({"a/b.csv": "Name,Phone\nAda,0176 04069001\n"}), tmp_path) == (["Ada"], [])
    assert read(zipped({"a.txt": "x"}), tmp_path)[1] == ["1 file was passed over (.txt)"]
    assert read(zipped({}), tmp_path)[1] == ["not an address book"]


def test_a_workbook_is_named(tmp_path):
    names, reasons = read(zipped({"[Content_Types].xml": "x", "xl/workbook.xml": "x"}), tmp_path, "book.xlsx")
    assert (names, reasons) == ([], ["a workbook or a document is not an address book"])


def test_gzip(tmp_path):
    assert read(gzip.compress(ADA.encode()), tmp_path, "a.vcf.gz") == (["Ada"], [])
    assert read(gzip.compress(ADA.encode())[:-9], tmp_path, "a.vcf.gz")[1] == [
        "the compressed file is broken"
    ]
    assert read(gzip.compress(gzip.compress(ADA.encode())), tmp_path, "a.gz")[1]


def test_bombs_are_bounded(tmp_path, monkeypatch):
    for module in ("archives", "files"):
        monkeypatch.setattr(f"contactsync.sources.{module}.MAX_FILE", 1 << 20)
    big = b" " * (3 << 20)
    assert read(gzip.compress(big), tmp_path, "b.gz")[1] == ["larger than 1 MiB when unpacked"]
    many = {"a.vcf": ADA, "b.vcf": big, "c.vcf": BOB}
    names, reasons = read(zipped(many), tmp_path)
    assert names == ["Ada", "Bob"]
    assert reasons == ["the archive is larger than 1 MiB when unpacked"]


def test_a_size_that_lies_does_not_matter(tmp_path, monkeypatch):
    for module in ("archives", "files"):
        monkeypatch.setattr(f"contactsync.sources.{module}.MAX_FILE", 1 << 20)
    data = bytearray(zipped({"a.vcf": b" " * (3 << 20)}))
    directory = data.rfind(b"PK\x01\x02")
    data[directory + 24 : directory + 28] = struct.pack("<I", 10)  # the size when unpacked
    names, reasons = read(bytes(data), tmp_path)
    assert names == []
    assert len(reasons) == 1


def test_too_many_names_are_refused_before_they_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr("contactsync.sources.archives._MAX_DIRECTORY", 1000)
    data = zipped({f"{i}.vcf": ADA for i in range(100)})
    assert read(data, tmp_path)[1] == ["too many files in the archive"]


def test_encrypted_and_unknown_compression_are_named(tmp_path):
    data = bytearray(zipped({"a.vcf": ADA}))
    for mark, offset in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        data[data.find(mark) + offset] |= 1
    assert read(bytes(data), tmp_path)[1] == ["it is encrypted"]
    assert read(zipped({"a.vcf": ADA}, zipfile.ZIP_LZMA), tmp_path)[1] == ["a compression that is not read"]


def test_any_cut_or_flipped_byte_costs_at_most_the_archive(tmp_path):
    data = zipped({"a.vcf": ADA * 20, "b.vcf": BOB})
    for at in range(0, len(data), 7):
        read(data[:at], tmp_path)
        read(data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :], tmp_path)


def test_names_in_an_archive_are_fit_for_a_terminal(tmp_path):
    path = tmp_path / "a.zip"
    path.write_bytes(zipped({"a\x1b[2J.vcf": "nothing"}))
    book = read_address_books([path], region="DE")
    assert all("\x1b" not in entry.file for entry in book.unreadable)
