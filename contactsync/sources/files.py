"""Reads address books from files, folders, archives and standard input. The content tells the format."""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from contactsync.contacts.book import (
    MAX_DEPTH,
    MAX_FILE,
    MAX_FILES,
    AddressBook,
    Collector,
    Entry,
    Fault,
    TooMany,
)
from contactsync.contacts.dialling import Dialling
from contactsync.contacts.formats import entries_of
from contactsync.foundation.errors import BadInput
from contactsync.sources import apple, archives, databases
from contactsync.sources.fetched import FetchedBook

_STDIN = "-"
_CARD_SUFFIXES = {".vcf", ".vcard"}
_LEFT_BEHIND = re.compile(r"~$|^tmp\w+$|\.(?:tmp|bak|part)$", re.IGNORECASE)  # by an editor, or vdirsyncer
_OF_THE_FOLDER = {"displayname", "color", "thumbs.db", "desktop.ini"}  # vdirsyncer's and Windows' own


def read_address_books(
    sources: Sequence[str | Path | FetchedBook],
    *,
    region: str | None,
    stdin: BinaryIO | None = None,
    area_code: str | None = None,
    grouped: bool = False,
) -> AddressBook:
    """Read files, folders, `-` (standard input) and what was fetched into one address book.

    A folder stands for the .vcf files in it and below, except hidden ones. `region` (`"DE"`) is the country
    of numbers without a country code, `area_code` (`"030"`) what is dialled before local ones. `grouped`:
    keep which groups contacts are in. Entries that cannot be read are skipped and listed in `unreadable`.
    BadInput is raised only if a source does not exist or may not be read, or if there is no such region or
    area code.
    """
    collector = Collector(Dialling(region, area_code), grouped=grouped)
    try:
        for source in sources:
            if isinstance(source, FetchedBook):
                _read_fetched(source, collector)
            elif not str(source):  # Path would take it for the current folder
                raise BadInput("the name of a file is empty", hint="give a file, a folder, or - for stdin")
            elif source == _STDIN:
                _read_file("standard input", stdin or sys.stdin.buffer, collector)
            elif Path(source).is_dir():
                _read_folder(Path(source), collector)
            else:
                try:
                    with Path(source).open("rb") as file:
                        _read_file(_display(source), file, collector)
                    _check_log(Path(source), collector)
                except (OSError, ValueError) as error:  # ValueError: a null character in the name
                    raise _cannot_read(source, error) from None
    except TooMany:
        pass
    collector.join_groups()
    return collector.book


def _read_file(name: str, file: BinaryIO, collector: Collector) -> None:
    """Read one file of any kind. Zip files are read in place, so they may be larger than others."""
    head = file.read(4)
    collector.book.files += 1
    if head == archives.ZIP and file.seekable():
        _read_zip(name, file, collector)
        return
    data = head + file.read(MAX_FILE + 1 - len(head))
    if len(data) > MAX_FILE:
        collector.report(name, Fault("file", f"larger than {MAX_FILE >> 20} MiB", "split it"))
    elif head == archives.ZIP:
        _read_zip(name, io.BytesIO(data), collector)
    elif head.startswith(archives.GZIP):
        unpacked = archives.gunzipped(io.BytesIO(data))
        if isinstance(unpacked, Fault):
            collector.report(name, unpacked)
        else:
            _read_data(name, unpacked, collector)
    else:
        _read_data(name, data, collector)


def _read_data(name: str, data: bytes, collector: Collector) -> None:
    if data.startswith(databases.SQLITE):
        collector.add(name, databases.read_database(data))
    else:
        collector.add(name, entries_of(data, collector.region))


def _read_fetched(book: FetchedBook, collector: Collector) -> None:
    collector.book.files += 1
    for fault in book.faults:
        collector.report(book.name, fault)
    for name, data in book.cards:
        collector.add(f"{book.name}, {name}", entries_of(data, collector.region))


