"""The layout of a file of phone numbers: a plain list, or a table with columns.

`recognise` reads it from the first line of a list or a CSV; `tables` knows it for other formats.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from contactsync.foundation.errors import BadInput

COLUMN = "phone"
NONE = -1
MAX_RECORD = 1 << 16
"""Octets of a record. A longer record is refused."""
_HINT = "give a list with one number per line, or CSV whose first line names the columns, one of them `phone`"

_DELIMITERS = ",;\t|"
_SHOWN = 40  # column names
_LIKE_A_NUMBER = 5  # digits

_REGION_NAMES = frozenset(
    (
        *("region", "region_code", "region code", "country", "country_code", "country code", "countrycode"),
        *("country_iso", "iso_country", "iso", "iso2", "iso_2", "alpha2", "alpha_2", "phone_country"),
        *("phone_region", "land", "ländercode", "laendercode", "pays", "país", "pais"),
    )
)
"""What the column with the country of a number is called, if its name says so."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Which columns of a table are used: names (in any case), or numbers from 1.

    `region` has the two letters of a number's country; None: the caller has not said anything, "": there is
    none, whatever the columns are called. `identity` names a row to its owner. `tables` are the tables of a
    dump that are read; empty: the one that has these columns. `label` and `email` are further columns of a
    table of people (`phones.people`); only there `phone` may be "": no column has numbers.
    """

    phone: str | None = None
    region: str | None = None
    identity: str | None = None
    tables: tuple[str, ...] = ()
    label: str | None = None
    email: str | None = None

    def __post_init__(self) -> None:
        others = (
            ("region", self.region),
            ("id", self.identity),
            ("label", self.label),
            ("email", self.email),
        )
        for what, other in others:
            if other and other.strip().casefold() == self.number.strip().casefold():
                raise BadInput(
                    f"the column {other} cannot be both that of the number and that of the {what}",
                    hint=f"choose another --{what}-column, or leave it out",
                )

    @property
    def number(self) -> str:
        """The column of the number; "" if there is none."""
        return COLUMN if self.phone is None else self.phone

    @property
    def is_plain(self) -> bool:
        """Whether numbers are all that is read of a row, beside its region and identity."""
        return not self.label and not self.email

    @property
    def wanted(self) -> tuple[str, ...]:
        """What the table must have."""
        return tuple(filter(None, (self.number, self.region, self.identity, self.label, self.email)))

    def place(self, wanted: str | None, names: Sequence[str], where: str) -> int:
        """The index of a column; NONE if none is wanted. Raises BadInput: missing, or there twice."""
        if not wanted:
            return NONE
        plain = wanted.strip().casefold()
        found = [place for place, name in enumerate(names) if name == plain]
        if len(found) > 1:
            raise BadInput(f"{where} has more than one column named {wanted}", hint="give its number instead")
        if found:
            return found[0]
        if plain.isascii() and plain.isdecimal() and 0 < int(plain) <= len(names):
            return int(plain) - 1
        raise BadInput(f"{where}: there is no column named {wanted}", hint=about_columns(names))

    def check_region(self, names: Sequence[str], region: str | None, where: str) -> None:
        """Refuse a default region for a table that says where each number is from. Raises BadInput."""
        if self.region is None and region is not None:
            for name in names:
                if name in _REGION_NAMES:
                    raise BadInput(
                        f"{where} has a column {name}, but its numbers would all be read as of {region}",
                        hint=f"give --region-column {name!r} (or none, if it says something else)",
                    )


BY_DEFAULT: Final = Columns()
"""A column `phone`, and no other."""


def about_columns(names: Sequence[str]) -> str:
    """The columns that there are, unless they look like a row of values."""
    if any(sum(map(str.isdigit, name)) >= _LIKE_A_NUMBER for name in names):
        return "the first line names no columns: give their numbers, from 1"
    shown = ", ".join("".join(c for c in name if c.isprintable()) or "(no name)" for name in names[:_SHOWN])
    return f"its columns are: {shown}" + (", …" if len(names) > _SHOWN else "")


class FieldPlaces(NamedTuple):
    """Further fields (from 0) of a record, NONE if there are none: `identity` names it to its owner."""

    region: int = NONE
    identity: int = NONE
    label: int = NONE
    email: int = NONE


NO_FIELDS: Final = FieldPlaces()


@dataclass(frozen=True, slots=True)
class RecordLayout:
    """The number is field `column` (from 0) of a record. `delimiter`, `quote` are octets, NONE in a list.

    A table with a delimiter and no quote is escaped like PostgreSQL's COPY. The records begin at octet
    `start`, in line `line`. `named` is what errors call the column. `faults` are reasons for which the record
    of a line cannot be read.
    """

    delimiter: int
    quote: int
    column: int
    start: int
    line: int
    fields: FieldPlaces = NO_FIELDS
    named: str = field(default=COLUMN, compare=False)
    faults: Mapping[int, str] = field(default_factory=dict, compare=False)

    @property
    def is_copy(self) -> bool:
        """Whether fields are escaped like PostgreSQL's COPY."""
        return self.delimiter != NONE and self.quote == NONE

    def text(self, raw: bytes) -> str:
        """The text of a field, without its quotes."""
        try:
            text = raw.decode("utf-8").strip()
        except UnicodeDecodeError:
            text = raw.decode("cp1252", "replace").strip()
        if self.quote != NONE and text.startswith(chr(self.quote)):
            return _first_row(text, chr(self.delimiter))[0].strip()
        return unescape(text) if self.is_copy else text

    def octets(self, raw: bytes) -> bytes:
        """The octets of a field, without its quotes: as `text`, but what is no UTF-8 stays as it is."""
        text = raw.decode("utf-8", "surrogateescape").strip()
        if self.quote != NONE and text.startswith(chr(self.quote)):
            text = _first_row(text, chr(self.delimiter))[0].strip()
        elif self.is_copy:
            text = unescape(text)
        return text.encode("utf-8", "surrogateescape")


