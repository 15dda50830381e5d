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
    """Who can be found."""


@members.command("import")
@click.argument("file", type=click.Path(allow_dash=True))
@data_option
@region_option
@audience_option
def import_members(file: str, data: Path, region: str | None, audience: str) -> None:
    """Make the numbers in FILE members: a list, or CSV with a column `phone`. `-` is stdin.

    Importing a file again changes nothing. A line that cannot be read is reported and costs that line only.
    """
    with members_of_folder(data) as store:
        added, known, bad = for_each_chunk(file, region, lambda members: store.add(members, audience))
    click.echo(f"{added:,} added, {known:,} already there, {bad:,} rejected")


@members.command("add")
@click.argument("numbers", nargs=-1, required=True, metavar="NUMBER...")
@data_option
@region_option
@audience_option
def add_members(numbers: tuple[str, ...], data: Path, region: str | None, audience: str) -> None:
    """Make each NUMBER a member; none if one of them cannot be read."""
    with members_of_folder(data) as store:
        added = store.add(members_of(numbers, region), audience)
    click.echo(f"{added:,} added")


@members.command("remove")
@click.argument("numbers", nargs=-1, metavar="NUMBER...")
@click.option("--file", metavar="FILE", type=click.Path(allow_dash=True), help="Remove the numbers in FILE.")
@data_option
@region_option
@click.option("--audience", type=click.Choice(AUDIENCES), help="Only from this one (default: from all).")
def remove_members(
    numbers: tuple[str, ...], file: str | None, data: Path, region: str | None, audience: str | None
) -> None:
    """Remove members, and all that is stored about them. Clients see it after the next publish."""
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
    """How many members there are."""
    with members_of_folder(data) as store:
        click.echo(store.count(audience))
