"""Bytes to text, for files that do not state their encoding."""

from __future__ import annotations

import binascii
import codecs
import re
from collections.abc import Iterator
from functools import cached_property

from contactsync.contacts.charsets import charset_of

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark is the beginning of this one
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_SAMPLE = 4096
_FEW_ZEROS = 16  # of so many characters, one is ASCII even in another script: a space, a line end, a digit
_INNER_UTF16 = re.compile(rb"\xff\xfe(?=[\t\r\n\x20-\x7e]\x00)")
_ISO_2022 = re.compile(rb"\x1b\$[@B]")
_NOT_ASCII = re.compile(rb"[\x80-\xff]")
_QUOTED = re.compile(rb"[^\r\n]{0,200}QUOTED-PRINTABLE[^\r\n:]{0,200}:([^\r\n]*)", re.IGNORECASE)
_FOLD = re.compile(rb"(?:\r\n|\n|\r)[ \t]")
_MOST_LINES = 200
_WINDOW = 1 << 16
_JUDGED = 500  # bytes of a line
_CHUNK = 1 << 22


def to_ascii_superset(data: bytes) -> bytes:
    """The data in UTF-8 or another superset of ASCII, without byte order marks, wherever they stand.

    Marks stand inside a file if exports were put together. UTF-16 without a mark is recognised by its zero
    bytes: each ASCII character has one, on the same side.
    """
    data = _converted(data)
    if codecs.BOM_UTF8 in data:
        data = data.replace(codecs.BOM_UTF8, b"")
    if _ISO_2022.search(data, 0, 1 << 16) and data.isascii():
        data = data.decode("iso2022_jp_ext", "replace").encode()
    return data


def _converted(data: bytes) -> bytes:
    inner = _INNER_UTF16.search(data) if codecs.BOM_UTF16_LE in data else None
    if inner is not None and inner.start() and b"\0" not in data[: inner.start()]:
        # An export in UTF-16 behind one in UTF-8.
        return data[: inner.start()] + data[inner.start() :].decode("utf-16-le", "replace").encode()
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            data = data[len(mark) :]
            return data if encoding == "utf-8" else data.decode(encoding, "replace").encode()
    sample = data[:_SAMPLE]
    half = len(sample) // 2
    if half:
        for encoding, zeros, others in (("utf-16-le", 1, 0), ("utf-16-be", 0, 1)):
            if sample[zeros::2].count(0) > max(3, half // _FEW_ZEROS) and not sample[others::2].count(0):
                return data.decode(encoding, "replace").encode()
    return data


class Decoder:
    """Decodes the parts of a book: as UTF-8, or in the charset that the whole book is most likely in."""

    def __init__(self, data: bytes, region: str | None = None) -> None:
        self._data = data
        self._region = region

    def decode(self, part: bytes) -> str:
        """Never fails: what is in no charset becomes U+FFFD."""
        if part.isascii():
            return part.decode("ascii")
        if not self._is_other:
            try:
                return part.decode("utf-8")
            except UnicodeDecodeError:
                pass
        return part.decode(self._charset, "replace")

    @cached_property
    def _samples(self) -> list[bytes]:
        """Lines that are not ASCII and say nothing of their charset; decoded if they are quoted-printable."""
        found: list[bytes] = []
        position = 0
        while len(found) < _MOST_LINES and (match := _NOT_ASCII.search(self._data, position)) is not None:
            at = match.start()
            start = self._data.rfind(b"\n", max(0, at - _WINDOW), at) + 1 or at
            position = self._data.rfind(b"\n", at, start + _WINDOW) + 1 or start + _WINDOW
            found += [
                line[:_JUDGED]
                for line in _FOLD.sub(b"", self._data[start:position]).splitlines()
                if not line.isascii() and b"charset" not in line[:200].partition(b":")[0].lower()
            ]
        if not found:
            found = [
                binascii.a2b_qp(quoted.group(1).removesuffix(b"="))
                for quoted in _QUOTED.finditer(self._data[: 1 << 20])
                if b"charset" not in quoted.group().partition(b":")[0].lower()
            ]
        return [line for line in found if not line.isascii()][:_MOST_LINES]

    @cached_property
    def _is_other(self) -> bool:
        """Whether most lines are not UTF-8: then none is, even if its bytes could be."""
        good = sum(map(_is_utf8, self._samples))
        return 2 * good < len(self._samples)

    @cached_property
    def _charset(self) -> str:
        return charset_of([line for line in self._samples if not _is_utf8(line)], self._region)


def _is_utf8(line: bytes) -> bool:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(line)  # it may be cut
    except UnicodeDecodeError:
        return False
    return True


def byte_lines(data: bytes) -> Iterator[bytes]:
    """The lines without their line ends. These may be LF, CRLF or CR, also mixed."""
    for chunk in chunks(data):
        yield from chunk.splitlines()


def chunks(data: bytes) -> Iterator[bytes]:
    """The data in pieces of whole lines, so that their lines do not all need memory at once."""
    start = 0
    while start < len(data):
        end = data.find(b"\n", start + _CHUNK) + 1
        if not end:  # no more lines, or line ends that are CR alone
            end = data.find(b"\r", start + _CHUNK) + 1 or len(data)
        yield data[start:end] if start or end < len(data) else data
        start = end


def text_lines(data: bytes, decoder: Decoder | None = None) -> Iterator[str]:
    """The same as text. Each line is decoded by itself, so that a broken line does not affect the others."""
    return map((decoder or Decoder(data)).decode, byte_lines(data))
