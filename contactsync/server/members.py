"""Files of members in: a list of phone numbers, or CSV with a column `phone`."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Final

import numpy as np

from contactsync.identifiers import Rejected, normalise
from contactsync.server.numbers import Numbers, number_of

COLUMN: Final = "phone"

OnBad = Callable[[int, str], None]
"""Called with the line and the reason, which holds nothing of the number."""

_CHUNK: Final = 1 << 17
_DELIMITERS: Final = ",;\t|"


def read_numbers(lines: Iterable[str], region: str | None, on_bad: OnBad) -> Iterator[Numbers]:
    """The numbers of a file, as ascending distinct arrays of bounded size; a bad line costs that line only.

    It is CSV if its first line names a column `phone` (any case; separated by comma, semicolon, tab or bar).
    Otherwise each line is a number; empty lines and lines that begin with `#` are skipped.
    """
    cells = _cells(iter(lines), on_bad)
    while chunk := list(itertools.islice(cells, _CHUNK)):
        numbers = []
        for line, text in chunk:
            try:
                numbers.append(number_of(normalise(text, region)))
            except Rejected as error:
                on_bad(line, error.reason)
        yield np.unique(np.array(numbers, np.uint64))


def _cells(lines: Iterator[str], on_bad: OnBad) -> Iterator[tuple[int, str]]:
    """Line numbers, from 1, and the text of the number there."""
    first = next(lines, "").removeprefix("\ufeff")
    for delimiter in _DELIMITERS:
        names = [name.strip().lower() for name in next(csv.reader([first], delimiter=delimiter), [])]
        if COLUMN in names:
            yield from _csv_cells(lines, delimiter, names.index(COLUMN), on_bad)
            return
    for line, text in enumerate(itertools.chain([first], lines), 1):
        if text.strip() and not text.startswith("#"):
            yield line, text.strip()


def _csv_cells(lines: Iterator[str], delimiter: str, column: int, on_bad: OnBad) -> Iterator[tuple[int, str]]:
    rows = csv.reader(lines, delimiter=delimiter)
    while True:
        line = rows.line_num + 2  # the first line of the row, which may have several; 1 is the header
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error:
            on_bad(line, "this row is not CSV")
            continue
        if not any(cell.strip() for cell in row):
            continue
        if len(row) <= column or not row[column].strip():
            on_bad(line, f"there is nothing in the column {COLUMN}")
            continue
        yield line, row[column].strip()
