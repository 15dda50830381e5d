"""`contactsync server members label`, `move` and `unpair`: who a member is, and by what they are known."""

from __future__ import annotations

from pathlib import Path

import click

from contactsync.commands.server._members_shared import ABOUT_SOURCE, by_option, members_at, origin_of
from contactsync.commands.server._shared import data_option, region_option
from contactsync.foundation.errors import BadInput


@click.command()
@click.argument("number")
@click.argument("text", required=False, metavar="[LABEL]")
@click.option("--remove", is_flag=True, help="Remove the label.")
@data_option
@region_option
def label(number: str, text: str | None, data: Path, region: str | None, *, remove: bool) -> None:
    """Set the LABEL of a member: who they are, for everybody who finds them.

    NUMBER may also be an e-mail address. A label is text of up to 64 octets: an account id, a handle, a key
    fingerprint. It is encrypted, for those alone who look this member up; all who do can read it. Clients see
    it after the next publish. For many at once use `import --label-column`, for which - is stdin.

    A member has one label, whatever they are known by. It goes with the member: when they are removed,
    object, or expire. An old label is overwritten.
    """
    if remove == (text is not None):
        raise click.UsageError("Give a LABEL, or --remove.")
    found = members_at(data).label({number: text}, region=region)
    if found.unknown:
        raise BadInput("not a member; nothing was changed", hint="use `members add` first")
    click.echo("changed" if found.changed else "as before")


@click.command()
@click.argument("old")
@click.argument("new")
@data_option
@region_option
@click.option("--source", metavar="TEXT", help=ABOUT_SOURCE)
@by_option
def move(old: str, new: str, data: Path, region: str | None, *, source: str | None, by: str | None) -> None:
    """Give a member another number, or another e-mail address: NEW instead of OLD.

    Audiences, objections, label, and the other identifier of the same member stay. What was stored about OLD
    is overwritten. Nothing is changed if somebody has NEW already.
    """
    origin = origin_of(source or "members move", by)
    erasure = members_at(data).move(old, new, region=region, origin=origin)
    click.echo("moved" + (f"; not overwritten yet: {erasure.kept}" if erasure.kept else ""))


@click.command()
@click.argument("numbers", nargs=-1, required=True, metavar="NUMBER...")
@data_option
@region_option
def unpair(numbers: tuple[str, ...], data: Path, region: str | None) -> None:
    """Let number and e-mail address be two members from now on, each with all that they had.

    NUMBER is either of the two. To remove one of them alone, unpair them first.
    """
    found = members_at(data).unpair(numbers, region=region)
    click.echo(f"{found:,} unpaired")
