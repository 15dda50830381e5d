"""docs/identifiers.md, further forms, a second time: the rows of the page's own table, and nothing else."""

import itertools
import re
from pathlib import Path
from typing import NamedTuple

PAGE = Path(__file__).resolve().parents[2] / "docs" / "identifiers.md"
ROW = re.compile(
    r"^\| `\+([\d \[\]-]+)` \| (\d)(?: or (\d))? \| `\+([\d \[\]-]+)` \| (nobody|the same line): ",
    re.MULTILINE,
)
SET = re.compile(r"\[([\d-]+)\]")
MOST = 3


class Row(NamedTuple):
    written: str
    lengths: tuple[int, ...]
    also: str
    reason: str


def digits_of(text: str) -> str:
    found = ""
    for part in re.findall(r"\d-\d|\d", text):
        first, last = part[0], part[-1]
        found += "".join(str(digit) for digit in range(int(first), int(last) + 1))
    return found


def rows() -> list[Row]:
    """All rows, a row with a set of digits once for each of them."""
    section = PAGE.read_text().partition("## Further forms\n")[2].partition("\n## ")[0]
    found = []
    for written, least, most, also, reason in ROW.findall(section):
        lengths = tuple(range(int(least), int(most or least) + 1))
        assert set(SET.findall(also)) == set(SET.findall(written))
        sets = SET.search(written)
        for digit in digits_of(sets.group(1)) if sets else [""]:
            begins = [SET.sub(digit, text).replace(" ", "") for text in (written, also)]
            found.append(Row(begins[0], lengths, begins[1], reason))
    assert len(ROW.findall(section)) == section.count("\n| `+") > 50, "a row that is not understood"
    return found


ROWS = rows()


def forms(identifier: str) -> list[str]:
    """The further forms of an identifier, nearest first."""
    found = [identifier]
    for at in itertools.count():
        if at >= len(found):
            return found[1:]
        digits = found[at].removeprefix("tel:+")
        for row in ROWS:
            rest = len(digits) - len(row.written)
            if digits.startswith(row.written) and rest in row.lengths:
                form = "tel:+" + row.also + digits[len(row.written) :]
                if form not in found and len(found) < MOST:
                    found.append(form)
    raise AssertionError
