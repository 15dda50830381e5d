r"""Which numbers the regular expressions of a numbering plan can possibly match.

The metadata of phonenumbers describes national prefixes and number shapes as regular expressions over digits.
A kernel cannot run those, but it can look up the first three digits in a table. `may_match` computes a
conservative table: where it is False, `re.match` fails for every number that begins with these digits; where
it is True, the library must be asked. `may_take` leaves out matches that change nothing.

This module parses the subset that the metadata uses: digits, `\d`, classes, groups, alternation, `? * +
{n,m}` and `$`. An expression with anything else is assumed to match everything.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

DEPTH = 3
"""How many leading digits the tables look at."""

_MANY = 40
"""Stands for unlimited repetition: no number is that long."""


class _Unknown(Exception):
    """The expression uses something outside the subset."""


class Automaton:
    """Thompson's construction: states with transitions on a set of digits, and empty ones.

    `moves[s]` is a list of (bit mask of digits, target); mask 0 is an empty transition.
    """

    def __init__(self, pattern: str) -> None:
        self.moves: list[list[tuple[int, int]]] = []
        self._text = pattern
        self._at = 0
        self.groups: list[tuple[int, int]] = []  # where each capturing group begins and ends
        self.start = self._state()
        self.end = self._state()
        self._alternatives(self.start, self.end)
        if self._at != len(pattern):
            raise _Unknown

    def _state(self) -> int:
        self.moves.append([])
        return len(self.moves) - 1

    def _peek(self) -> str:
        return self._text[self._at] if self._at < len(self._text) else ""

    def _take(self, expected: str) -> None:
        if not self._text.startswith(expected, self._at):
            raise _Unknown
        self._at += len(expected)

    def _alternatives(self, start: int, end: int) -> None:
        while True:
            self._sequence(start, end)
            if self._peek() != "|":
                return
            self._take("|")

    def _sequence(self, start: int, end: int) -> None:
        current = self._state()
        self.moves[start].append((0, current))
        while self._peek() not in ("", "|", ")"):
            beginning = self._at
            after = self._state()
            self._atom(current, after)
            low, high = self._quantifier()
            behind = self._at
            if (low, high) != (1, 1):
                # Lay out the atom again, `high` times. Each copy after the `low`-th is optional. `current`
                # was made for this atom only, so nothing else is lost here.
                self.moves[current] = []
                step = current
                for copy in range(high):
                    after = self._state()
                    self._at = beginning
                    self._atom(step, after)
                    if copy >= low:
                        self.moves[step].append((0, after))
                    step = after
                after = step
            self._at = behind
            current = after
        self.moves[current].append((0, end))

    def _atom(self, start: int, end: int) -> None:
        sign = self._peek()
        if sign == "(":
            self._take("(")
            inner_start, inner_end = self._state(), self._state()
            if self._peek() == "?":
                self._take("?:")
            else:
                self.groups.append((inner_start, inner_end))
            self.moves[start].append((0, inner_start))
            self._alternatives(inner_start, inner_end)
            self.moves[inner_end].append((0, end))
            self._take(")")
        elif sign == "[":
            self._take("[")
            self.moves[start].append((self._digit_class(), end))
        elif sign == "\\":
            self._take("\\d")
            self.moves[start].append((0b11_1111_1111, end))
        elif sign == "$":
            # Ignored: it can only make fewer texts match.
            self._take("$")
            self.moves[start].append((0, end))
        elif sign.isascii() and sign.isdigit():
            self._take(sign)
            self.moves[start].append((1 << int(sign), end))
        else:
            raise _Unknown

    def _digit_class(self) -> int:
        mask = 0
        while self._peek() != "]":
            if self._peek() == "\\":
                self._take("\\d")
                mask |= 0b11_1111_1111
                continue
            low = high = self._digit()
            if self._peek() == "-":
                self._take("-")
                high = self._digit()
            for digit in range(low, high + 1):
                mask |= 1 << digit
        self._take("]")
        return mask

    def _digit(self) -> int:
        sign = self._peek()
        if not (sign.isascii() and sign.isdigit()):
            raise _Unknown
        self._at += 1
        return int(sign)

    def _quantifier(self) -> tuple[int, int]:
        sign = self._peek()
        if sign in ("?", "*", "+"):
            self._take(sign)
            found = {"?": (0, 1), "*": (0, _MANY), "+": (1, _MANY)}[sign]
        elif sign == "{":
            closing = self._text.find("}", self._at)
            low, comma, high = self._text[self._at + 1 : closing].partition(",")
            if closing < 0 or not low.isdigit() or not (high.isdigit() or not high):
                raise _Unknown
            self._at = closing + 1
            found = (int(low), int(high) if high else (_MANY if comma else int(low)))
        else:
            return (1, 1)
        if self._peek() in ("?", "+"):
            raise _Unknown  # lazy and possessive repetition
        return found

    def closure(self, states: set[int]) -> set[int]:
        """The states that can be reached by empty transitions."""
        found, waiting = set(states), list(states)
        while waiting:
            for mask, target in self.moves[waiting.pop()]:
                if mask == 0 and target not in found:
                    found.add(target)
                    waiting.append(target)
        return found

    def advance(self, states: set[int], digit: int) -> set[int]:
        """The states after one more digit."""
        return self.closure(
            {target for state in states for mask, target in self.moves[state] if mask >> digit & 1}
        )


@lru_cache(maxsize=1024)
def may_match(pattern: str | None) -> NDArray[np.bool_]:
    """bool[1000]: whether `re.match(pattern)` can succeed on a number that begins with these three digits.

    None and the empty pattern mean "no such prefix" in the metadata: False everywhere. The array is
    read-only.
    """
    return _table(pattern, empty=True)


@lru_cache(maxsize=1024)
def may_take(pattern: str | None) -> NDArray[np.bool_]:
    """The same, but only where the match may take a digit or capture something.

    Argentina's national prefix matches the empty text before every number, and so changes no number.
    """
    return _table(pattern, empty=False)


def _table(pattern: str | None, *, empty: bool) -> NDArray[np.bool_]:
    table = np.zeros(10**DEPTH, np.bool_)
    if pattern:
        try:
            automaton = Automaton(pattern)
        except _Unknown:
            table[:] = True
        else:
            # A group that captures the empty text counts as matched, and a transformation would use it.
            empty = empty or any(end in automaton.closure({start}) for start, end in automaton.groups)
            _mark(table, automaton, automaton.closure({automaton.start}), "", 0 if empty else 1)
    table.flags.writeable = False
    return table


def whole_lengths(pattern: str, longest: int) -> frozenset[int]:
    """The lengths, up to `longest`, of numbers that `re.fullmatch(pattern)` can match.

    Conservative like `may_match`: other lengths cannot match.
    """
    try:
        automaton = Automaton(pattern)
    except _Unknown:
        return frozenset(range(longest + 1))
    states = automaton.closure({automaton.start})
    found = set()
    for length in range(longest + 1):
        if automaton.end in states:
            found.add(length)
        states = {after for digit in range(10) for after in automaton.advance(states, digit)}
    return frozenset(found)


def _mark(
    table: NDArray[np.bool_], automaton: Automaton, states: set[int], digits: str, shortest: int
) -> None:
    """Set the beginnings that continue `digits` and may match; a match takes at least `shortest` digits."""
    depth = len(digits)
    if not states:
        return
    if (automaton.end in states and depth >= shortest) or depth == DEPTH:
        span = 10 ** (DEPTH - depth)
        first = int(digits or "0") * span
        table[first : first + span] = True
        return
    for digit in range(10):
        _mark(table, automaton, automaton.advance(states, digit), f"{digits}{digit}", shortest)
