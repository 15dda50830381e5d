"""Bytes to text, for files that do not state their encoding."""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark is the beginning of this one
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_SAMPLE = 4096


def to_ascii_superset(data: bytes) -> bytes:
    """The data without a byte order mark, UTF-16 and UTF-32 converted to UTF-8, anything else unchanged.

    UTF-16 without a mark is recognised by its zero bytes: each ASCII character has one, on the same side.
    """
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            data = data[len(mark) :]
            return data if encoding == "utf-8" else data.decode(encoding, "replace").encode()
    sample = data[:_SAMPLE]
    half = len(sample) // 2
    if half:
        for encoding, zeros, others in (("utf-16-le", 1, 0), ("utf-16-be", 0, 1)):
            if sample[zeros::2].count(0) > half // 2 and not sample[others::2].count(0):
                return data.decode(encoding, "replace").encode()
    return data


def decode(data: bytes) -> str:
    """Decode UTF-8, or else Windows-1252, the encoding of old Western European exports. Never fails."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")


def byte_lines(data: bytes) -> Iterator[bytes]:
    """The lines without their line ends. These may be LF, CRLF or CR, also mixed."""
    for line in io.BytesIO(data):
        if b"\r" in line:
            yield from line.removesuffix(b"\n").removesuffix(b"\r").split(b"\r")
        else:
            yield line.removesuffix(b"\n")


def text_lines(data: bytes) -> Iterator[str]:
    """The same as text. Each line is decoded by itself, so that a broken line does not affect the others."""
    return map(decode, byte_lines(data))
