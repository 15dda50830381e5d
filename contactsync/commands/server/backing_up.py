"""`contactsync server backup` and `restore`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from contactsync.commands import _json
from contactsync.commands._output import counted
from contactsync.commands.server._shared import data_option, json_option

if TYPE_CHECKING:
    from contactsync.library.backups import BackupFacts, Restored

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.argument("dest", type=_FILE)
@data_option
@click.option(
    "--recipient",
    "recipients",
    multiple=True,
    metavar="AGE1…",
    help="Encrypt it with the program age, to this recipient (or to those in this file). Repeatable.",
)
@click.option(
    "--with-keys/--without-keys",
    default=None,
    help="Whether keys/ is in it (default: yes, if it is encrypted or the keys have a passphrase).",
)
@json_option
def backup(
    dest: Path, data: Path, *, recipients: tuple[str, ...], with_keys: bool | None, as_json: bool
) -> None:
    """Write everything that the server needs to DEST, one new file (0600).

    `serve`, imports and publishes may run meanwhile: it stands for the moment that is printed. DEST appears
    when it is whole.
    """
    from contactsync import __version__
    from contactsync.library.backups import DataFolder, back_up

    made = back_up(DataFolder.existing(data), dest, __version__, recipients=recipients, with_keys=with_keys)
    about = made.about
    if as_json:
        _json.emit(
            {
                "file": str(dest),
                "bytes": made.length,
                "encrypted": bool(recipients),
                **_facts(about),
                "damaged": list(made.damaged),
            }
        )
        return
    click.echo(f"{dest}: {made.length:,} bytes, as of {about.made}")
    for audience, (epoch, edition) in about.published.items():
        click.echo(f"{audience}: epoch {epoch}, edition {edition}")
    if not about.keys:
        click.echo("without keys/: keep a copy of it elsewhere, a server needs it", err=True)
    if not recipients:
        click.echo("not encrypted: it has every member and account; --recipient encrypts it", err=True)
    for partition in made.damaged:
        click.echo(f"warning: files of {partition} are missing in public/: `server publish`", err=True)
    click.echo(
        f"check it: `server restore {dest} --dry-run --data` with a folder that is not there", err=True
    )


@click.command()
@click.argument("backup", type=_FILE, required=False)
@data_option
@click.option("--identity", type=_FILE, metavar="FILE", help="File with the age key that decrypts BACKUP.")
@click.option("--replace", is_flag=True, help="DIR has a server: put the backup in its place.")
@click.option(
    "--removed",
    type=click.Choice(["remove", "return"]),
    help="With --replace: whether who was removed, left or objected since is removed again, or returns.",
)
@click.option(
    "--old-public",
    is_flag=True,
    help="With --replace: publish what was published then, even if DIR has a newer edition.",
)
@click.option(
    "--database",
    metavar="URL",
    envvar="CONTACTSYNC_DATABASE",
    help="Have members and accounts in this empty PostgreSQL database, postgresql://USER@HOST/NAME"
    " (CONTACTSYNC_DATABASE, which may contain the password).",
)
@click.option("--files", is_flag=True, help="Have members and accounts in files of DIR, wherever they were.")
@click.option("--dry-run", is_flag=True, help="Verify everything and say what would happen; change nothing.")
@click.option("--undo", is_flag=True, help="Take back a --replace: what was there before is there again.")
@json_option
@click.pass_context
def restore(
    context: click.Context,
    backup: Path | None,
    data: Path,
    *,
    identity: Path | None,
    replace: bool,
    removed: Literal["remove", "return"] | None,
    old_public: bool,
    database: str | None,
    files: bool,
    dry_run: bool,
    undo: bool,
    as_json: bool,
) -> None:
    """Make DIR what BACKUP holds: a new or empty folder, or with --replace that of a server.

    Everything is verified first. A backup that is damaged or cut off is refused, and nothing changes. What
    --replace takes away is kept beside DIR, as DIR.before-restore.

    If members and accounts were in PostgreSQL, give --database with another, empty database, or --files. The
    database that they were in is not touched.
    """
    from contactsync.library import backups

    given = context.get_parameter_source("database") is click.core.ParameterSource.COMMANDLINE
    if files and given:
        raise click.UsageError("Give either --database or --files.")
    if undo:
        if backup is not None or replace or dry_run or files or given:
            raise click.UsageError("Give --undo and --data alone.")
        other = backups.undo(data)
        if as_json:
            _json.emit({"undone": True, "before": str(other)})
            return
        click.echo(f"{data} is what it was before; what was restored is in {other}")
        _say_restart()
        return
    if backup is None:
        raise click.UsageError("Missing argument 'BACKUP'.")
    where = None if files or not database else backups.read_address(database, private=not given)
    done = backups.restore(
        backup,
        data,
        identity=identity,
        replace=replace,
        people=removed,
        old_public=old_public,
        dry_run=dry_run,
        database=where,
        files=files,
    )
    if as_json:
        _json.emit(_restored(done, dry_run=dry_run))
        return
    click.echo(f"{backup} is whole: as of {done.about.made}" + (", nothing was changed" if dry_run else ""))
    for audience, (epoch, edition) in done.about.published.items():
        click.echo(f"{audience}: epoch {epoch}, edition {edition}")
    _say_what_to_check(data, done, removed)
    if not dry_run:
        _say_restart()


def _facts(about: BackupFacts) -> dict[str, Any]:
    return {
        "made": about.made,
        "fingerprint": about.fingerprint,
        "keys": about.keys,
        "published": _positions(about.published),
    }


def _positions(places: Mapping[str, tuple[int, int]]) -> list[dict[str, Any]]:
    return [
        {"audience": audience, "epoch": epoch, "edition": edition}
        for audience, (epoch, edition) in places.items()
    ]


def _restored(done: Restored, *, dry_run: bool) -> dict[str, Any]:
    people = done.returning
    return {
        "undone": False,
        "dry_run": dry_run,
        **_facts(done.about),
        "public_kept": done.public_kept,
        "seen": _positions({name: (place.epoch, place.edition) for name, place in done.seen.items()}),
        "compared": people is not None,
        "not_compared_because": done.unreadable,
        "left_since": 0 if people is None else people.people,
        "joined_since": 0 if people is None else people.joined,
        "revoked_since": [] if people is None else list(people.accounts),
        "before": None if done.before is None else str(done.before),
        "damaged": list(done.damaged),
    }


def _say_who_returns(done: Restored, removed: str | None) -> None:
    people = done.returning
    if people is None:
        if done.unreadable:
            _check(f"nobody could be compared: {done.unreadable}")
        _check(f"who was removed, objected or was revoked after {done.about.made} is in it again:")
        _check("  remove them, as your receipts say, before you publish")
        _check("who joined since is missing: import them again")
        return
    what = "removed again" if removed == "remove" else "back"
    if people.people:
        _check(f"{counted(people.people, 'person', 'people')} who left since: {what}")
    if people.accounts:
        _check(f"{counted(len(people.accounts), 'account', 'accounts')} revoked since: {what}")
    if people.joined:
        _check(f"{counted(people.joined, 'member', 'members')} of later days are missing: import them again")


def _say_what_to_check(data: Path, done: Restored, removed: str | None) -> None:
    _say_who_returns(done, removed)
    if done.public_kept:
        _check(
            "what is published stays as it was, as it is newer than the backup; `server publish` compares it"
        )
    elif done.seen:
        for audience, place in done.seen.items():
            _check(f"clients may have seen {place} of {audience}: they refuse")
        _check('  older ones (exit code 5): `contactsync docs operations`, "Restore", says how to get above')
    else:
        _check("clients refuse editions older than those that they have seen (exit code 5): if something was")
        _check('  published since, `contactsync docs operations`, "Restore", says how to get above')
    if not done.about.keys:
        _check(f"keys/ is not in the backup: copy it to {data}/keys before anything else")
    if done.database is not None:
        _check(f"members and accounts are in {done.database}: CONTACTSYNC_DATABASE has to name it, where")
        _check("  that is set for `serve` and others")
    for partition in done.damaged:
        _check(f"files of {partition} are missing: `server publish` makes them again")
    if done.before is not None:
        _check(
            f"{done.before} is what was there: `server restore --undo` exchanges them; erase it in the end"
        )


def _check(text: str) -> None:
    click.echo(f"check: {text}", err=True)


def _say_restart() -> None:
    click.echo("next: `server status`, then `server publish`; restart `serve` and `admin`", err=True)
