"""Reads address books from files, folders of .vcf files, and standard input. The content tells the format."""

from __future__ import annotations

import os
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
    Fault,
    TooMany,
)
from contactsync.contacts.dialling import Dialling
from contactsync.contacts.formats import entries_of
from contactsync.foundation.errors import BadInput
from contactsync.sources.fetched import FetchedBook

_STDIN = "-"
_CARD_SUFFIXES = {".vcf", ".vcard"}


def read_address_books(
    sources: Sequence[str | Path | FetchedBook], *, region: str | None, stdin: BinaryIO | None = None
) -> AddressBook:
    """Read files, folders, `-` (standard input) and what was fetched into one address book.

    A folder stands for the .vcf files in it and below, except hidden ones. `region` (`"DE"`) is the country
    of numbers without a country code. Entries that cannot be read are skipped and listed in `unreadable`.
    BadInput is raised only if a source does not exist or may not be read, or if there is no such region.
    """
    collector = Collector(Dialling(region))
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
                except (OSError, ValueError) as error:  # ValueError: a null character in the name
                    raise _cannot_read(source, error) from None
    except TooMany:
        pass
    return collector.book


def _read_file(name: str, file: BinaryIO, collector: Collector) -> None:
    data = file.read(MAX_FILE + 1)
    collector.book.files += 1
    if len(data) > MAX_FILE:
        collector.report(name, Fault("file", f"larger than {MAX_FILE >> 20} MiB", "split it"))
    else:
        collector.add(name, entries_of(data, collector.region))


def _read_fetched(book: FetchedBook, collector: Collector) -> None:
    collector.book.files += 1
    for fault in book.faults:
        collector.report(book.name, fault)
    for name, data in book.cards:
        collector.add(f"{book.name}, {name}", entries_of(data, collector.region))


def _read_folder(folder: Path, collector: Collector) -> None:
    files = 0
    for path in _card_files(folder, collector):
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


def _card_files(folder: Path, collector: Collector) -> Iterator[Path]:
    """The .vcf files in a folder and below, sorted, without hidden files and folders."""

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
            if not name.startswith(".") and Path(name).suffix.lower() in _CARD_SUFFIXES:
                yield Path(parent, name)


def _cannot_read(source: str | Path, error: OSError | ValueError) -> BadInput:
    return BadInput(f"cannot read {_display(source)}: {_why(error)}", hint="check its name and permissions")


def _why(error: OSError | ValueError) -> str:
    return (error.strerror or "input/output error").lower() if isinstance(error, OSError) else "no such file"


def _display(path: str | Path) -> str:
    """The path as text that any terminal can print."""
    text = os.fsencode(path).decode("utf-8", "replace")
    return "".join(character if character.isprintable() else "?" for character in text)
