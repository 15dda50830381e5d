"""Folders that other programs write: vdirsyncer, khard, Radicale's and Xandikos' own storage."""

import shutil
import subprocess

import pytest
from real_carddav import STARTERS

from contactsync.sources import read_address_books


def card(name, number):
    return f"BEGIN:VCARD\r\nVERSION:3.0\r\nUID:{name}\r\nFN:{name}\r\nTEL:{number}\r\nEND:VCARD\r\n"


def read(folder):
    book = read_address_books([folder], region="DE")
    assert book.unreadable == []
    return sorted(contact.name for contact in book.contacts)


def test_vdirsyncer_and_khard(tmp_path):
    """Several collections in a hidden folder, each with metadata beside its cards."""
    root = tmp_path / ".contacts"
    for collection, name, number in (("family", "Ada", "0151 12345678"), ("work", "Bob", "0151 12345679")):
        folder = root / collection
        folder.mkdir(parents=True)
        (folder / f"{name}.vcf").write_text(card(name, number))
        (folder / "displayname").write_text(collection)
        (folder / "color").write_text("#ff0000")
        (folder / f".{name}.vcf.swp").write_bytes(b"b0VIM 9.0\0" + card("Old", number).encode())
        (folder / f"{name}.vcf~").write_text(card("Backup", number))
        (folder / "tmpab12cd").write_text(card("Half", number))  # vdirsyncer was killed
    assert read(root) == ["Ada", "Bob"]
    assert read(root / "work") == ["Bob"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["radicale", "xandikos"])
def test_the_storage_of_a_server(tmp_path, name):
    with STARTERS[name](tmp_path) as server:
        server.put("ada.vcf", card("Ada", "+4915112345678"))
        server.put("bob.vcf", card("Bob", "+4915112345679"))
        body = '<propfind xmlns="DAV:"><prop><getetag/></prop></propfind>'
        headers = {"Depth": "1", "Content-Type": "application/xml"}
        server.request("PROPFIND", server.book, data=body, headers=headers)  # fills its cache
    root = tmp_path / ("collections" if name == "radicale" else "data")
    hidden = {path.name for path in root.rglob(".*")}
    assert hidden & {".Radicale.props", ".Radicale.cache", ".git", ".xandikos"}, hidden
    assert read(root) == ["Ada", "Bob"]


def test_a_repository_of_cards(tmp_path):
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    (tmp_path / ".git" / "stray.vcf").write_text(card("Stray", "0151 12345678"))
    (tmp_path / "ada.vcf").write_text(card("Ada", "0151 12345678"))
    assert read(tmp_path) == ["Ada"]
