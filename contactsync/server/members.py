"""Reads files of members, and imports them: all of a file or nothing, and never somebody else's number."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from contactsync.foundation.errors import BadInput
from contactsync.foundation.progress import Progress, silent
from contactsync.identifiers import Rejected, mail
from contactsync.phones import Columns, Refusal, read_numbers
from contactsync.phones.layout import BY_DEFAULT
from contactsync.server.people import PeopleImport, batches_of_file, everybody
from contactsync.server.storage.erasing import Watch, unwatched
from contactsync.server.storage.ports import Members, MemberStore
from contactsync.server.storage.records import NOT_STATED, Added, Difference, Origin

if TYPE_CHECKING:
    from contactsync.identifiers.kinds import Keys

_SORTED_AT_ONCE: Final = 1 << 24  # numbers: 128 MB, and twice that while they are sorted
_HELD: Final = 1 << 27  # numbers: 1 GB
_PIECE: Final = 1 << 20


@dataclass(slots=True)
class Tally:
    """What a file contained so far.

    A row that is `rejected` gave no number, or had a second one that was not read. `distinct` is how many of
    the numbers that were `accepted` had not come before.
    """

    rows: int = 0
    accepted: int = 0
    rejected: int = 0
    distinct: int = 0


@dataclass(frozen=True, slots=True)
class Share:
    """A limit: a number, or parts in a million of a whole, but then at least `least`."""

    count: int | None
    millionths: int = 0
    least: int = 0

    def allows(self, number: int, whole: int) -> bool:
        """Whether so many of a whole are within the limit."""
        most = self.count
        if most is None:
            most = max(self.least, whole * self.millionths // 1_000_000)
        return number <= most

    def __str__(self) -> str:
        return f"{self.count:,}" if self.count is not None else f"{self.millionths / 10_000:g}%"


MOST_REJECTED: Final = Share(None, 20_000, least=20)
"""By default: 2 %. A wrong column or region costs far more, and tables of users are rarely worse.

Up to 20 rejected rows are listed one by one, so whoever imports a short list sees each of them.
"""

MOST_REMOVED: Final = Share(None, 50_000)
"""By default: 5 %."""


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """How a file is imported. `verified` None is today; `replace` also removes who is not in the file."""

    audience: str
    region: str | None = None
    columns: Columns = BY_DEFAULT
    verified: date | None = None
    origin: Origin = NOT_STATED
    replace: bool = False
    max_rejected: Share = MOST_REJECTED
    max_removed: Share = MOST_REMOVED
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import did, or would do: rows of the file, then members.

    `twice` rows had a number that another row had, too. `removed` is None unless the audience was replaced.
    `labels` is how many labels were set, changed or removed; None unless a column has labels.
    """

    rows: int
    rejected: int
    twice: int
    added: int
    known: int
    objected: int
    removed: int | None
    labels: int | None = None


class _Undone(Exception):
    """Ends a dry run."""


