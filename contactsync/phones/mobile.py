"""The mobile numbers of a country, as libphonenumber describes them: how many, and each by its place.

The pattern becomes an automaton that reads digits (`contactsync.phones.prefixes`). Its states, taken as sets,
are deterministic, so that each number is counted once, and counting is a sum over the next digit.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from phonenumbers import PhoneMetadata

from contactsync.identifiers import check_region
from contactsync.phones.prefixes import Automaton

_State = frozenset[int]


class MobileNumbers:
    """The mobile numbers of a region with `digits` digits, without the calling code.

    `digits` 0 stands for as many as the example number of the numbering plan has: that is the usual length.
    `lengths` says how many numbers there are of each length that is possible.
    """

    def __init__(self, region: str, digits: int = 0) -> None:
        """Raises BadInput for an unknown region, ValueError if it has no such mobile numbers."""
        self.region = check_region(region)
        plan = PhoneMetadata.metadata_for_region(self.region)
        mobile = plan.mobile if plan is not None else None
        if plan is None or mobile is None or not mobile.national_number_pattern:
            raise ValueError(f"libphonenumber knows no mobile numbers of {self.region}")
        self.code = str(plan.country_code)
        self._automaton = Automaton(mobile.national_number_pattern)
        self._start = frozenset(self._automaton.closure({self._automaton.start}))
        self._step = cache(self._step_of)
        self._count = cache(self._count_of)
        self.lengths = {n: self._count(self._start, n) for n in sorted(mobile.possible_length)}
        self.digits = digits or len(mobile.example_number or "")
        if not self.lengths.get(self.digits):
            raise ValueError(f"{self.region} has no mobile numbers of {self.digits} digits")

    def __len__(self) -> int:
        return self.lengths[self.digits]

    def number(self, place: int) -> str:
        """The number at a place, counted from 0 in ascending order, with its calling code."""
        state, found = self._start, self.code
        for left in reversed(range(self.digits)):
            for digit in range(10):
                after = self._step(state, digit)
                count = self._count(after, left)
                if place < count:
                    state, found = after, f"{found}{digit}"
                    break
                place -= count
            else:
                raise IndexError("there are not as many numbers")
        return found

    def numbers(self, start: int, stop: int) -> Iterator[str]:
        """The numbers at these places."""
        return map(self.number, range(start, stop))

    def _step_of(self, state: _State, digit: int) -> _State:
        return frozenset(self._automaton.advance(set(state), digit))

    def _count_of(self, state: _State, left: int) -> int:
        """How many texts of `left` digits lead from a state to the end."""
        if not state or left == 0:
            return int(self._automaton.end in state)
        return sum(self._count(self._step(state, digit), left - 1) for digit in range(10))
