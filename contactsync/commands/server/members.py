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
    chunks_given,
    file_option,
    members_given,
    numbers_argument,
)
from contactsync.commands.server._members_shared import (
    ABOUT_SOURCE,
    DAY,
    by_option,
    members_at,
    number_of,
    origin_of,
    verified_option,
)
from contactsync.commands.server._receipts import check_erasure, receipt_options, write_receipt
from contactsync.commands.server._shared import (
    audience_option,
    data_option,
    json_option,
    region_option,
)
from contactsync.commands.server.member_import import import_members
from contactsync.commands.server.member_labels import label, move, unpair
from contactsync.commands.server.member_rights import consent, show
from contactsync.foundation.audiences import AUDIENCES
from contactsync.foundation.errors import BadInput

if TYPE_CHECKING:  # numpy hangs on these
    from contactsync.library.members import MemberEntry


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
@click.option("--label", metavar="TEXT", help="Who the member is: up to 64 octets, for who finds them.")
@click.option("--email", metavar="ADDRESS", help="E-mail address of the same member: give one NUMBER.")
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
    label: str | None,
    email: str | None,
    source: str | None,
    by: str | None,
) -> None:
    """Add each NUMBER as a member. If one cannot be read, none is added.

    `-` reads the numbers from stdin, one a line. Who has objected to the audience is not added (`consent`). A
    NUMBER may also be an e-mail address.
    """
    day, origin = None if verified is None else verified.date(), origin_of(source or "members add", by)
    register = members_at(data)
    if (email or label is not None) and len(numbers) != 1:
        raise click.UsageError("--email and --label belong to one member: give one NUMBER.")
    if email:
        found = register.enrol(
            numbers[0], email, audience, label=label, region=region, verified=day, origin=origin
        )
    else:
        given = members_given(numbers, file, region)
        found = register.add(given, audience, label=label, verified=day, origin=origin)
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
    origin = origin_of("members remove", None)
    erasure = members_at(data).remove(
        chunks_given(numbers, file, region),
        audience,
        origin=origin,
        receipt=as_json or receipt_file is not None,
        reference=reference,
    )
    write_receipt(receipt_file, erasure)
    if as_json and erasure.receipt is not None:
        _json.emit(erasure.receipt)
    else:
        click.echo(f"{erasure.removed:,} removed")
    check_erasure(erasure, as_json=as_json)


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
    erasure = members_at(data).expire(
        before.date(),
        dry_run=dry_run,
        receipt=as_json or receipt_file is not None,
        reference=reference,
    )
    write_receipt(receipt_file, erasure)
    if as_json:
        _json.emit({"dry_run": dry_run, "removed": erasure.removed, "receipt": erasure.receipt})
    else:
        click.echo(f"{erasure.removed:,} {'would be removed' if dry_run else 'removed'}")
    check_erasure(erasure, as_json=as_json)


@members.command("count")
@data_option
@audience_option
def count_members(data: Path, audience: str) -> None:
    """Count the members."""
    click.echo(members_at(data).count(audience))


@members.command("list")
@data_option
@audience_option
def list_members(data: Path, audience: str) -> None:
    """Print the numbers of the members of an audience, one a line."""
    for entry in members_at(data).entries(audience):
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
    register = members_at(data)
    with _to(output) as text:
        write = _csv_writer(text) if form == "csv" else _json_writer(text)
        for entry in register.entries(audience):
            write(entry)


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


for command in (import_members, show, consent, label, move, unpair):
    members.add_command(command)
