"""`contactsync server status`: what there is, and what must be done."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from contactsync.commands import _json
from contactsync.commands._output import counted
from contactsync.commands.server._published import about_rows
from contactsync.commands.server._shared import data_option, json_option
from contactsync.foundation.errors import ContactSyncError

if TYPE_CHECKING:  # numpy hangs on these
    from contactsync.library.server import AudienceStatus, Server, Status


@click.command("status")
@data_option
@json_option
@click.option(
    "--check",
    is_flag=True,
    help="For cron: print one line for each thing that must be done, and end with exit code 12 if there is"
    " one. Also runs the clients' own code over what is served.",
)
def show_status(data: Path, *, as_json: bool, check: bool) -> None:
    """Show what is published, when its signatures expire, and what needs attention."""
    from contactsync.library.server import TO_DO, Server

    server = Server(data)
    now = datetime.now(UTC)
    found = _checked(server, now) if check else server.status(now)
    if as_json:
        _json.emit(dataclasses.asdict(found))
    elif check:
        for line in found.due:
            click.echo(line)
    else:
        _say(found, now)
    if check and found.due:
        click.get_current_context().exit(TO_DO)


def _checked(server: Server, now: datetime) -> Status:
    """The status with what clients would refuse, which is said first: `status` may not be able to read it."""
    wrong = server.refusals(now)
    try:
        found = server.status(now)
    except ContactSyncError:
        for line in wrong:
            click.echo(line)
        raise
    return dataclasses.replace(found, due=(*wrong, *found.due))


def _say(found: Status, now: datetime) -> None:
    from contactsync.library.fingerprints import grouped

    for one in found.audiences:
        _say_audience(one, now)
    if not found.audiences:
        click.echo("no members")
    click.echo(f"unpublished changes: {'yes' if found.pending else 'no'}")
    click.echo(f"accounts: {found.accounts}")
    for crowd, breaker in found.breakers.items():
        click.echo(
            f"points in the last hour, {crowd} accounts: {breaker.last_hour:,} of "
            f"{f'{breaker.limit:,}' if breaker.limit else 'any number'} (most in a day: {breaker.most:,})"
        )
    click.echo(f"fingerprint {grouped(found.root_fingerprint)}")
    for role, end in found.expires.items():
        click.echo(f"{role} is signed until {end:%Y-%m-%d %H:%M} UTC")
    if found.log is not None:
        cosigned = sum(one.cosigned for one in found.log.witnesses)
        click.echo(
            f"log: {counted(found.log.size, 'entry', 'entries')}, cosigned by {cosigned} of"
            f" {counted(len(found.log.witnesses), 'witness', 'witnesses')} ({found.log.quorum} must)"
        )
    if found.store is not None:
        since = found.store.behind_since
        how = "up to date" if since is None else f"behind since {since:%Y-%m-%d %H:%M} UTC"
        click.echo(
            f"store: {found.store.store}, {how} (timestamp version {found.store.version} of"
            f" {found.store.published})"
        )
    for warning in found.warnings:
        click.echo(f"warning: {warning}", err=True)


def _say_audience(one: AudienceStatus, now: datetime) -> None:
    click.echo(
        f"{one.audience}: epoch {one.epoch}, edition {one.edition}, "
        f"{counted(one.published, 'token', 'tokens')} in "
        f"{counted(one.partitions, 'partition', 'partitions')} ({one.bytes:,} bytes), "
        f"{counted(one.members, 'member', 'members')}"
        if one.edition
        else f"{one.audience}: {counted(one.members, 'member', 'members')}, not published"
    )
    if one.rows is not None:
        click.echo(f"  {about_rows(one.rows)}")
    if one.overlap_until is not None:
        until = f"{one.overlap_until:%Y-%m-%d %H:%M} UTC"
        click.echo(f"  epoch {one.next_epoch} is announced beside it, until {until}")
    elif one.began is not None and one.rotation_due is not None:
        age = counted((now - one.began).days, "day", "days")
        points = counted(one.evaluated, "point", "points")
        click.echo(f"  the epoch is {age} old ({points}); a rotation is due {one.rotation_due:%Y-%m-%d}")