def read_members(
    stream: BinaryIO,
    region: str | None,
    name: str,
    on_refusal: Callable[[Refusal], None],
    progress: Progress = silent,
    *,
    columns: Columns = BY_DEFAULT,
    tally: Tally | None = None,
    addresses: bool = False,
    at_the_end: Callable[[], None] = lambda: None,
) -> Iterator[Members]:
    """The members of a list or table of numbers, in batches of bounded size.

    Up to 134 million numbers, 8 octets each, are held before the first batch is returned: batches ascend, so
    that each page of the registry is written once, and not once for each of them. `on_refusal` is called for
    each line that cannot be used; such lines are skipped. `tally` is kept up to date. With `addresses` a line
    may have an e-mail address instead of a number; they come last. `at_the_end` is called when all has been
    read, before the last batches are returned, which are all of them unless the file is larger than that.

    Raises BadInput: no such region, not text, no such column.
    """
    tally = tally or Tally()
    parts: list[NDArray[np.uint64]] = []
    runs: list[NDArray[np.uint64]] = []
    found: list[bytes] = []
    waiting = 0
    for batch in read_numbers(stream, region, name, columns=columns):
        for refusal in batch.refused:
            address = _address_of(refusal) if addresses else refusal
            if isinstance(address, bytes):
                found.append(address)
            else:
                on_refusal(address)
        parts.append(batch.accepted)
        waiting += parts[-1].size
        tally.rows += batch.numbers.size
        tally.accepted += parts[-1].size
        tally.rejected += len(batch.refused)
        progress("reading", tally.rows, 0)
        if waiting >= _SORTED_AT_ONCE:
            runs.append(_distinct(parts))
            parts.clear()
            waiting = 0
            if sum(map(len, runs)) > _HELD - _SORTED_AT_ONCE:
                yield from _in_pieces(runs, tally, progress)
                runs = []
    at_the_end()
    runs.append(_distinct(parts))
    parts.clear()
    yield from _in_pieces(runs, tally, progress)
    if found:
        yield Members.of(found)


def _address_of(refusal: Refusal) -> bytes | Refusal:
    """The address that a line has instead of a number; else why the line cannot be used."""
    if not mail.looks_like(refusal.text):
        return refusal
    try:
        return mail.normalise(refusal.text)
    except Rejected as rejected:
        return Refusal(refusal.line, rejected.reason, rejected.hint, refusal.identity, refusal.text)


def _in_pieces(runs: list[NDArray[np.uint64]], tally: Tally, progress: Progress) -> Iterator[Members]:
    total, done = sum(map(len, runs)), 0
    for many, numbers in _merged(runs):
        tally.distinct += numbers.size
        yield Members("tel", numbers)
        done += many
        progress("storing", done, total)


