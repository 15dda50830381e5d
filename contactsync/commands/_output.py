"""What a sync prints: data on stdout, as a table, JSON, CSV or vCards; everything else on stderr."""

from __future__ import annotations

import contextlib
import csv
import errno
import io
import logging
import os
import shlex
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from contactsync.commands import _json, _screen
from contactsync.commands._vcards import PLAIN, LabelTemplate, vcards

if TYPE_CHECKING:
    from contactsync.commands._services import ServiceOutcome
    from contactsync.library.books import AddressBook
    from contactsync.library.client import Gap, Match, Report
    from contactsync.library.marking import Marks

Row = tuple[str, ...]
SHOWN_UNREADABLE = 20
NAME_WIDTH = 40


def result(report: Report, book: AddressBook, *, sent: int, received: int) -> dict[str, Any]:
    """The JSON object of `sync --json`. docs/cli.md lists its keys."""
    return {
        "matches": _people(report.matches),
        "joined": _people(report.joined),
        "left": _people(report.left),
        "contacts": len(book.contacts),
        "identifiers": report.identifiers,
        "further_forms": report.further_forms,
        "unserved": report.unserved,
        "unreadable": unreadable(book),
        "unusable": [asdict(one) for one in report.unusable],
        "evaluated": report.evaluated,
        "new_identifiers": report.new_identifiers,
        "bytes_sent": sent,
        "bytes_received": received,
        "audience": report.audience,
        "epoch": report.epoch,
        "edition": report.edition,
        "members": report.members,
        "privacy": report.privacy,
        "partitions": report.partitions,
        "false_positive_rate": report.false_positive_rate,
        "quota": None if report.quota is None else asdict(report.quota),
        "leak_odds": report.leak_odds,
        "leak": report.leak,
        "unchecked_history": _ends(report.unchecked),
        "withdrawn_epoch": report.withdrawn,
        "labels": None if report.labels is None else asdict(report.labels),
    }


def unreadable(book: AddressBook) -> list[dict[str, str]]:
    """The entries that could not be read, as JSON."""
    return [
        {"file": printable(e.file), "place": printable(e.place), "reason": e.reason} for e in book.unreadable
    ]


def marked(marks: Marks | None) -> dict[str, Any]:
    """What was marked, as a member of JSON; nothing without marks."""
    if marks is None:
        return {}
    value = {
        "category": marks.category,
        "changed": marks.changed,
        "already": marks.already,
        "left_alone": [{"place": printable(one.place), "reason": one.reason} for one in marks.left_alone],
        "undo": None if marks.undo is None else str(marks.undo),
    }
    return {"marked": value}


def say_marked(marks: Marks, *, done: str, already: str) -> None:
    """Say on stderr how many cards were changed, and which were left alone."""
    for one in marks.left_alone[:SHOWN_UNREADABLE]:
        click.echo(f"left alone: {printable(one.place)}: {one.reason}", err=True)
    if len(marks.left_alone) > SHOWN_UNREADABLE:
        click.echo(f"left alone: {len(marks.left_alone) - SHOWN_UNREADABLE} more", err=True)
    more = f" ({marks.already:,} {already})" if marks.already else ""
    click.echo(f"{done}: {counted(marks.changed, 'card', 'cards')}{more}", err=True)
    if marks.undo is not None:
        click.echo(f"to undo it, run: contactsync unmark {shlex.quote(str(marks.undo))}", err=True)


def _ends(gap: Gap | None) -> dict[str, dict[str, int]] | None:
    if gap is None:
        return None
    ends = {"since": gap.since, "until": gap.until}
    return {name: {"epoch": end.epoch, "edition": end.edition} for name, end in ends.items()}


def as_csv(one: ServiceOutcome, _: AddressBook) -> str:
    """A header, then one row for each match."""
    assert one.report is not None
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["name", "identifier", "label"])
    writer.writerows([match.name, match.identifier, match.label or ""] for match in one.report.matches)
    return text.getvalue()


def as_vcards(one: ServiceOutcome, _: AddressBook) -> str:
    """One vCard for each matched contact, with the identifiers that matched, and their labels."""
    assert one.report is not None
    template = LabelTemplate.of(one.service.settings["label_template"] or PLAIN)
    cards: dict[str, list[Match]] = {}
    for match in one.report.matches:
        cards.setdefault(match.name, []).append(match)
    return vcards(
        (name, [m.identifier for m in found], [template.line(m.label) for m in found if m.label], ())
        for name, found in cards.items()
    )


def as_table(report: Report, book: AddressBook, *, plain: bool = False) -> str:
    """The people who matched, each with what they matched by, and their labels if any; then the summary."""
    matched = {match.identifier: match.label for match in report.matches}
    rows = list[Row]()
    for contact in book.contacts:
        found = [one.decode() for one in contact.found({one.encode() for one in matched})]
        if found:
            labels = dict.fromkeys(printable(label) for one in found if (label := matched[one]))
            rows.append((contact.name, shown_all(found), ", ".join(labels)))
    head, rows = with_labels(("NAME", found_by(matched)), rows)
    return table(head, rows, plain=plain) + summary(report, book) + "\n"