_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


def unescape(text: str) -> str:
    r"""The value of a field of a PostgreSQL COPY block; empty for `\N`, which is NULL."""
    if "\\" not in text:
        return text
    if text == "\\N":
        return ""
    out: list[str] = []
    at = 0
    while at < len(text):
        if text[at] != "\\" or at + 1 == len(text):
            out.append(text[at])
            at += 1
            continue
        at += 1
        for base, first, most, digits in ((16, "x", 2, "0123456789abcdefABCDEF"), (8, "", 3, "01234567")):
            begin = at + len(first)
            end = begin
            while end < len(text) and end - begin < most and text[end] in digits:
                end += 1
            if text.startswith(first, at) and end > begin:
                out.append(chr(int(text[begin:end], base) & 0xFF))
                at = end
                break
        else:
            out.append(_ESCAPES.get(text[at], text[at]))
            at += 1
    return "".join(out).strip()


def recognise(
    head: bytes, name: str, columns: Columns = BY_DEFAULT, region: str | None = None
) -> RecordLayout:
    """The layout of a list or a CSV that begins with `head`: at least its first line, unless it is too long.

    `region` is the default that the caller would use. Raises BadInput: not text, or a table without the
    columns, or with one that speaks against the default region.
    """
    if b"\0" in head:
        raise BadInput(f"{name} is not a text file", hint=_HINT)
    start = 3 if head.startswith(b"\xef\xbb\xbf") else 0
    if head[start : start + 11].upper() == b"BEGIN:VCARD":
        raise BadInput(f"{name} contains vCards, and is not a list or CSV", hint=_HINT)
    line = 1
    for first in head[start:].split(b"\n"):
        if first.strip() and not first.strip().lower().startswith(b"sep="):  # Excel's
            break
        start += len(first) + 1
        line += 1
    else:
        return RecordLayout(NONE, NONE, 0, min(start, len(head)), line)
    text = RecordLayout(NONE, NONE, 0, 0, 1).text(first[:MAX_RECORD])
    rows = {sign: [c.strip().casefold() for c in _first_row(text, sign)] for sign in _DELIMITERS}
    phone = (columns.number or columns.email or COLUMN).strip().casefold()
    for delimiter, names in rows.items():
        if phone in names:
            return _table(
                head, start, line, delimiter=delimiter, names=names, columns=columns, region=region, name=name
            )
    if columns.phone is not None or columns.region or columns.identity or not columns.is_plain:
        delimiter, names = max(rows.items(), key=lambda one: len(one[1]))
        return _table(
            head, start, line, delimiter=delimiter, names=names, columns=columns, region=region, name=name
        )
    if any(sign in text for sign in _DELIMITERS) and not any(sign.isdigit() for sign in text):
        delimiter, names = max(rows.items(), key=lambda one: len(one[1]))
        raise BadInput(
            f"{name}, line {line}: there is no column named {COLUMN}",
            hint=f"{about_columns(names)}; choose with --phone-column",
        )
    return RecordLayout(NONE, NONE, 0, start, line)


def _table(
    head: bytes,
    start: int,
    line: int,
    *,
    delimiter: str,
    names: Sequence[str],
    columns: Columns,
    region: str | None,
    name: str,
) -> RecordLayout:
    where = f"{name}, line {line}"
    wanted = (columns.number, columns.region, columns.identity, columns.label, columns.email)
    places = [columns.place(one, names, where) for one in wanted]
    named = columns.number or columns.email or COLUMN
    first = places[0] if columns.number else places[4]
    # A column that is not given by its name: the first line may be a row already.
    is_row = names[first] != named.strip().casefold() and (
        sum(map(str.isdigit, names[first])) > 2 or (not columns.number and "@" in names[first])
    )
    if not is_row:
        columns.check_region(names, region, name)
        start, line = head.find(b"\n", start) + 1 or len(head), line + 1
    column, *others = places
    return RecordLayout(ord(delimiter), ord('"'), column, start, line, FieldPlaces(*others), named)


def _first_row(text: str, delimiter: str) -> list[str]:
    """The fields of one record, at least one."""
    return next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), []) or [""]
