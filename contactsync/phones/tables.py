"""What kind of table a file is: a list or CSV, JSON lines, or the COPY blocks of a PostgreSQL dump.

All become parts that `records` can scan: octets and their layout. JSON lines are rewritten as COPY lines, one
for each, so that line numbers stay; UTF-16 becomes UTF-8. Nothing is ever held whole.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Protocol

from contactsync.foundation.errors import BadInput
from contactsync.phones.layout import (
    COLUMN,
    NONE,
    Columns,
    FieldPlaces,
    RecordLayout,
    about_columns,
    recognise,
)

TAB: Final = 9
NULL: Final = "\\N"
_HEAD: Final = 1 << 16  # octets in which a format shows itself
_TAKEN: Final = 1 << 20
_MOST_LINE: Final = 1 << 24  # octets of a line of SQL or JSON

_DECODE: Final = json.JSONDecoder().raw_decode
_SPACE: Final = " \t\r"
_COPY: Final = re.compile(
    rb'COPY ((?:"(?:[^"]|"")*"|[\w$]+)(?:\.(?:"(?:[^"]|"")*"|[\w$]+))?) \((.*)\) FROM stdin;\s*',
    re.IGNORECASE,
)
_NAME: Final = re.compile(rb'"((?:[^"]|"")*)"|([\w$]+)')
_SQL: Final = re.compile(rb"--|/\*|\$(?:[A-Za-z_\x80-\xff][\w\x80-\xff]*)?\$|['\"]")
_END: Final = re.compile(rb"^\\\.\r?(?:\n|\Z)", re.MULTILINE)
_DUMP: Final = re.compile(rb"^(?:-- PostgreSQL database dump|COPY .*FROM stdin;\s*$)", re.MULTILINE)


class Source(Protocol):
    """What can be read from."""

    def read(self, size: int, /) -> bytes:
        """Up to `size` octets; none only at the end."""


@dataclass(frozen=True, slots=True)
class Part:
    """Records of one layout: those in `head`, from `layout.start` on, and what follows it in `rest`."""

    layout: RecordLayout
    head: bytes
    rest: Source


def fill(source: Source, data: bytes, size: int) -> bytes:
    """`data` and what follows it in the source, up to `size` octets; fewer only at the end."""
    parts, missing = [data], size - len(data)
    while missing > 0 and (part := source.read(missing)):
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)


def parts_of(source: Source, name: str, columns: Columns, region: str | None, chunk: int) -> Iterator[Part]:
    """The parts of a file with numbers, in order. The content tells the format. Raises BadInput."""
    head = fill(source, b"", min(_HEAD, chunk))
    for mark, encoding in ((codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be")):
        if head.startswith(mark):
            source, head = _Transcoded(source, head[len(mark) :], encoding), b""
            head = fill(source, b"", min(_HEAD, chunk))
    plain = head.removeprefix(codecs.BOM_UTF8)
    start = plain.lstrip()[:1]
    if plain.startswith(b"PGDMP"):
        raise BadInput(
            f"{name} is a dump in PostgreSQL's custom format",
            hint="convert it: pg_restore --data-only -f - FILE",
        )
    if start == b"[":
        raise BadInput(f"{name} is one JSON array", hint="give JSON lines: jq -c '.[]' FILE")
    is_dump = start != b"{" and _DUMP.search(plain) is not None
    if columns.tables and not is_dump:
        raise BadInput(
            f"{name} is no PostgreSQL dump, so it has no table {columns.tables[0]}", hint="leave --table out"
        )
    if start == b"{":
        yield _json_part(_Joined(plain, source), name, columns, region)
    elif is_dump:
        yield from _Dump(_Joined(plain, source), name, columns, region).parts()
    else:
        head = fill(source, head, chunk)  # a first line may be long
        yield Part(recognise(head, name, columns, region), head, source)


class _Joined:
    """Octets, and then a source."""

    def __init__(self, head: bytes, rest: Source) -> None:
        self._head, self._rest = head, rest

    def read(self, size: int, /) -> bytes:
        if self._head:
            some, self._head = self._head[:size], self._head[size:]
            return some
        return self._rest.read(size)


class _Transcoded:
    """Text in another encoding, as UTF-8."""

    def __init__(self, source: Source, head: bytes, encoding: str) -> None:
        self._source = _Joined(head, source)
        self._decoder = codecs.getincrementaldecoder(encoding)("replace")
        self._ready = b""

    def read(self, size: int, /) -> bytes:
        while not self._ready:
            data = self._source.read(_TAKEN)
            self._ready = self._decoder.decode(data, final=not data).encode()
            if not data:
                break
        some, self._ready = self._ready[:size], self._ready[size:]
        return some


class _Lines:
    """The lines of a source, with their line ends; a line that is too long comes in pieces."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._data, self._at = b"", 0

    def __iter__(self) -> Iterator[bytes]:
        while line := self.line():
            yield line

    def line(self) -> bytes:
        """The next one; nothing at the end."""
        while (end := self._data.find(b"\n", self._at) + 1) == 0 and len(self._data) - self._at < _MOST_LINE:
            more = self._source.read(_TAKEN)
            if not more:
                break
            self._data, self._at = self._data[self._at :] + more, 0
        end = end or len(self._data)
        line, self._at = self._data[self._at : end], end
        return line

    def several(self) -> bytes:
        """The next whole lines, about `_TAKEN` octets; nothing at the end."""
        if self._at == len(self._data):
            self._data, self._at = self._source.read(_TAKEN), 0
        end = self._data.rfind(b"\n", self._at) + 1
        if not end:
            return self.line()
        lines, self._at = self._data[self._at : end], end
        return lines

    def give_back(self, data: bytes) -> None:
        """Return these next, before all else."""
        self._data, self._at = data + self._data[self._at :], 0


