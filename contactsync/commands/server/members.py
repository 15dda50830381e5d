"""`contactsync server members`: who can be found."""

from __future__ import annotations

from pathlib import Path

import click

from contactsync.commands._numbers import for_each_chunk, members_of
from contactsync.commands.server._shared import (
    audience_option,
    data_option,
    members_of_folder,
    region_option,
)
from contactsync.foundation.audiences import AUDIENCES


@click.group()
def members() -> None:
    """Manage the members, who can be found."""


@members.command("import")
@click.argument("file", type=click.Path(allow_dash=True))
@data_option
@region_option
@audience_option
def import_members(file: str, data: Path, region: str | None, audience: str) -> None:
    """Add the numbers in FILE as members. FILE is a list, or CSV with a column `phone`; `-` is stdin.

    Importing a file again changes nothing. A line that cannot be read is reported and skipped.
    """
    with members_of_folder(data) as store:
        added, known, bad = for_each_chunk(file, region, lambda members: store.add(members, audience).new)
    click.echo(f"{added:,} added, {known:,} already there, {bad:,} rejected")


@members.command("add")
@click.argument("numbers", nargs=-1, required=True, metavar="NUMBER...")
@data_option
@region_option
@audience_option
def add_members(numbers: tuple[str, ...], data: Path, region: str | None, audience: str) -> None:
    """Add each NUMBER as a member. If one cannot be read, none is added."""
    with members_of_folder(data) as store:
        added = store.add(members_of(numbers, region), audience).new
    click.echo(f"{added:,} added")


@members.command("remove")
@click.argument("numbers", nargs=-1, metavar="NUMBER...")
@click.option("--file", metavar="FILE", type=click.Path(allow_dash=True), help="Remove the numbers in FILE.")
@data_option
@region_option
@click.option(
    "--audience", type=click.Choice(AUDIENCES), help="Remove from this audience only (default: all)."
)
def remove_members(
    numbers: tuple[str, ...], file: str | None, data: Path, region: str | None, audience: str | None
) -> None:
    """Remove members and all data stored about them. Clients see this after the next publish."""
    if bool(numbers) == bool(file):
        raise click.UsageError("Give either NUMBER... or --file FILE.")
    with members_of_folder(data) as store:
        if file:
            removed, _, _ = for_each_chunk(file, region, lambda members: store.remove(members, audience))
        else:
            removed = store.remove(members_of(numbers, region), audience)
    click.echo(f"{removed:,} removed")


@members.command("count")
@data_option
@audience_option
def count_members(data: Path, audience: str) -> None:
    """Count the members."""
    with members_of_folder(data) as store:
        click.echo(store.count(audience))
