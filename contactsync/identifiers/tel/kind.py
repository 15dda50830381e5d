"""The kind `tel`: E.164 numbers, one partition for each calling code, 8 octets each in a store."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Final

from contactsync.identifiers import tel
from contactsync.identifiers.tel import forms

if TYPE_CHECKING:
    from contactsync.identifiers.tel.numbers import Numbers

_FAMILY: Final = re.compile(r"[1-9][0-9]{0,2}")


# ruff: noqa: PLC0415 - numpy takes longer to load than most commands that normalise one number run
class Tel:
    """See `kinds.Kind`. A partition is named by its calling code: `"49"`."""

    name = "tel"
    prefix = b"tel:"
    key_type = int

    def normalise(self, text: str, region: str | None) -> bytes:
        """See `tel.normalise`."""
        return tel.normalise(text, region)

    def further_forms(self, identifier: bytes) -> tuple[bytes, ...]:
        """See `forms.further_forms`."""
        return forms.further_forms(identifier)

    def partition_of(self, identifier: bytes) -> str:
        """See `tel.calling_code`."""
        return tel.calling_code(identifier)

    def owns_partition(self, name: str) -> bool:
        """Whether it has one to three digits: a server may know a newer calling code than this program."""
        return _FAMILY.fullmatch(name) is not None

    def partitions(self) -> Collection[str]:
        """Every calling code that has a numbering plan."""
        return tel.calling_codes()

    def excludes_partition(self, name: str) -> bool:
        """Digits that can be no calling code, or that overlap one: codes are prefix-free (E.164 §6.2.1)."""
        if not (name.isascii() and name.isdecimal()):
            return False
        others = tel.calling_codes() - {name}
        return not self.owns_partition(name) or any(
            name.startswith(code) or code.startswith(name) for code in others
        )

    def capacity(self, partition: str) -> int:
        """All national numbers of the lengths that its numbering plan has."""
        plan = tel.numbering_plan(partition)
        assert plan is not None, "calling_codes() are those that have a plan"
        most = tel.MAX_DIGITS - len(partition)
        return sum(10**length for length in plan.lengths if length <= most)

    def keys_of(self, identifiers: Sequence[bytes]) -> Numbers:
        """See `numbers.numbers_of`."""
        from contactsync.identifiers.tel import numbers

        return numbers.numbers_of(identifiers)

    def identifiers_of(self, keys: Numbers) -> list[bytes]:
        """See `numbers.identifiers_of`."""
        from contactsync.identifiers.tel import numbers

        return numbers.identifiers_of(keys)

    def by_partition(self, keys: Numbers) -> Iterator[tuple[str, Numbers]]:
        """See `numbers.by_calling_code`."""
        from contactsync.identifiers.tel import numbers

        return numbers.by_calling_code(keys)

    def spans(self, partition: str) -> list[tuple[int, int]]:
        """See `numbers.spans_of`."""
        from contactsync.identifiers.tel import numbers

        return numbers.spans_of(partition)
