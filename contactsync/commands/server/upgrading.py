"""`contactsync server upgrade`."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click

from contactsync.commands import _json
from contactsync.commands._output import counted
from contactsync.commands.server._shared import data_option, json_option


@click.command()
@data_option
@click.option(
    "--dry-run",
    is_flag=True,
    help="Migrate a copy, say what was done, and overwrite it. With PostgreSQL: say what would be done.",
)
@json_option
def upgrade(data: Path, *, dry_run: bool, as_json: bool) -> None:
    """Bring a data folder of an earlier version to this one, and say what to do after it.

    Every command does that when it opens the folder; `--dry-run` shows it before. Stop `serve` and `admin` of
    the earlier version first. It can be killed at any moment, and run again.
    """
    from contactsync.library import upgrades

    folder = upgrades.DataFolder.existing(data)
    done = upgrades.try_upgrade(folder) if dry_run else upgrades.upgrade(folder)
    if as_json:
        _json.emit({"dry_run": dry_run, "needed": done.is_needed, **dataclasses.asdict(done)})
        return
    for one in done.databases:
        if one.version == one.to:
            click.echo(f"{one.name}: version {one.to}, nothing to do")
        elif one.version:
            steps = counted(one.to - one.version, "migration", "migrations")
            click.echo(f"{one.name}: version {one.version} to {one.to}, {steps}")
        else:
            click.echo(f"{one.name}: there was none, it is made: version {one.to}")
    people = ", ".join(f"{count:,} in {audience}" for audience, count in done.members.items())
    if done.tried:
        click.echo(f"{'on a copy: ' if dry_run else ''}{done.seconds:.1f} s; members: {people}")
    else:
        click.echo(
            "not tried, as PostgreSQL is not copied: each migration is one transaction, whole or not at all",
            err=True,
        )
    if not dry_run:
        click.echo("check: `server status`; start `serve` and `admin` of this version", err=True)
    elif done.is_needed:
        click.echo("next: `server backup` (an earlier contactsync refuses the folder afterwards)", err=True)
        click.echo("next: stop `serve` and `admin`, `server upgrade`, start them again", err=True)
    for audience in done.rebuilds:
        click.echo(
            f"next: `server publish` builds every file of {audience} again, in a newer format", err=True
        )