# ---- JSON lines --------------------------------------------------------------------------------------------


def _json_part(source: Source, name: str, columns: Columns, region: str | None) -> Part:
    faults: dict[int, str] = {}
    named = columns.number or columns.email or COLUMN
    places = [
        place if one else NONE
        for place, one in enumerate((columns.region, columns.identity, columns.label, columns.email), 1)
    ]
    layout = RecordLayout(TAB, NONE, 0 if columns.number else NONE, 0, 1, FieldPlaces(*places), named, faults)
    return Part(layout, b"", _JsonLines(source, name, columns, region, faults))


class _JsonLines:
    """The lines of a JSON lines file, each as a COPY line of number, region, identity, label and address.

    The last two are left out where none is wanted.
    """

    def __init__(
        self, source: Source, name: str, columns: Columns, region: str | None, faults: dict[int, str]
    ) -> None:
        self._lines = _Lines(source)
        self._wanted = [columns.number, columns.region or "", columns.identity or ""]
        if not columns.is_plain:
            self._wanted += [columns.label or "", columns.email or ""]
        self._tabs = len(self._wanted) - 1
        self._columns, self._region = columns, region
        self._faults = faults
        self._name = name
        self._number = 0
        self._ready = b""

    def read(self, size: int, /) -> bytes:
        if not self._ready and (data := self._lines.several()):
            try:
                lines = data.removesuffix(b"\n").decode().split("\n")
            except UnicodeDecodeError:  # it is known line by line where
                rows = [self._parsed(line) for line in data.removesuffix(b"\n").split(b"\n")]
            else:
                rows = self._converted(lines)
            # What no UTF-8 can hold stays that: a label is refused for it, not changed.
            self._ready = "".join(rows).encode("utf-8", "surrogatepass")
        some_of, self._ready = self._ready[:size], self._ready[size:]
        return some_of

    def _converted(self, lines: list[str]) -> list[str]:
        """About 2 µs for each line that is plain: an object whose values are text without escapes."""
        rows: list[str] = []
        wanted, odd = self._wanted, re.compile(r"[\\\n\r]").search
        for line in lines:
            if self._number:
                try:
                    row, end = _DECODE(line)
                    text = "\t".join([row[one] if one else "" for one in wanted])
                except (ValueError, RecursionError, KeyError, TypeError):
                    text, end = "\\", 0
                if text.count("\t") == self._tabs and not odd(text) and not line[end:].strip(_SPACE):
                    self._number += 1
                    rows.append(f"{text}\n")
                    continue
            rows.append(self._parsed(line.encode()))
        return rows

    def _parsed(self, line: bytes) -> str:
        """Any line."""
        self._number += 1
        if not line.strip():
            return "\n"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict):
            self._faults[self._number] = "not a JSON object on a line of its own"
            return "\\N\t\n"
        if not all(wanted in row for wanted in self._wanted if wanted):
            row = {key.strip().casefold(): value for key, value in row.items()} | row
        if self._number == 1:
            self._check(row)
        return "\t".join(escaped(_value(row, wanted)) for wanted in self._wanted) + "\n"

    def _check(self, row: dict[str, Any]) -> None:
        """The first line must have the columns; later ones may lack some."""
        names = list(dict.fromkeys(key.strip().casefold() for key in row))
        for wanted in self._wanted:
            if wanted and wanted not in row and wanted.strip().casefold() not in names:
                raise BadInput(
                    f"{self._name}, line 1: there is no field named {wanted}", hint=about_columns(names)
                )
        self._columns.check_region(names, self._region, self._name)


def _value(row: dict[str, Any], wanted: str) -> str:
    """A value as text: "" if it is missing, null, or no text and no whole number."""
    value = row.get(wanted, row.get(wanted.strip().casefold())) if wanted else None
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) else ""