def with_labels(head: Row, rows: Sequence[Row]) -> tuple[Row, list[Row]]:
    """A table whose rows end with a label; without that column where there is none."""
    if any(row[-1] for row in rows):
        return (*head, "LABEL"), list(rows)
    return head, [row[:-1] for row in rows]


def shown_all(identifiers: Iterable[str]) -> str:
    """Identifiers as people write them, in one cell."""
    from contactsync.library.identifying import shown

    return ", ".join(map(shown, identifiers))


def found_by(identifiers: Iterable[str]) -> str:
    """The head of their column: whether there are addresses among them."""
    kinds = {one.partition(":")[0] for one in identifiers}
    return "ADDRESS" if kinds == {"mailto"} else "NUMBER OR ADDRESS" if "mailto" in kinds else "NUMBER"


def with_forms(text: str, further_forms: int) -> str:
    """A count of identifiers, and how many further forms of them are looked up besides, if there are any."""
    return f"{text} ({counted(further_forms, 'further form', 'further forms')})" if further_forms else text


def of_book(book: AddressBook, number: int) -> str:
    """How many identifiers of a book, in the words for what it has: numbers, e-mail addresses, or both."""
    numbers, addresses = book.count("tel"), book.count("mailto")
    if not addresses:
        return counted(number, "number", "numbers")
    if not numbers:
        return counted(number, "address", "addresses")
    return counted(number, "number or address", "numbers and addresses")


def asked_of(report: Report, book: AddressBook, number: int) -> str:
    """How many of what was looked up; if the server has members of one kind only, that is what it was."""
    if not report.unserved:
        return of_book(book, number)
    if report.unserved == book.count("mailto"):
        return counted(number, "number", "numbers")
    return counted(number, "address", "addresses")


def table(head: Row, rows: Sequence[Row], *, plain: bool = False) -> str:
    """The rows under their heads, and an empty line.

    On a terminal each column wraps, unless `plain`. Elsewhere the width of the first column follows the
    names, which are cut at NAME_WIDTH.
    """
    if not rows:
        return ""
    if _screen.is_terminal() and not plain:
        return _screen.table(head, rows)
    widths = [max(len(head[0]), min(max(_width(row[0]) for row in rows), NAME_WIDTH))]
    widths += [max(_width(row[column]) for row in [head, *rows]) for column in range(1, len(head))]
    lines = ["  ".join(map(_cell, row, widths)).rstrip() for row in [head, *rows]]
    return "\n".join([*lines, "", ""])


def summary(report: Report, book: AddressBook) -> str:
    """How many of how many matched, who joined or left, and what the server could learn."""
    matched = len({(m.name, m.identifier) for m in report.matches})
    asked = with_forms(asked_of(report, book, report.identifiers), report.further_forms)
    people = counted(len(book.contacts), "contact", "contacts")
    members = counted(report.members, "member", "members")
    where = f"{report.audience}, epoch {report.epoch}, edition {report.edition}, {members}"
    lines = [f"{counted(matched, 'match', 'matches')} among {asked} of {people} ({where})"]
    name = _screen.isolated if _screen.is_terminal() else str
    lines += [f"joined since the last sync: {name(match.name)}" for match in report.joined]
    lines += [f"left since the last sync: {name(match.name)}" for match in report.left]
    return "\n".join([*lines, report.leak])


FORMATS = {"csv": as_csv, "vcf": as_vcards}


def say_on_stderr(report: Report, book: AddressBook, *, summarised: bool, prefix: str = "") -> None:
    """Say which contacts could not be looked up, and print the summary unless it is on stdout.

    `prefix` names the service of each line. Contacts that could not be looked up may or may not be members.
    """
    for one in report.unusable:
        nouns = (
            ("address was", "addresses were") if one.partition == "mail" else ("number was", "numbers were")
        )
        numbers = counted(one.identifiers, *nouns)
        text = f"partition {one.partition} {one.reason}: {numbers} not looked up"
        click.echo(f"warning: {prefix}{text}", err=True)
    if report.unserved:
        addresses = report.unserved == book.count("mailto")
        nouns = ("e-mail address", "e-mail addresses") if addresses else ("number", "numbers")
        text = f"{counted(report.unserved, *nouns)} not looked up: the server has no members with one"
        click.echo(f"note: {prefix}{text}", err=True)
    if report.withdrawn is not None:
        text = f"the server withdrew epoch {report.withdrawn}, which this client had moved to"
        click.echo(f"warning: {prefix}{text}; what was stored of it is not used", err=True)
    if report.labels is not None and report.labels.unopened:
        labels = counted(report.labels.unopened, "label does", "labels do")
        click.echo(f"warning: {prefix}{labels} not open for its match; tell the operator", err=True)
    if report.labels is not None and report.labels.unknown:
        matched = counted(report.labels.unknown, "match is", "matches are")
        text = f"the label of {matched} not known yet; --privacy download has them all"
        click.echo(f"note: {prefix}{text}", err=True)
    if report.uncovered:
        text = "no padding points were sent because the budget is nearly used up: the server could see that"
        click.echo(f"warning: {prefix}{text} nothing was new", err=True)
    if not summarised:
        for line in summary(report, book).splitlines():
            click.echo(f"{prefix}{line}", err=True)


