"""Compressed books: gzip, and the zip files of Google Takeout and iCloud. Nothing is unpacked to a disk.

What is unpacked in memory is bounded, whatever an archive says of its sizes.
"""

from __future__ import annotations

import gzip
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import BinaryIO

from contactsync.contacts.book import MAX_FILE, MAX_FILES, Fault

GZIP, ZIP = b"\x1f\x8b", b"PK\x03\x04"
_MAX_DIRECTORY = 32 << 20  # bytes of a zip's list of files: some 200,000
_END = b"PK\x05\x06"
_END_BYTES = 22
_MAX_COMMENT = 0xFFFF
_CARDS = {".vcf", ".vcard"}
_OTHERS = {".csv", ".ldif", ".ldi", ".json", ".xml"}
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError, RuntimeError)


def gunzipped(file: BinaryIO) -> bytes | Fault:
    """The content of a gzip file."""
    try:
        data = gzip.GzipFile(fileobj=file).read(MAX_FILE + 1)
    except (OSError, EOFError, zlib.error):
        return Fault("file", "the compressed file is broken", "export or download it again")
    if len(data) > MAX_FILE:
        return Fault("file", f"larger than {MAX_FILE >> 20} MiB when unpacked", "split it")
    return data


def members(file: BinaryIO) -> Iterator[tuple[str, bytes | Fault]]:
    """The books in a zip file: name and content of each, or a fault; a fault of the whole has no name.

    The cards are read; if there are none, the tables and other books. `file` can be sought.
    """
    size = _directory_size(file)
    if size is None or size > _MAX_DIRECTORY:
        reason = "the archive is broken" if size is None else "too many files in the archive"
        yield "", Fault("file", reason, "download it again" if size is None else "unpack it")
        return
    try:
        archive = zipfile.ZipFile(file)
    except _BROKEN:
        yield "", Fault("file", "the archive is broken", "download it again")
        return
    with archive:
        everything = [
            info
            for info in archive.infolist()
            if not info.filename.endswith("/") and not _is_hidden(info.filename)
        ]
        names = {info.filename for info in everything}
        if "[Content_Types].xml" in names or "mimetype" in names:
            yield "", Fault("file", "a workbook or a document is not an address book", "save it as CSV")
            return
        wanted = [info for info in everything if _suffix(info.filename) in _CARDS]
        wanted = wanted or [info for info in everything if _suffix(info.filename) in _OTHERS]
        budget = MAX_FILE
        for info in wanted[:MAX_FILES]:
            content = _content(archive, info, budget)
            budget -= 0 if isinstance(content, Fault) else len(content)
            yield info.filename, content
        if len(wanted) > MAX_FILES:
            yield "", Fault("file", f"more than {MAX_FILES:,} files in the archive", "split it")
        others = (
            [info.filename for info in everything if info not in set(wanted)]
            if len(everything) > len(wanted)
            else []
        )
        if others:
            yield "", passed_over(others, "unpack it, and give the file that holds your contacts")
        elif not wanted:
            yield "", Fault("file", "the archive holds no address book", "give vCard or CSV")


def passed_over(names: list[str], hint: str) -> Fault:
    """One report of files that were not read: how many, and of which kinds."""
    kinds = Counter(_suffix(name) or "no suffix" for name in names)
    listed = ", ".join(re.sub(r"[^\w.]|\d{4,}", "", kind) for kind, _ in kinds.most_common(6))
    more = ", …" if len(kinds) > 6 else ""
    count = "1 file was" if len(names) == 1 else f"{len(names):,} files were"
    return Fault("file", f"{count} passed over ({listed}{more})", hint)


def _content(archive: zipfile.ZipFile, info: zipfile.ZipInfo, budget: int) -> bytes | Fault:
    if info.flag_bits & 1:
        return Fault("file", "it is encrypted", "unpack it with its password")
    if info.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        return Fault("file", "a compression that is not read", "unpack it")
    try:
        with archive.open(info) as member:
            data = member.read(budget + 1)
    except _BROKEN:
        return Fault("file", "it is broken in the archive", "download it again")
    if len(data) > budget:
        return Fault("file", f"the archive is larger than {MAX_FILE >> 20} MiB when unpacked", "unpack it")
    return data


def _directory_size(file: BinaryIO) -> int | None:
    """The bytes of the list of files, from the record at the end; None if there is no such record."""
    length = file.seek(0, 2)
    file.seek(max(0, length - _END_BYTES - _MAX_COMMENT))
    tail = file.read(_END_BYTES + _MAX_COMMENT)
    at = tail.rfind(_END)
    file.seek(0)
    return None if at < 0 or at + 16 > len(tail) else int.from_bytes(tail[at + 12 : at + 16], "little")


def _suffix(name: str) -> str:
    return PurePosixPath(name.replace("\\", "/")).suffix.lower()


def _is_hidden(name: str) -> bool:
    parts = PurePosixPath(name.replace("\\", "/")).parts
    return any(part.startswith(".") or part == "__MACOSX" for part in parts)
