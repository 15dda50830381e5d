"""Changes a card where it is: in a file, or on a CardDAV server. What changed meanwhile is left alone."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from contactsync.carddav.connection import DavConnection
from contactsync.carddav.store import tag_of
from contactsync.contacts.book import MAX_FILE
from contactsync.contacts.categories import cards_in
from contactsync.foundation import durable

CHANGED: Final = "it was changed meanwhile"

Change = Callable[[bytes], bytes | None]
"""Takes a card, and returns it changed, or None if there is nothing to change. Raises BadInput."""


class NotChanged(Exception):
    """A card cannot be changed; the text says why. Nothing was written."""


@dataclass(frozen=True, slots=True)
class SeenFile:
    """A file as it was read: what it holds, and how to tell that it is still the same."""

    path: Path
    data: bytes
    seen: os.stat_result


def card_files(source: Path) -> Iterator[Path]:
    """The files that a folder stands for, as `sources` reads it; a file stands for itself."""
    if not source.is_dir():
        yield source
        return
    for parent, folders, names in os.walk(source):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith(".") and name.lower().endswith((".vcf", ".vcard")):
                yield Path(parent, name)


def read_file(path: Path) -> SeenFile:
    """Read a file to change it. Raises NotChanged if it must not be replaced, OSError."""
    path = path.resolve()  # a link stays one
    with path.open("rb") as file:
        seen = os.fstat(file.fileno())
        if not stat.S_ISREG(seen.st_mode):
            raise NotChanged("it is not a file")
        data = file.read(MAX_FILE + 1)
    if len(data) > MAX_FILE:
        raise NotChanged(f"it is larger than {MAX_FILE >> 20} MiB")
    if seen.st_nlink > 1:
        raise NotChanged("it has another name (a hard link), which would keep the old card")
    if seen.st_uid != os.geteuid() or not os.access(path, os.W_OK) or not os.access(path.parent, os.W_OK):
        raise NotChanged("you may not change it")
    return SeenFile(path, data, seen)


def replace_file(file: SeenFile, data: bytes) -> None:
    """Replace a file, durably. Raises NotChanged if it is not as it was read, OSError."""
    with durable.replacing(file.path, mode=stat.S_IMODE(file.seen.st_mode)) as new:
        new.write(data)
        os.fchmod(new.fileno(), stat.S_IMODE(file.seen.st_mode))  # whatever the umask is
        now = file.path.stat()
        if any(getattr(now, one) != getattr(file.seen, one) for one in ("st_ino", "st_size", "st_mtime_ns")):
            raise NotChanged(CHANGED)


def change_on_server(connection: DavConnection, path: str, etag: str | None, change: Change) -> bytes | None:
    """Change a card on a server if it still has this ETag (None: any). Returns it; None if it was right.

    Raises NotChanged, BadInput (from `change`), and what `DavConnection` raises.
    """
    got = connection.get(path)
    if got is None:
        raise NotChanged("it is no longer there")
    data, now = got
    if etag is not None and tag_of(now) != tag_of(etag):
        raise NotChanged(CHANGED)
    if not now.startswith('"'):  # RFC 9110 §13.1.1: If-Match compares strongly
        raise NotChanged("the server states no ETag that would protect somebody else's change")
    if len(cards_in(data)) != 1:
        raise NotChanged("it is not one card")
    ((start, end),) = cards_in(data)
    card = change(data[start:end])
    if card is None:
        return None
    status, _ = connection.put(path, data[:start] + card + data[end:], now)
    if status == 412:
        raise NotChanged(CHANGED)
    if not 200 <= status < 300:
        raise NotChanged(f"the server refused it: status {status}")
    return card
