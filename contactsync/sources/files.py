"""Where address books come from: files, folders of .vcf, standard input. Content tells the format."""

from __future__ import annotations

import itertools
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
    MAX_LINE,
    AddressBook,
    Collector,
    Entry,
    Problem,
    TooMany,
)
from contactsync.contacts.csvbook import Table, read_table, table_of
from contactsync.contacts.plain import is_number_line, read_list, without_comment
from contactsync.contacts.text import text_lines, to_ascii_superset
from contactsync.contacts.vcard import read_vcards
from contactsync.foundation.errors import BadInput
from contactsync.identifiers import check_region

_STDIN = "-"
_CARD_SUFFIXES = {".vcf", ".vcard"}
_SAMPLE_LINES = 50
_BEGIN = re.compile(rb"(?:\A|[\r\n])BEGIN[ \t]*:[ \t]*VCARD", re.IGNORECASE)

# How other files begin, and what to do with them.
_OTHERS = (
    (b"PK\x03\x04", "a workbook or an archive", "save it as CSV, or unpack it"),
    (b"\xd0\xcf\x11\xe0", "an Office file", "save it as CSV"),
    (b"\x1f\x8b", "a compressed file", "unpack it"),
    (b"SQLite format 3\0", "a database", "export the contacts as vCard"),
    (b"%PDF", "a PDF", "export the contacts as vCard"),
    (b"{", "JSON", "export the contacts as vCard or CSV"),
    (b"<", "XML or a web page", "export the contacts as vCard or CSV"),
)


def read_address_books(
    sources: Sequence[str | Path], *, region: str | None, stdin: BinaryIO | None = None
) -> AddressBook:
    """Read files, folders and `-` (standard input) into one address book.

    A folder stands for the .vcf files in it and below, hidden ones left out. `region` is where numbers
    without country code belong (`"DE"`). What cannot be read is in `unreadable` and costs that entry only;
    BadInput is raised only if a source does not exist, or may not be read, or if there is no such region.
    """
    collector = Collector(check_region(region) if region is not None else None)
    try:
        for source in sources:
            if not str(source):  # Path would take it for the folder one is in
                raise BadInput("an address book without a name", hint="give a file, a folder, or - for stdin")
            if source == _STDIN:
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


def entries_of(data: bytes) -> Iterator[Entry | Problem]:
    """The entries of one file's bytes, whatever its format. Never raises."""
    data = to_ascii_superset(data)
    begin = _BEGIN.search(data)
    if begin is not None and not data[: begin.start()].strip():
        return read_vcards(data)
    problem = _foreign(data)
    if problem is not None:
        return iter([problem])
    table = table_of(_sample(data))
    if begin is not None and not (table and table.headed and table.phones):  # a table may hold cards in notes
        return read_vcards(data)
    return _lines_or_table(data, table)


def _sample(data: bytes) -> list[str]:
    beginning = text_lines(data[: 16 * MAX_LINE])
    return [line[:MAX_LINE] for line in itertools.islice(beginning, _SAMPLE_LINES)]


def _foreign(data: bytes) -> Problem | None:
    """What a file is that is none of ours."""
    if not data.strip():
        return Problem("file", "there is nothing in it")
    for mark, what, hint in _OTHERS:
        if data.startswith(mark):
            return Problem("file", f"{what} is not an address book", hint)
    return None


def _lines_or_table(data: bytes, table: Table | None) -> Iterator[Entry | Problem]:
    """A table if its header says so or it has names beside numbers; else a list, if there is a number."""
    filled = [line for line in map(without_comment, _sample(data)) if line]
    numeric = sum(map(is_number_line, filled))
    if table is not None and table.phones:
        if table.headed or table.full_name or 2 * numeric <= len(filled):
            return read_table(text_lines(data), table)
    elif table is not None and not numeric:
        return iter([Problem("line 1", "no column with phone numbers", "call that column phone")])
    if numeric:
        return read_list(text_lines(data))
    return iter([Problem("file", "not an address book", "give vCard, CSV or one number a line")])


def _read_file(name: str, file: BinaryIO, collector: Collector) -> None:
    data = file.read(MAX_FILE + 1)
    collector.book.files += 1
    if len(data) > MAX_FILE:
        collector.report(name, Problem("file", f"larger than {MAX_FILE >> 20} MiB", "split it"))
    else:
        collector.add(name, entries_of(data))


def _read_folder(folder: Path, collector: Collector) -> None:
    files = 0
    for path in _card_files(folder, collector):
        files += 1
        if files > MAX_FILES:
            problem = Problem("folder", f"more than {MAX_FILES:,} files", "split it")
            collector.report(_display(folder), problem)
            return
        try:
            if not path.is_file():  # a pipe would never end
                collector.report(_display(path), Problem("file", "not a file, or a link to nothing"))
                continue
            with path.open("rb") as file:
                _read_file(_display(path), file, collector)
        except OSError as error:
            collector.report(_display(path), Problem("file", _why(error), "check its permissions"))
    if not files:
        collector.report(_display(folder), Problem("folder", "no .vcf file in it", "name the file itself"))


def _card_files(folder: Path, collector: Collector) -> Iterator[Path]:
    """The .vcf files in a folder and below, sorted, hidden ones and what lies in hidden folders left out."""

    def unreadable(error: OSError) -> None:
        if Path(error.filename) == folder:
            raise _cannot_read(folder, error)
        collector.report(_display(error.filename), Problem("folder", _why(error), "check its permissions"))

    for parent, folders, names in os.walk(folder, onerror=unreadable):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if folders and len(Path(parent).relative_to(folder).parts) >= MAX_DEPTH:
            collector.report(_display(parent), Problem("folder", f"more than {MAX_DEPTH} folders deep"))
            folders.clear()
        for name in sorted(names):
            if not name.startswith(".") and Path(name).suffix.lower() in _CARD_SUFFIXES:
                yield Path(parent, name)


def _cannot_read(source: str | Path, error: OSError | ValueError) -> BadInput:
    return BadInput(f"cannot read {_display(source)}: {_why(error)}", hint="check name and permissions")


def _why(error: OSError | ValueError) -> str:
    return (error.strerror or "input/output error").lower() if isinstance(error, OSError) else "no such file"


def _display(path: str | Path) -> str:
    """A path that any terminal can print."""
    text = os.fsencode(path).decode("utf-8", "replace")
    return "".join(character if character.isprintable() else "?" for character in text)
