"""One field of a book for e-mail → the identifiers in it. Several addresses in one field are taken apart."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from contactsync.identifiers import Rejected, mail

_MOST: Final = 64 * mail.MAX_TEXT  # characters of one field
# An address, or text in quotation marks or brackets, in which separators do not count. Bounded: what is never
# closed would take the square of a field. A longer text is no address in any case.
_PIECE: Final = re.compile(r'(?:"[^"]{0,1000}"|<[^>]{0,1000}>|[^,;|\r\n"<]|["<])+')
_APART: Final = re.compile(r":::|[,;|\r\n]")
_WORD: Final = re.compile(r"\S*@\S*")
_AROUND: Final = "<>()[]{}.,;:\"'`´‘’“”„«»"


def read_mails(text: str) -> Iterator[bytes | Rejected]:
    """The identifiers in a field, and a rejection for each part that is no address. Names are dropped."""
    if len(text) > _MOST:
        yield Rejected("too long for an e-mail address", "write one address in each field")
        return
    whole = _read(text)
    if isinstance(whole, bytes) or not _APART.search(text):
        yield whole
        return
    for piece in _PIECE.findall(text.replace(":::", "\n").replace("\\n", "\n")):
        if piece.strip():
            yield _read(piece)


def address_in(line: str) -> tuple[str, str, str] | None:
    """The name, the address and the rest of a line of a list: `Ann <ann@x.org>`, `Ann ann@x.org 030 1234`.

    None: there is not exactly one address in it.
    """
    if isinstance(_read(line), bytes):
        name = line.partition("<")[0].strip(' "') if "<" in line else ""
        return name, line, ""
    words = _WORD.findall(line[:_MOST])
    if len(words) != 1 or isinstance(_read(words[0].strip(_AROUND)), Rejected):
        return None
    return "", words[0].strip(_AROUND), line.replace(words[0], " ", 1).strip()


def is_address(text: str) -> bool:
    """Whether a cell or a line is one address, or several."""
    return "@" in text and any(isinstance(one, bytes) for one in read_mails(text))


def _read(text: str) -> bytes | Rejected:
    try:
        return mail.normalise(text)
    except Rejected as rejected:
        return rejected
