"""`contactsync matches` and `search`: the results of the last syncs, offline."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from contactsync.commands import _json, _output
from contactsync.commands._configuration import Configuration, config_option, load
from contactsync.commands._options import json_option, open_state, state_option
from contactsync.foundation.errors import BadInput, ContactSyncError, NotTrusted

if TYPE_CHECKING:
    from contactsync.commands._people import FoundSomewhere
    from contactsync.library.found import LastSync


@click.command()
@json_option
@config_option
@state_option
def matches(*, as_json: bool, config_file: Path | None, state_folder: Path | None) -> None:
    """Show who was found by the last sync, on all services, by person. Nothing is sent.

    With --json: people (list of {name, services}, a service being {service, identifiers, labels}, and labels
    an object of those identifiers whose member has one) and services (list of {service, url, audience, at,
    epoch, edition, members, contacts, identifiers, names_kept}).
    """
    _show(None, as_json=as_json, config_file=config_file, state_folder=state_folder)


@click.command()
@click.argument("name", nargs=-1, required=True)
@json_option
@config_option
@state_option
def search(
    name: tuple[str, ...], *, as_json: bool, config_file: Path | None, state_folder: Path | None
) -> None:
    """Show the matches of the last sync whose name or label contains NAME, or number its digits.

    Case and accents do not matter. Nothing is sent. Who is not shown was no member then, or not in the book.
    The exit code is 0, whether or not there is one.
    """
    _show(" ".join(name), as_json=as_json, config_file=config_file, state_folder=state_folder)


def _show(name: str | None, *, as_json: bool, config_file: Path | None, state_folder: Path | None) -> None:
    from contactsync.commands import _people

    kept = _kept(_configuration(config_file), state_folder)
    people = _people.of_results((service, last.people or ()) for service, _, _, last in kept)
    if name is not None:
        people = _people.called(people, name)
    if as_json:
        services = [_described(*one) for one in kept]
        _json.emit({"people": [one.as_json() for one in people], "services": services})
        return
    _print(people, kept, name)


def _print(
    people: list[FoundSomewhere], kept: list[tuple[str, str, str, LastSync]], name: str | None
) -> None:
    from contactsync.commands import _people

    alone = len(kept) == 1
    head = _people.head(people)
    if alone:
        head, rows = _output.with_labels(head[:2], [one.row_of_one() for one in people])
    else:
        rows = [one.row() for one in people]
    click.echo(_output.table(head, rows), nl=False)
    if not people and name is not None:
        click.echo(f"no match is called {_output.printable(name)}")
    for service, _, audience, last in kept:
        found = (
            "names are not kept"
            if last.people is None
            else _output.counted(len(last.people), "member", "members")
        )
        prefix = "" if alone else f"{service}, "
        click.echo(f"{prefix}{audience}: {found} among {last.contacts:,} contacts, {ago(last)}")


def _described(service: str, url: str, audience: str, last: LastSync) -> dict[str, Any]:
    figures = {
        name: getattr(last, name) for name in ("at", "epoch", "edition", "members", "contacts", "identifiers")
    }
    names = {"service": service, "url": url, "audience": audience}
    return {**names, **figures, "names_kept": last.people is not None}


def _kept(configuration: Configuration, state_folder: Path | None) -> list[tuple[str, str, str, LastSync]]:
    """Service, address, audience and last sync. Raises NotTrusted or BadInput if there is nothing at all."""
    from contactsync.library.found import last_syncs

    state = open_state(state_folder)
    if not state.servers():
        raise NotTrusted("no server is trusted yet", hint="run: contactsync trust URL")
    kept = [
        (_name(configuration, one.url, one.audience), one.url, one.audience, one.last)
        for one in last_syncs(state)
    ]
    if not kept:
        raise BadInput("there was no sync yet", hint="run: contactsync sync FILE")
    order = list(configuration.servers)
    return sorted(kept, key=lambda one: order.index(one[0]) if one[0] in order else len(order))


def _name(configuration: Configuration, url: str, audience: str) -> str:
    named = [one for one in configuration.servers.values() if one.url == url]
    for one in named:
        if one.settings.get("audience", configuration.settings.get("audience", audience)) == audience:
            return one.name
    return configuration.name_of(url)


def _configuration(path: Path | None) -> Configuration:
    """The configuration, for the names of servers. One that cannot be read is no reason to show nothing."""
    try:
        return load(path)
    except ContactSyncError:
        if path is not None:
            raise
        from contactsync.commands._configuration import default_path

        return Configuration(default_path())


def ago(last: LastSync) -> str:
    """When a sync was: the time, and how long ago."""
    from datetime import UTC, datetime

    from contactsync.commands._progress import duration

    seconds = (datetime.now(UTC) - last.when).total_seconds()
    days = int(seconds // 86_400)
    since = _output.counted(days, "day", "days") if days > 1 else duration(max(0, seconds))
    return f"synced {last.when:%Y-%m-%d %H:%M} ({since} ago)"