def escaped(value: str) -> str:
    """A value as a field of a COPY line."""
    for sign, escape in (("\\", "\\\\"), ("\t", "\\t"), ("\n", "\\n"), ("\r", "\\r")):
        value = value.replace(sign, escape)
    return value


# ---- a PostgreSQL dump -------------------------------------------------------------------------------------


class _Dump:
    """The COPY blocks of a dump. SQL between them is skipped; what stands in its strings is never a block."""

    def __init__(self, source: Source, name: str, columns: Columns, region: str | None) -> None:
        self._lines = _Lines(source)
        self._name = name
        self._columns = columns
        self._region = region
        self._number = 0
        self._open = b""  # the quote that a line of SQL has left open

    def parts(self) -> Iterator[Part]:
        """The blocks of the tables that are asked for; of the one that has the columns, if none is."""
        asked = {table.casefold(): False for table in self._columns.tables}
        taken, seen = "", list[str]()
        for table, names in self._blocks():
            seen.append(table)
            plain = table.casefold()
            short = plain.rpartition(".")[2]
            if asked:
                mine = [one for one in asked if one in (plain, short)]
                asked.update(dict.fromkeys(mine, True))
                is_wanted = bool(mine)
            else:
                is_wanted = self._has_columns(names)
                if is_wanted and taken:
                    raise BadInput(
                        f"{self._name}: both {taken} and {table} have these columns",
                        hint="choose with --table",
                    )
            block = _Block(self._lines, f"{self._name}, table {table}")
            if is_wanted:
                taken = table
                yield Part(self._layout(table, names), b"", block)
            self._number += block.skip()
        missing = [table for table, found in asked.items() if not found]
        if missing or not taken:
            what = f"no table {missing[0]}" if missing else f"no table with {self._wanted_text()}"
            shown = ", ".join(seen[:20]) or "none: dump it without --inserts and without --schema-only"
            raise BadInput(f"{self._name}: the dump has {what}", hint=f"its tables with rows are: {shown}")

    def _wanted_text(self) -> str:
        return "the columns " + ", ".join(self._columns.wanted) if self._columns.wanted else "such columns"

    def _has_columns(self, names: list[str]) -> bool:
        return all(wanted.strip().casefold() in names for wanted in self._columns.wanted)

    def _layout(self, table: str, names: list[str]) -> RecordLayout:
        columns, where = self._columns, f"{self._name}, table {table}"
        named = columns.number or columns.email or COLUMN
        wanted = (columns.number, columns.region, columns.identity, columns.label, columns.email)
        column, *others = (columns.place(one, names, where) for one in wanted)
        columns.check_region(names, self._region, where)
        return RecordLayout(TAB, NONE, column, 0, self._number + 1, FieldPlaces(*others), named)

    def _blocks(self) -> Iterator[tuple[str, list[str]]]:
        """The table and the columns of each COPY statement; its rows are next in `_lines` then."""
        for line in self._lines:
            self._number += 1
            if not self._open and (found := _COPY.fullmatch(line)):
                names = [name.casefold() for name in _identifiers(found[2])]
                yield ".".join(_identifiers(found[1])), names
            else:
                self._scan(line)

    def _scan(self, line: bytes) -> None:
        """Follow quotes and comments through a line of SQL."""
        at = 0
        while True:
            if self._open:
                end = line.find(self._open, at)
                if end < 0:
                    return
                at, self._open = end + len(self._open), b""
            found = _SQL.search(line, at)
            if found is None or found[0] == b"--":
                return
            at, self._open = found.end(), b"*/" if found[0] == b"/*" else found[0]


def _identifiers(text: bytes) -> list[str]:
    """SQL identifiers, without the quotes around them."""
    names = (
        found[2] if found[1] is None else found[1].replace(b'""', b'"') for found in _NAME.finditer(text)
    )
    return [name.decode("utf-8", "replace") for name in names]


class _Block:
    r"""The rows of a COPY block, up to the line `\.` that ends it. Raises BadInput if that is missing."""

    def __init__(self, lines: _Lines, where: str) -> None:
        self._lines, self._where = lines, where
        self._ready = b""
        self._has_ended = False
        self.lines = 0

    def read(self, size: int, /) -> bytes:
        while not self._ready and not self._has_ended:
            data = self._lines.several()
            if not data:
                raise BadInput(
                    f"{self._where}: the dump is cut off", hint="make it again; nothing was changed"
                )
            end = _END.search(data)
            if end is not None:
                self._lines.give_back(data[end.end() :])
                self._has_ended = True
            self._ready = data[: end.start()] if end is not None else data
            self.lines += self._ready.count(b"\n") + self._has_ended
        some, self._ready = self._ready[:size], self._ready[size:]
        return some

    def skip(self) -> int:
        """Read what is left; how many lines it had, its end included."""
        while self.read(_TAKEN):
            pass
        return self.lines
