"""docs/address-books.md states the limits of the code, and what the options are called."""

import re
from pathlib import Path

from contactsync.carddav import connection, discovery, multistatus, passwords
from contactsync.commands.sync import sync
from contactsync.contacts.book import MAX_FILE, MAX_FILES

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "address-books.md").read_text()
SECTION = PAGE.partition("\n## CardDAV\n")[2].partition("\n## ")[0]


def test_the_limits_of_the_page_are_those_of_the_code():
    table = SECTION.partition("### What a CardDAV server may send")[2]
    stated = dict(re.findall(r"^\| ([^|]+) \| ([^|]+) \|", table, re.MULTILINE))
    del stated["what"]
    assert stated == {
        "cards of one CardDAV account": f"{MAX_FILES:,}, and {MAX_FILE >> 20} MiB without photos",
        "one card of a CardDAV server, photo included": f"{multistatus.MAX_CARD >> 20} MiB",
        "one reply of a CardDAV server": f"{connection.MAX_REPLY >> 20} MiB",
        "all replies of an account in one run": f"{connection.MAX_OCTETS >> 30} GiB",
        "address books of an account": f"{discovery.MAX_BOOKS}",
    }


def test_what_the_page_tells_to_type_exists():
    options = {option for parameter in sync.params for option in parameter.opts}
    assert set(re.findall(r"`(--[a-z-]+)", SECTION)) <= options
    assert f"keyring set {passwords.KEYRING_SERVICE} USER@HOST" in SECTION
    assert discovery.WELL_KNOWN in SECTION
