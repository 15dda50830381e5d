"""Reads the numbers for an operator's command: from its command line, or from a file."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, BinaryIO, cast

import click

from contactsync.commands._output import ProgressLine
from contactsync.foundation.errors import BadInput

if TYPE_CHECKING:  # these import numpy
    from contactsync.phones import Refusal
    from contactsync.server.storage.ports import Members


def members_of(texts: tuple[str, ...], region: str | None) -> Members:
    """The members with these numbers. Raises BadInput if one number cannot be used."""
    from contactsync.identifiers import Rejected, default_region, normalise
    from contactsync.server.storage.ports import Members

    found = []
    for place, text in enumerate(texts, 1):
        try:
            found.append(normalise(text, region or default_region()))
        except Rejected as error:
            raise BadInput(f"number {place} cannot be used: {error.reason}", hint=error.hint) from None
    return Members.of(found)


def for_each_chunk(file: str, region: str | None, change: Callable[[Members], int]) -> tuple[int, int, int]:
    """Apply `change` to the members in a file. Returns how many were changed, unchanged and unusable."""
    from contactsync.identifiers import default_region
    from contactsync.server.members import read_members

    name, changed, total = "stdin" if file == "-" else file, 0, 0
    refusals = _Refusals(name)
    with _open(file) as stream, ProgressLine() as progress:
        region = region or default_region()
        for members in read_members(stream, region, name, refusals.add, progress):
            changed += change(members)
            total += len(members)
    refusals.sum_up()
    if not total:
        raise BadInput(
            f"{name} contains no usable phone number",
            hint="give a list, or CSV with a column `phone`; numbers without a country code need --region",
        )
    return changed, total - changed, refusals.count


class _Refusals:
    """Lists the lines of a file that could not be used: the first ones each, then all by reason."""

    LISTED = 20

    def __init__(self, name: str) -> None:
        self._name = name
        self._reasons: Counter[tuple[str, str]] = Counter()

    @property
    def count(self) -> int:
        return self._reasons.total()

    def add(self, refusal: Refusal) -> None:
        if self.count < self.LISTED:
            known = (refusal.reason, refusal.hint) in self._reasons
            hint = "" if known or not refusal.hint else f" ({refusal.hint})"
            click.echo(f"{self._name}:{refusal.line}: {refusal.reason}{hint}", err=True)
        self._reasons[refusal.reason, refusal.hint] += 1

    def sum_up(self) -> None:
        if self.count > self.LISTED:
            click.echo(f"{self._name}: and {self.count - self.LISTED:,} more. In total:", err=True)
            for (reason, hint), count in self._reasons.most_common():
                click.echo(f"{count:12,}  {reason}" + (f" ({hint})" if hint else ""), err=True)


@contextlib.contextmanager
def _open(file: str) -> Iterator[BinaryIO]:
    try:
        stream = cast(BinaryIO, click.open_file(file, "rb"))
    except OSError as error:
        raise BadInput(
            f"cannot read {file}: {error.strerror}", hint="check its name and permissions"
        ) from None
    with stream:
        yield stream
