"""`contactsync server members`: who can be found."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from contactsync.commands import _json
from contactsync.commands._numbers import (
    file_option,
    for_each_chunk,
    members_given,
    members_of,
    numbers_argument,
    source_of,
)
from contactsync.commands.server._members_shared import (
    ABOUT_SOURCE,
    DAY,
    by_option,
    number_of,
    origin_of,
    verified_option,
)
from contactsync.commands.server._receipts import Erasing, receipt_options
from contactsync.commands.server._shared import (
    audience_option,
    data_option,
    json_option,
    members_of_folder,
    region_option,
)
from contactsync.commands.server.member_import import import_members
from contactsync.commands.server.member_rights import consent, show
from contactsync.foundation.audiences import AUDIENCES
from contactsync.foundation.errors import BadInput

if TYPE_CHECKING:  # numpy hangs on these
    from contactsync.server.storage.ports import Members, MemberStore
    from contactsync.server.storage.records import MemberEntry

PAGE = 1 << 14


@click.group()
def members() -> None:
    """Manage the members, who can be found."""


@members.command("add")
@numbers_argument
@file_option("Add the numbers in FILE, a list or CSV with a column `phone`.")
@data_option
@region_option
@audience_option
@verified_option
@click.option("--source", metavar="TEXT", help=ABOUT_SOURCE)
@by_option
def add_members(
    numbers: tuple[str, ...],
    file: str | None,
    data: Path,
    region: str | None,
    audience: str,
    *,
    verified: datetime | None,
    source: str | None,
    by: str | None,
) -> None:
    """Add each NUMBER as a member. If one cannot be read, none is added.

    `-` reads the numbers from stdin, one a line. Who has objected to the audience is not added (`consent`).
    """
    from contactsync.server.storage.records import Added

    day, origin = None if verified is None else verified.date(), origin_of(source or "members add", by)
    with members_of_folder(data) as store:
        found = Added(0, 0, 0)
        batches = members_given(numbers, file, region)
        with store.together():
            for batch in batches:
                found += store.add(batch, audience, verified=day, origin=origin)
    click.echo(
        f"{found.new:,} added" + (f", {found.objected:,} not: they objected" if found.objected else "")
    )


@members.command("remove")
@numbers_argument
@file_option("Remove the numbers in FILE, a list or CSV with a column `phone`.")
@data_option
@region_option
@click.option(
    "--audience", type=click.Choice(AUDIENCES), help="Remove from this audience only (default: all)."
)
@receipt_options
@json_option
def remove_members(
    numbers: tuple[str, ...],
    file: str | None,
    data: Path,
    region: str | None,
    audience: str | None,
    *,
    reference: str | None,
    receipt_file: Path | None,
    as_json: bool,
) -> None:
    """Remove members and all data stored about them. Clients see this after the next publish.

    `-` reads the numbers from stdin, one a line. Objections are forgotten, too: a later import adds whoever
    is in its file. To keep somebody out, use `consent --off`.

    What was stored is overwritten. The receipt (--json) says what was removed, where and when, and what is
    left until which step. It contains no number.
    """
    source = source_of(numbers, file)
    origin = origin_of("members remove", None)
    with members_of_folder(data) as store:
        erasing = Erasing(data, store, audience, wanted=as_json, file=receipt_file, reference=reference)

        def remove(members: Members) -> int:
            erasing.watch(members, audience)
            return store.remove(members, audience, origin=origin)

        removed = for_each_chunk(source, region, remove) if source else remove(members_of(numbers, region))
        receipt = erasing.finish(removed)
        if as_json and receipt is not None:
            _json.emit(receipt)
        else:
            click.echo(f"{removed:,} removed")
        erasing.check(as_json=as_json)


@members.command("expire")
@click.option("--before", type=DAY, required=True, metavar="DATE", help="A day, like 2026-01-31.")
@click.option("--dry-run", is_flag=True, help="Only say how many.")
@data_option
@receipt_options
@json_option
def expire(
    before: datetime,
    data: Path,
    *,
    dry_run: bool,
    reference: str | None,
    receipt_file: Path | None,
    as_json: bool,
) -> None:
    """Remove everybody who was last verified before DATE: the number may be somebody else's by now.

    `add` and `import` set the day on which a member was last verified, also for those who were members. The
    receipt is that of `remove`.
    """
    with members_of_folder(data) as store:
        if dry_run:
            expired = store.expire(before.date(), dry_run=True)
            if as_json:
                _json.emit({"dry_run": True, "removed": expired, "receipt": None})
            else:
                click.echo(f"{expired:,} would be removed")
            return
        erasing = Erasing(data, store, None, wanted=as_json, file=receipt_file, reference=reference)
        expired = store.expire(before.date(), watch=erasing.watch)
        receipt = erasing.finish(expired)
        if as_json:
            _json.emit({"dry_run": False, "removed": expired, "receipt": receipt})
        else:
            click.echo(f"{expired:,} removed")
        erasing.check(as_json=as_json)


@members.command("count")
@data_option
@audience_option
def count_members(data: Path, audience: str) -> None:
    """Count the members."""
    with members_of_folder(data) as store:
        click.echo(store.count(audience))


@members.command("list")
@data_option
@audience_option
def list_members(data: Path, audience: str) -> None:
    """Print the numbers of the members of an audience, one a line."""
    with members_of_folder(data) as store:
        for entry in _entries(store, audience):
            sys.stdout.write(f"{number_of(entry.identifier)}\n")


@members.command("export")
@data_option
@click.option(
    "--audience", type=click.Choice(AUDIENCES), help="Only its members (default: everybody stored)."
)
@click.option(
    "--format", "form", type=click.Choice(("csv", "jsonl")), default="csv", show_default=True, help="Format."
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write to FILE, readable by its owner only (default: stdout).",
)
def export(data: Path, audience: str | None, form: str, output: Path | None) -> None:
    """Write the members: number, audiences, objections, when they were added and last verified.

    Without --audience, those who only objected are in it, too. `show` says everything about a single member.
    """
    with members_of_folder(data) as store, _to(output) as text:
        write = _csv_writer(text) if form == "csv" else _json_writer(text)
        for entry in _entries(store, audience):
            write(entry)


def _entries(store: MemberStore, audience: str | None) -> Iterator[MemberEntry]:
    from contactsync.identifiers.kinds import KINDS

    with store.snapshot():
        for kind in KINDS:
            after = None
            while page := store.entries(kind, after, PAGE, audience):
                yield from page
                after = page[-1].key


@contextlib.contextmanager
def _to(output: Path | None) -> Iterator[IO[str]]:
    from contactsync.foundation import durable

    if output is None:
        yield sys.stdout
        return
    try:
        with durable.replacing(output) as file:
            text = io.TextIOWrapper(file, "utf-8", newline="")
            yield text
            text.flush()
            text.detach()
    except OSError as error:
        raise BadInput(f"cannot write {output}: {error.strerror}", hint="choose another file") from error


def _plain(entry: MemberEntry) -> dict[str, Any]:
    return {
        "number": number_of(entry.identifier),
        "audiences": list(entry.audiences),
        "objections": list(entry.objections),
        "added": datetime.fromtimestamp(entry.added, UTC).isoformat(),
        "verified": entry.verified.isoformat(),
    }


def _csv_writer(text: IO[str]) -> Callable[[MemberEntry], None]:
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["number", "audiences", "objections", "added", "verified"])

    def write(entry: MemberEntry) -> None:
        plain = _plain(entry)
        rows.writerow([" ".join(value) if isinstance(value, list) else value for value in plain.values()])

    return write


def _json_writer(text: IO[str]) -> Callable[[MemberEntry], None]:
    def write(entry: MemberEntry) -> None:
        text.write(json.dumps(_plain(entry)) + "\n")

    return write


for command in (import_members, show, consent):
    members.add_command(command)