def say_unreadable(book: AddressBook, *, quiet: bool = False, verbose: bool = False) -> None:
    """List on stderr what could not be read and was skipped: the first ones, all, or only how many."""
    if quiet:
        if book.unreadable:
            skipped = counted(len(book.unreadable), "entry", "entries")
            click.echo(f"{skipped} skipped, see --verbose", err=True)
        return
    shown = book.unreadable if verbose else book.unreadable[:SHOWN_UNREADABLE]
    for entry in shown:
        hint = f" ({entry.hint})" if entry.hint else ""
        click.echo(
            f"skipped: {printable(entry.file)}, {printable(entry.place)}: {entry.reason}{hint}", err=True
        )
    if len(book.unreadable) > len(shown):
        rest = len(book.unreadable) - len(shown)
        click.echo(f"skipped: {rest} more (--verbose or --json lists all)", err=True)


def say_unchecked(gap: Gap | None) -> None:
    """Warn that part of the history could not be checked: the server may show another one."""
    if gap is not None:
        click.echo(
            f"warning: too much was published since the last sync ({gap.since} to {gap.until}) to check that "
            "the server still shows the same history; sync more often",
            err=True,
        )


def say_details(report: Report, book: AddressBook, *, sent: int, received: int) -> None:
    """Print on stderr what `--verbose` adds."""
    rate = report.false_positive_rate
    wrong = rate * (report.identifiers + report.further_forms)
    points = counted(report.evaluated, "point", "points")
    for line in (
        f"sent {sent:,} bytes, received {received:,} bytes ({report.downloaded:,} of data files)",
        f"evaluated {points} for {asked_of(report, book, report.new_identifiers).replace(' ', ' new ', 1)}",
        *(
            [f"budget: {quota.left:,} of {quota.burst:,} points left, {quota.per_day:,} restored each day"]
            if (quota := report.quota)
            else []
        ),
        f"false positives: {rate:.2g} per identifier, {wrong:.2g} expected in this address book",
    ):
        click.echo(line, err=True)
    if report.privacy == "screen" and report.whole:
        from contactsync.library.identifying import title_of

        codes = ", ".join(map(title_of, report.whole))
        click.echo(f"used the whole directory for {codes}: screen and buckets would cost no less", err=True)


def check_writable(path: Path | None, inputs: Sequence[Path]) -> None:
    """Check before a sync that its result can be written and does not replace an input.

    Raises BadInput.
    """
    from contactsync.foundation.errors import BadInput

    if path is None:
        return
    if path.is_file() and any(file.exists() and path.samefile(file) for file in inputs):
        raise BadInput(f"{path} is also an input and would be overwritten", hint="choose another --output")
    place = path.resolve()
    if not place.exists():
        place = place.parent
    if not place.exists() or not os.access(place, os.W_OK):
        reason = "permission denied" if place.exists() else "no such folder"
        raise BadInput(f"cannot write {path}: {reason}", hint="choose another --output")


def write(text: str, path: Path | None, *, utf8: bool) -> None:
    """Write data to stdout, or to a file of mode 0600, which appears whole or not at all.

    `utf8`: write UTF-8 to stdout too, whatever the terminal's encoding. JSON, CSV and vCards are for
    programs.
    """
    if path is None:
        click.echo(text.encode() if utf8 else text, nl=False)
        _json.printed()
        return
    from contactsync.foundation import durable
    from contactsync.foundation.errors import BadInput

    try:
        if path.exists() and not path.is_file():  # a pipe or a device must not be replaced by a file
            path.write_text(text, encoding="utf-8")
        else:
            durable.write(path.resolve(), text.encode())  # a link is kept, and points to the new file
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:  # the choice of the file is not at fault
            raise
        raise BadInput(f"cannot write {path}: {error.strerror}", hint="choose another --output") from error


@contextlib.contextmanager
def log_on_stderr() -> Iterator[None]:
    """For `--verbose`: show the log messages of the packages below (such as how a match is made)."""
    logger = logging.getLogger("contactsync")
    handler = logging.StreamHandler(sys.stderr)
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.setLevel(before)
        logger.removeHandler(handler)


def printable(text: str) -> str:
    """The text without characters that could move a terminal's cursor."""
    return "".join(c if c.isprintable() else "?" for c in text)


def _people(matches: Sequence[Match]) -> list[dict[str, Any]]:
    return [asdict(match) for match in matches]


def counted(number: int, one: str, many: str) -> str:
    """A number with its noun."""
    return f"{number:,} {one if number == 1 else many}"


def _width(text: str) -> int:
    """Columns of a terminal (Unicode Standard Annex #11, as far as a table needs it)."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text
    )


def _cell(text: str, width: int) -> str:
    if _width(text) > width:
        while _width(text) > width - 1:
            text = text[:-1]
        text += "…"
    return text + " " * (width - _width(text))