def _read_zip(name: str, file: BinaryIO, collector: Collector) -> None:
    for member, content in archives.members(file):
        place = f"{name}: {_printable(member)}" if member else name
        if isinstance(content, Fault):
            collector.report(place, content)
        else:
            _read_data(place, content, collector)


def _check_log(path: Path, collector: Collector) -> None:
    """Report changes that a program has not yet written into its database."""
    with path.open("rb") as file:
        is_database = file.read(len(databases.SQLITE)) == databases.SQLITE
    log = path.with_name(path.name + "-wal")
    if is_database and log.is_file() and log.stat().st_size:
        reason = "a program has the database open: its latest changes are not read"
        collector.report(_display(path), Fault("file", reason, "close the program, then read it again"))


def _read_folder(folder: Path, collector: Collector) -> None:
    if apple.is_apple_archive(folder):
        _read_apple_archive(folder, collector)
        return
    files = 0
    others: list[str] = []
    for path in _card_files(folder, collector, others):
        files += 1
        if files > MAX_FILES:
            fault = Fault("folder", f"more than {MAX_FILES:,} files", "split it")
            collector.report(_display(folder), fault)
            return
        try:
            if not path.is_file():  # a pipe would never end
                collector.report(_display(path), Fault("file", "not a file, or a broken link"))
                continue
            with path.open("rb") as file:
                _read_file(_display(path), file, collector)
        except OSError as error:
            collector.report(_display(path), Fault("file", _why(error), "check its permissions"))
    if not files:
        collector.report(_display(folder), Fault("folder", "no .vcf file in it", "give the file itself"))
    if others:
        passed = archives.passed_over(others, "a folder stands for its .vcf files; give others by name")
        collector.report(_display(folder), passed._replace(place="folder"))


def _read_apple_archive(folder: Path, collector: Collector) -> None:
    before = len(collector.book.contacts)
    for path in apple.databases(folder):
        try:
            with path.open("rb") as file:
                _read_file(_display(path), file, collector)
            _check_log(path, collector)
        except OSError as error:
            collector.report(_display(path), Fault("file", _why(error), "check its permissions"))
    if len(collector.book.contacts) > before:
        return
    found = False
    for path, one in apple.read_lists(folder):
        found = found or isinstance(one, Entry)
        collector.add(_display(path), [one])
    if not found:
        hint = "in Contacts: File, Export, Export vCard"
        collector.report(_display(folder), Fault("folder", "no contact in the archive", hint))


def _card_files(folder: Path, collector: Collector, others: list[str]) -> Iterator[Path]:
    """The .vcf files in a folder and below, sorted, without hidden ones. Adds to `others` what is not one."""

    def unreadable(error: OSError) -> None:
        if Path(error.filename) == folder:
            raise _cannot_read(folder, error)
        collector.report(_display(error.filename), Fault("folder", _why(error), "check its permissions"))

    for parent, folders, names in os.walk(folder, onerror=unreadable):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if folders and len(Path(parent).relative_to(folder).parts) >= MAX_DEPTH:
            collector.report(_display(parent), Fault("folder", f"more than {MAX_DEPTH} folders deep"))
            folders.clear()
        for name in sorted(names):
            if name.startswith(".") or _LEFT_BEHIND.search(name):
                continue
            if Path(name).suffix.lower() in _CARD_SUFFIXES:
                yield Path(parent, name)
            elif name.lower() not in _OF_THE_FOLDER and len(others) < MAX_FILES:
                others.append(_printable(name))


def _cannot_read(source: str | Path, error: OSError | ValueError) -> BadInput:
    return BadInput(f"cannot read {_display(source)}: {_why(error)}", hint="check its name and permissions")


def _why(error: OSError | ValueError) -> str:
    return (error.strerror or "input/output error").lower() if isinstance(error, OSError) else "no such file"


def _display(path: str | Path) -> str:
    """The path as text that any terminal can print."""
    return _printable(os.fsencode(path).decode("utf-8", "replace"))


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)
