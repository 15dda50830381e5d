"""`contactsync server members show` and `consent`: what is stored about somebody, and what they agreed to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from contactsync.commands import _json
from contactsync.commands._numbers import FROM_STDIN, file_option, members_given, numbers_argument
from contactsync.commands.server._members_shared import by_option, number_of, origin_of
from contactsync.commands.server._receipts import Erasing, receipt_options
from contactsync.commands.server._shared import (
    audience_option,
    data_option,
    folder_of,
    json_option,
    members_of_folder,
    region_option,
)
from contactsync.foundation.audiences import AUDIENCES
from contactsync.foundation.errors import BadInput

if TYPE_CHECKING:  # numpy hangs on these
    pass


@click.command()
@numbers_argument
@file_option("Show the numbers in FILE, a list or CSV with a column `phone`.")
@data_option
@region_option
@json_option
def show(
    numbers: tuple[str, ...], file: str | None, data: Path, region: str | None, *, as_json: bool
) -> None:
    """Show everything that is stored about each NUMBER, and in which editions it is published.

    `-` reads the numbers from stdin, one a line, and prints one JSON object a line; so does --json.
    """
    from contactsync.publication.tuf.repository import Repository
    from contactsync.server.presence import everything, presences

    as_json = as_json or numbers == (FROM_STDIN,)
    repository = Repository(folder_of(data).public)
    batches = members_given(numbers, file, region)
    with members_of_folder(data) as store:
        for batch in batches:
            records = {record.entry.identifier: record for record in store.show(batch)}
            for identifier in batch.identifiers():
                record = records.get(identifier)
                found = _nothing(identifier)
                if record is not None:
                    published = presences(store, repository, record)
                    number = number_of(identifier)
                    found = {"number": number, "stored": True, **everything(record, published)}
                if as_json:
                    _json.emit(found)
                else:
                    _print(found)


def _nothing(identifier: bytes) -> dict[str, Any]:
    return {"number": number_of(identifier), "stored": False}


def _print(found: dict[str, Any]) -> None:
    click.echo(found["number"])
    if not found["stored"]:
        click.echo("  nothing is stored")
        return
    click.echo(f"  added {found['added']}, last verified {found['verified']}")
    for audience in AUDIENCES:
        state = "member" if audience in found["audiences"] else "not a member"
        if audience in found["objections"]:
            state = "objected"
        click.echo(f"  {audience}: {state}")
    for one in found["consents"]:
        joined = "on" if one["granted"] else "off"
        by = f", by {one['by']}" if one["by"] else ""
        click.echo(f"  {one['at']}: {one['audience']} {joined}, source: {one['source']}{by}")
    for one in found["tokens"]:
        click.echo(f"  token of {one['audience']}, epoch {one['epoch']}: {one['token']}")
    for one in found["published"]:
        click.echo(f"  {one['audience']}: {one['text']}")


@click.command()
@numbers_argument
@file_option("The members in FILE, a list or CSV with a column `phone`.")
@data_option
@region_option
@audience_option
@click.option(
    "--on/--off", "granted", default=None, help="Opt in (or end an objection), or withdraw and object."
)
@click.option(
    "--source", required=True, metavar="TEXT", help='Where this is from, like "app 3.1"; it is kept.'
)
@by_option
@click.option(
    "--only", is_flag=True, help="With --off: leave this audience only. Who leaves people leaves all."
)
@receipt_options
@json_option
def consent(
    numbers: tuple[str, ...],
    file: str | None,
    data: Path,
    region: str | None,
    audience: str,
    *,
    granted: bool | None,
    source: str,
    by: str | None,
    only: bool,
    reference: str | None,
    receipt_file: Path | None,
    as_json: bool,
) -> None:
    """Record that members opt in to an audience, or that they object to it.

    `-` reads the numbers from stdin, one a line. Each change is kept with its time, its source and who made
    it; `show` prints them. Clients see it after the next publish. An objection is remembered, whatever is
    imported later, and also of numbers that are no members. Nobody becomes a member by --on alone.

    With --off, tokens are overwritten, and --json has a receipt, as that of `remove`.
    """
    from contactsync.server.storage.records import Consented

    if granted is None:
        raise click.UsageError("Give --on or --off.")
    if granted and (only or receipt_file is not None or reference is not None):
        raise click.UsageError("--only, --receipt and --reference belong to --off.")
    origin = origin_of(source, by)
    batches = members_given(numbers, file, region)
    found, receipt = Consented(0, 0, 0), None
    # Who leaves people leaves all audiences.
    left = audience if only or audience != AUDIENCES[0] else None
    with members_of_folder(data) as store:
        wanted = as_json and not granted
        erasing = Erasing(
            data, store, left, wanted=wanted, file=receipt_file, reference=reference, objects=True
        )
        with store.together():
            for batch in batches:
                if not granted:
                    erasing.watch(batch, left)
                found += store.consent(batch, audience, granted=granted, origin=origin, only=only)
        if not granted:
            receipt = erasing.finish(found.changed)
        if found.unknown and not found.changed and not found.unchanged:
            raise BadInput("not a member; nothing was changed", hint="use `members add` first")
        if as_json:
            counts = {"changed": found.changed, "unchanged": found.unchanged, "unknown": found.unknown}
            _json.emit({**counts, "receipt": receipt})
        else:
            unknown = f", {found.unknown:,} not known" if found.unknown else ""
            click.echo(f"{found.changed:,} changed, {found.unchanged:,} as before{unknown}")
        erasing.check(as_json=as_json)
