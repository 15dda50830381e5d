"""`contactsync server members show` and `consent`: what is stored about somebody, and what they agreed to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from contactsync.commands import _json
from contactsync.commands._numbers import FROM_STDIN, file_option, members_given, numbers_argument
from contactsync.commands._output import printable
from contactsync.commands.server._members_shared import by_option, members_at, origin_of
from contactsync.commands.server._receipts import check_erasure, receipt_options, write_receipt
from contactsync.commands.server._shared import (
    audience_option,
    data_option,
    json_option,
    region_option,
)
from contactsync.foundation.audiences import AUDIENCES
from contactsync.foundation.errors import BadInput


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
    as_json = as_json or numbers == (FROM_STDIN,)
    register = members_at(data)
    for one in register.show(members_given(numbers, file, region)):
        if as_json:
            _json.emit(one.as_json())
        else:
            _print(one.as_json())


def _print(found: dict[str, Any]) -> None:
    click.echo(found["number"])
    if not found["stored"]:
        click.echo("  nothing is stored")
        return
    click.echo(f"  added {found['added']}, last verified {found['verified']}")
    if found["other"] is not None:
        click.echo(f"  also {found['other']}")
    if found["label"] is not None:
        click.echo(f"  label: {printable(found['label'])}")
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
    if granted is None:
        raise click.UsageError("Give --on or --off.")
    if granted and (only or receipt_file is not None or reference is not None):
        raise click.UsageError("--only, --receipt and --reference belong to --off.")
    origin = origin_of(source, by)
    found, erasure = members_at(data).consent(
        members_given(numbers, file, region),
        audience,
        granted=granted,
        origin=origin,
        only=only,
        receipt=as_json or receipt_file is not None,
        reference=reference,
    )
    write_receipt(receipt_file, erasure)
    if found.unknown and not found.changed and not found.unchanged:
        raise BadInput("not a member; nothing was changed", hint="use `members add` first")
    if as_json:
        counts = {"changed": found.changed, "unchanged": found.unchanged, "unknown": found.unknown}
        _json.emit({**counts, "receipt": erasure.receipt})
    else:
        unknown = f", {found.unknown:,} not known" if found.unknown else ""
        click.echo(f"{found.changed:,} changed, {found.unchanged:,} as before{unknown}")
    check_erasure(erasure, as_json=as_json)