def _merged(runs: list[NDArray[np.uint64]]) -> Iterator[tuple[int, NDArray[np.uint64]]]:
    """All numbers of ascending runs, each once, in pieces that ascend; and of how many each piece was made.

    A piece is made of _PIECE numbers, and a thousandth more or less for each run: runs are sampled.
    """
    apart = max(1, _PIECE >> 10)
    samples = np.concatenate([run[::apart] for run in runs])
    samples.sort()
    edges = samples[:: _PIECE // apart]
    begin = [0] * len(runs)
    for n in range(len(edges)):
        end = [int(np.searchsorted(run, edges[n + 1])) if n + 1 < len(edges) else len(run) for run in runs]
        part = _distinct(run[a:b] for run, a, b in zip(runs, begin, end, strict=True))
        if many := sum(end) - sum(begin):
            yield many, part
        begin = end


def _distinct(parts: Iterable[Keys]) -> NDArray[np.uint64]:
    numbers: NDArray[np.uint64] = np.concatenate([np.empty(0, np.uint64), *parts])
    numbers.sort()
    # Not np.unique: it hashes, which takes ten times as long.
    return numbers[np.append(True, numbers[1:] != numbers[:-1])] if numbers.size else numbers


def import_members(
    store: MemberStore,
    stream: BinaryIO,
    name: str,
    options: ImportOptions,
    *,
    on_refusal: Callable[[Refusal], None],
    progress: Progress = silent,
    watch: Watch = unwatched,
) -> ImportReport:
    """Import a file: one transaction, which begins when all has been read, or 134 million numbers.

    To replace an audience, all numbers are held, about 25 octets each; `watch` sees who is removed.
    Raises BadInput, with nothing changed: nothing in it, too many rows rejected, too many members to be
    removed, and as `read_members`. With a column of labels or addresses the transaction begins with the first
    rows; who comes twice with two labels counts with the first.
    """
    if not options.columns.is_plain:
        return _import_people(
            store, stream, name, options, on_refusal=on_refusal, progress=progress, watch=watch
        )
    tally = Tally()
    batches = read_members(
        stream,
        options.region,
        name,
        on_refusal,
        progress,
        columns=options.columns,
        tally=tally,
        at_the_end=lambda: _check_rows(name, tally, options),
    )
    found, replaced = Added(0, 0, 0), list[Difference]()

    def allow(difference: Difference) -> None:
        replaced.append(difference)
        _check_removed(name, difference, options)

    with contextlib.suppress(_Undone), contextlib.ExitStack() as stack:
        if options.replace:
            everybody = Members("tel", _distinct([batch.keys for batch in batches]))
            store.replace(
                everybody,
                options.audience,
                verified=options.verified,
                origin=options.origin,
                allow=allow,
                watch=watch,
            )
        for place, batch in enumerate(batches):  # none is left if they have replaced an audience
            if not place:
                stack.enter_context(store.together())
            found += store.add(batch, options.audience, verified=options.verified, origin=options.origin)
        if options.dry_run:
            raise _Undone
    for difference in replaced:
        found = Added(difference.added, difference.kept, difference.objected)
    return ImportReport(
        rows=tally.rows,
        rejected=tally.rejected,
        twice=tally.accepted - tally.distinct,
        added=found.new,
        known=found.known,
        objected=found.objected,
        removed=replaced[0].removed if replaced else None,
    )


def _import_people(
    store: MemberStore,
    stream: BinaryIO,
    name: str,
    options: ImportOptions,
    *,
    on_refusal: Callable[[Refusal], None],
    progress: Progress,
    watch: Watch,
) -> ImportReport:
    """The same, of a table whose rows have labels or addresses."""
    labelled = bool(options.columns.label)
    people = PeopleImport(store, options.audience, options.verified, options.origin, labelled, on_refusal)
    batches = batches_of_file(stream, options.region, name, options.columns, progress)
    replaced: list[Difference] = []

    def allow(difference: Difference) -> None:
        replaced.append(difference)
        _check_removed(name, difference, options)

    def enter() -> None:
        for batch in held or batches:
            people.enter(batch)
        found = people.entered
        _check_rows(name, Tally(found.rows, found.used, found.rejected), options)

    held = list(batches) if options.replace else []
    with contextlib.suppress(_Undone), store.together():
        if options.replace:
            numbers, addresses = everybody(held)
            also = addresses if options.columns.email else None
            store.replace(
                numbers,
                options.audience,
                also=also,
                enter=enter,
                verified=options.verified,
                origin=options.origin,
                allow=allow,
                watch=watch,
            )
        else:
            enter()
        if options.dry_run:
            raise _Undone
    found = people.entered
    return ImportReport(
        rows=found.rows,
        rejected=found.rejected,
        twice=found.twice,
        added=found.added.new,
        known=found.added.known,
        objected=found.added.objected,
        removed=replaced[0].removed if replaced else None,
        labels=found.labels if labelled else None,
    )


def _check_rows(name: str, tally: Tally, options: ImportOptions) -> None:
    if not tally.accepted:
        raise BadInput(
            f"{name} contains no usable phone number" + (" and no address" if options.columns.email else ""),
            hint="give a list, or a table with a column `phone` (--phone-column); numbers without a"
            " country code need --region or --region-column",
        )
    if not options.max_rejected.allows(tally.rejected, tally.rows):
        raise BadInput(
            f"{name}: {tally.rejected:,} of {tally.rows:,} rows were rejected, more than"
            f" {options.max_rejected}; nothing was changed",
            hint="correct the file or the options (--rejected FILE lists all reasons), or raise"
            " --max-rejected",
        )


def _check_removed(name: str, difference: Difference, options: ImportOptions) -> None:
    if not options.max_removed.allows(difference.removed, difference.before):
        raise BadInput(
            f"{name}: {difference.removed:,} of {difference.before:,} members are not in it, more than"
            f" {options.max_removed}; nothing was changed",
            hint="is the file complete? If so, raise --max-removed",
        )
    if options.dry_run and options.columns.is_plain:
        raise _Undone
