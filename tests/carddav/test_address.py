"""What is an address of a CardDAV account, and what it means."""

import pytest

from contactsync.carddav.address import is_address, parse_address, path_within
from contactsync.foundation.errors import BadInput


@pytest.mark.parametrize(
    ("text", "origin", "path", "user"),
    [
        ("carddav://ada@dav.example.org", "https://dav.example.org", "/", "ada"),
        ("carddavs://ada@dav.example.org/", "https://dav.example.org", "/", "ada"),
        ("https://dav.example.org:443/dav/", "https://dav.example.org", "/dav/", ""),
        ("https://dav.example.org:8443/dav", "https://dav.example.org:8443", "/dav", ""),
        ("carddav://ada@example.org@dav.example.org/", "https://dav.example.org", "/", "ada@example.org"),
        ("carddav://ada%40example.org@dav.example.org/", "https://dav.example.org", "/", "ada@example.org"),
        ("CardDAV://ADA@DAV.Example.ORG/Books/", "https://dav.example.org", "/Books/", "ADA"),
        ("http://ada@localhost:5232/ada/", "http://localhost:5232", "/ada/", "ada"),
        ("http://ada@[::1]:5232/", "http://[::1]:5232", "/", "ada"),
        ("http://127.0.0.1:80/", "http://127.0.0.1", "/", ""),
        ("carddav://j%C3%B6rg@h/b%C3%BCcher/ä b/", "https://h", "/b%C3%BCcher/%C3%A4%20b/", "jörg"),
    ],
)  # fmt: skip
def test_addresses(text, origin, path, user):
    assert is_address(text)
    parsed = parse_address(text)
    assert (parsed.origin, parsed.path, parsed.user) == (origin, path, user)


def test_an_account_has_one_folder_whatever_the_path():
    one, other = (parse_address(f"carddav://ada@dav.example.org/{path}") for path in ("", "books/a/"))
    assert one.folder_name == other.folder_name
    assert one.folder_name != parse_address("carddav://eve@dav.example.org").folder_name
    assert "/" not in one.folder_name


@pytest.mark.parametrize(
    "text", ["contacts.vcf", "-", "/tmp/a", "./http:/x", "ftp://x", "C:\\book.vcf", "carddav:x"]
)
def test_files_are_no_addresses(text):
    assert not is_address(text)


@pytest.mark.parametrize(
    "text",
    ["carddav://", "https:///x", "http://[::1", "carddav://h:99999/", "https://h/?q", "https://h/#f",
     "https://a b/", "carddav://a%0ab@h/", "http://ada@192.0.2.1/", "http://dav.example.org/", "http://localhost.example.org/"],
)  # fmt: skip
def test_what_cannot_be_used_says_what_to_do(text):
    with pytest.raises(BadInput) as caught:
        parse_address(text)
    assert caught.value.hint


def test_plain_http_must_be_allowed():
    assert parse_address("http://dav.lan/", allow_plain_http=True).origin == "http://dav.lan"


def test_paths_of_replies():
    assert path_within("https://h", "/a/b/", "c%20d.vcf") == "/a/b/c%20d.vcf"
    assert path_within("https://h", "/a/b/", "/ä.vcf") == "/%C3%A4.vcf"
    assert path_within("https://h", "/a/b/", "/x\r\nHost: evil/") == "/xHost:%20evil/"
    assert path_within("https://h", "/a/b/", "https://h:8443/x") is None
