"""What stores of members tell: what a change did, and what is stored about a member."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any, Final

from contactsync.foundation.audiences import AUDIENCES
from contactsync.foundation.errors import BadInput

MOST_TEXT: Final = 200
"""Characters of a source, and of a name."""

_EPOCH: Final = date(1970, 1, 1).toordinal()


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a change of consent came from (`"app 3.1"`), and who made it; `by` may be empty.

    Raises BadInput unless both are short, and printable.
    """

    source: str
    by: str = ""

    def __post_init__(self) -> None:
        for what, text in (("source", self.source), ("name", self.by)):
            if len(text) > MOST_TEXT or not text.isprintable():
                raise BadInput(
                    f"the {what} of a change is longer than {MOST_TEXT} characters, or cannot be printed",
                    hint='write something like "app 3.1"',
                )
        if not self.source.strip():
            raise BadInput("the source of a change is empty", hint='write something like "app 3.1"')


NOT_STATED: Final = Origin("not stated")


@dataclass(frozen=True, slots=True)
class Added:
    """What came of adding members: how many are new in the audience, were in it, or objected to it."""

    new: int
    known: int
    objected: int

    def __add__(self, other: Added) -> Added:
        return Added(self.new + other.new, self.known + other.known, self.objected + other.objected)


@dataclass(frozen=True, slots=True)
class Consented:
    """How many consents changed, stood like that already, or are of nobody who is known."""

    changed: int
    unchanged: int
    unknown: int

    def __add__(self, other: Consented) -> Consented:
        return Consented(
            self.changed + other.changed, self.unchanged + other.unchanged, self.unknown + other.unknown
        )


@dataclass(frozen=True, slots=True)
class Difference:
    """What replacing an audience changes: members `before`, how many of them are missing, and who is new."""

    before: int
    removed: int
    added: int
    objected: int

    def __add__(self, other: Difference) -> Difference:
        return Difference(
            self.before + other.before,
            self.removed + other.removed,
            self.added + other.added,
            self.objected + other.objected,
        )

    @property
    def kept(self) -> int:
        """Members before and after."""
        return self.before - self.removed


@dataclass(frozen=True, slots=True)
class ConsentChange:
    """That a member joined an audience, or left or objected. `at` is in seconds since 1970."""

    audience: str
    granted: bool
    at: int
    source: str
    by: str


@dataclass(frozen=True, slots=True)
class Edition:
    """A published edition. It has the changes up to `serial`. `at` is in seconds since 1970."""

    audience: str
    epoch: int
    edition: int
    serial: int
    at: int


@dataclass(frozen=True, slots=True)
class MemberEntry:
    """A member in short: the audiences that they are in, and those that they objected to.

    `added` is in seconds since 1970; `key` and `kind` are those of `identifiers.kinds`.
    """

    kind: str
    key: Any = field(repr=False)
    identifier: bytes = field(repr=False)
    audiences: tuple[str, ...]
    objections: tuple[str, ...]
    added: int
    verified: date


@dataclass(frozen=True, slots=True)
class MemberRecord:
    """Everything that is stored about a member.

    `tokens` are by audience and epoch. `changed` is, for each audience that they are in, or are known to have
    left, the serial of the last change; 0: before serials were kept. `label` is UTF-8; None: there is none.
    The keys that labels are encrypted under are not shown: who evaluates the identifier has them. `other` is
    the address of who is known by a number, or the number of who is known by an address, if both are known.
    """

    entry: MemberEntry
    consents: tuple[ConsentChange, ...]
    tokens: Mapping[tuple[str, int], bytes] = field(repr=False)
    changed: Mapping[str, int]
    label: bytes | None = field(default=None, repr=False)
    other: bytes | None = field(default=None, repr=False)


def today() -> date:
    """The day that it is (UTC)."""
    return datetime.now(UTC).date()


def day_number(day: date) -> int:
    """Days since 1970."""
    return day.toordinal() - _EPOCH


def day_of_number(number: int) -> date:
    """The inverse of `day_number`."""
    return date.fromordinal(number + _EPOCH)


def bit_of(audience: str) -> int:
    """How an audience is stored: 1 << its index in AUDIENCES, so that one integer can hold several."""
    return 1 << AUDIENCES.index(audience)


def audience_of(bit: int) -> str:
    """The inverse of `bit_of`."""
    return AUDIENCES[bit.bit_length() - 1]
