"""Contacts archives of macOS: a folder `….abbu` with databases, and a property list for each contact."""

from __future__ import annotations

import plistlib
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.parsers.expat import ExpatError

from contactsync.contacts.book import MAX_FILES, Entry, Fault, Number

DATABASE = "AddressBook-v22.abcddb"
_LIST = ".abcdp"
_MOST = 1 << 20  # bytes of one property list; a picture in it has a file of its own
_HINT = "in Contacts: File, Export, Export vCard"


def is_apple_archive(folder: Path) -> bool:
    """Whether a folder is an archive of Contacts, or the folder that Contacts keeps its data in."""
    return folder.suffix.lower() == ".abbu" or (folder / DATABASE).is_file()


def databases(folder: Path) -> list[Path]:
    """The databases of an archive: its own, and one for each account."""
    found = [folder / DATABASE, *sorted((folder / "Sources").glob(f"*/{DATABASE}"))]
    return [path for path in found if path.is_file()]


def read_lists(folder: Path) -> Iterator[tuple[Path, Entry | Fault]]:
    """The contacts of the property lists of an archive."""
    for count, path in enumerate(sorted(folder.glob(f"**/Metadata/*{_LIST}"))):
        if count >= MAX_FILES:
            yield folder, Fault("folder", f"more than {MAX_FILES:,} files", _HINT)
            return
        yield path, _read_list(path)


def _read_list(path: Path) -> Entry | Fault:
    try:
        with path.open("rb") as file:
            data = file.read(_MOST + 1)
        value = plistlib.loads(data) if len(data) <= _MOST else None
    except OSError:
        return Fault("file", "it cannot be read", "check its permissions")
    except (
        ValueError,
        TypeError,
        OverflowError,
        RecursionError,
        MemoryError,
        struct.error,
        ExpatError,
        AttributeError,
        LookupError,
    ):  # fmt: skip - whatever plistlib makes of broken data
        value = None
    if not isinstance(value, dict):
        return Fault("file", "a broken contact", _HINT)

    def text(key: str) -> str:
        found = value.get(key)
        return found.strip() if isinstance(found, str) else ""

    name = " ".join(part for part in (text("First"), text("Middle"), text("Last")) if part)

    def several(key: str) -> tuple[Number, ...]:
        listed: Any = value.get(key)
        values = listed.get("values") if isinstance(listed, dict) else None
        texts = [one for one in values if isinstance(one, str)] if isinstance(values, list) else []
        return tuple(Number(one, "contact") for one in texts if one.strip())

    mails = several("Email")
    name = name or text("Nickname") or text("Organization") or next((one.text for one in mails), "")
    return Entry(name, several("Phone"), "contact", mails=mails)
