"""Reads the numbers for an operator's command: from its command line, from stdin, or from a file.

A number need never stand on a command line, where other users of the machine can read it.
"""

from __future__ import annotations

import contextlib
import csv
import io
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import click

from contactsync.commands._output import counted, printable
from contactsync.commands._progress import ProgressLine
from contactsync.foundation.errors import BadInput, ContactSyncError

if TYPE_CHECKING:  # these import numpy
    from contactsync.library.members import Members, Refusal

FROM_STDIN = "-"

numbers_argument = click.argument("numbers", nargs=-1, metavar="[NUMBER...|-]")


def file_option(purpose: str) -> Callable[..., Any]:
    """`--file FILE`."""
    return click.option("--file", metavar="FILE", type=click.Path(allow_dash=True), help=purpose)


def source_of(numbers: tuple[str, ...], file: str | None) -> str | None:
    """The file of the numbers, `-` for stdin; None: they are on the command line. Raises UsageError."""
    if FROM_STDIN in numbers and len(numbers) == 1 and file is None:
        return FROM_STDIN
    if bool(numbers) == bool(file) or FROM_STDIN in numbers:
        raise click.UsageError("Give NUMBER..., or - for numbers on stdin, or --file FILE.")
    return file


def members_given(numbers: tuple[str, ...], file: str | None, region: str | None) -> list[Members]:
    """The members whose numbers the caller gave, in batches. Raises BadInput if one cannot be used."""
    source = source_of(numbers, file)
    if source is None:
        from contactsync.library.members import batches_of

        return batches_of(numbers, region)
    from contactsync.library.identifying import default_region
    from contactsync.library.members import read_members

    refusals = Rejections(name_of(source))
    with opened(source) as stream:
        region = region or default_region()
        found = list(read_members(stream, region, name_of(source), refusals.add, addresses=True))
    refusals.sum_up()
    if refusals.count:
        raise BadInput(
            f"{name_of(source)}: {counted(refusals.count, 'line', 'lines')} cannot be used",
            hint="nothing was changed: correct or remove what is listed above",
        )
    if not found:
        raise _nothing_in(name_of(source))
    return found


def chunks_given(numbers: tuple[str, ...], file: str | None, region: str | None) -> Iterator[Members]:
    """The same, each batch when it has been read, except lines of a file that cannot be used.

    Raises BadInput if a number of the command line cannot be used, or the file has none.
    """
    source = source_of(numbers, file)
    return iter(members_given(numbers, None, region)) if source is None else _chunks_of(source, region)


def _chunks_of(file: str, region: str | None) -> Iterator[Members]:
    from contactsync.library.identifying import default_region
    from contactsync.library.members import read_members

    name, total = name_of(file), 0
    refusals = Rejections(name)
    with opened(file) as stream, ProgressLine() as progress:
        region = region or default_region()
        for members in read_members(stream, region, name, refusals.add, progress, addresses=True):
            yield members
            total += len(members)
    refusals.sum_up()
    if not total:
        raise _nothing_in(name)


def _nothing_in(name: str) -> BadInput:
    return BadInput(
        f"{name} contains no usable phone number or address",
        hint="give a list, or CSV with a column `phone`; numbers without a country code need --region",
    )


def name_of(file: str) -> str:
    """What errors call a file."""
    return "stdin" if file == FROM_STDIN else file


class Rejections:
    """Lists the lines of a file that could not be used: the first ones each, then all by reason."""

    LISTED = 20
    IDENTITY = 64  # characters that are shown

    def __init__(self, name: str, sink: Callable[[Refusal], None] | None = None) -> None:
        """`sink` gets every one."""
        self._name = name
        self._sink = sink
        self._reasons: Counter[tuple[str, str]] = Counter()

    @property
    def count(self) -> int:
        """How many there are."""
        return self._reasons.total()

    def add(self, refusal: Refusal) -> None:
        """One more."""
        if self._sink is not None:
            self._sink(refusal)
        if self.count < self.LISTED:
            known = (refusal.reason, refusal.hint) in self._reasons
            hint = "" if known or not refusal.hint else f" ({refusal.hint})"
            identity = printable(refusal.identity[: self.IDENTITY])
            who = f" id {identity}:" if identity else ""
            click.echo(f"{self._name}:{refusal.line}:{who} {refusal.reason}{hint}", err=True)
        self._reasons[refusal.reason, refusal.hint] += 1

    def sum_up(self) -> None:
        """Say how many more there are, and why."""
        if self.count > self.LISTED:
            click.echo(f"{self._name}: and {self.count - self.LISTED:,} more. In total:", err=True)
            for (reason, hint), count in self._reasons.most_common():
                click.echo(f"{count:12,}  {reason}" + (f" ({hint})" if hint else ""), err=True)


@contextlib.contextmanager
def rejected_file(path: Path | None, *, numbers: bool) -> Iterator[Callable[[Refusal], None] | None]:
    """A CSV of everything that is rejected, 0600; None without a path. It is written if the block fails, too.

    It contains a number as it was written only if `numbers`. Raises BadInput if it cannot be written.
    """
    from contactsync.foundation import durable

    if path is None:
        yield None
        return
    failure: ContactSyncError | None = None
    try:
        with durable.replacing(path) as file:
            text = io.TextIOWrapper(file, "utf-8", newline="")
            rows = csv.writer(text)
            rows.writerow(["line", "id", "reason", "hint", *(["number"] if numbers else [])])

            def add(refusal: Refusal) -> None:
                row = [refusal.line, refusal.identity, refusal.reason, refusal.hint]
                rows.writerow([*row, refusal.text] if numbers else row)

            try:
                yield add
            except ContactSyncError as error:
                failure = error
            text.flush()
            text.detach()
    except OSError as error:
        raise BadInput(f"cannot write {path}: {error.strerror}", hint="choose another file") from error
    if failure is not None:
        raise failure


@contextlib.contextmanager
def opened(file: str) -> Iterator[BinaryIO]:
    """A file, or stdin. Raises BadInput if it cannot be read."""
    try:
        stream = cast(BinaryIO, click.open_file(file, "rb"))
    except OSError as error:
        raise BadInput(
            f"cannot read {file}: {error.strerror}", hint="check its name and permissions"
        ) from None
    with stream:
        yield stream
