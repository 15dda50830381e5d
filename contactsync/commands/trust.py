"""`contactsync trust`: pin a server."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from contactsync.commands._forgetting import forget_server, say_what_is_kept
from contactsync.commands._options import open_state, proxy_option, state_option
from contactsync.foundation.errors import BadInput, BadSignature, NotTrusted, OurError

if TYPE_CHECKING:  # it imports an HTTP library
    from contactsync.client.state import ServerState, State
    from contactsync.client.transport import Transport


@click.command()
@click.argument("url")
@click.option(
    "--fingerprint", metavar="HEX", help="The fingerprint the operator gave you. Nothing is asked then."
)
@click.option("--yes", is_flag=True, help="Trust what is shown without asking, for scripts.")
@click.option("--replace", is_flag=True, help="Forget this server first, as `forget` does.")
@click.option("--allow-plain-http", is_flag=True, help="Accept http:// to another machine: no TLS.")
@click.option(
    "--ca-file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Accept TLS certificates only from the authorities in this PEM file. Remembered for this server.",
)
@proxy_option
@state_option
def trust(
    url: str,
    fingerprint: str | None,
    *,
    yes: bool,
    replace: bool,
    allow_plain_http: bool,
    ca_file: Path | None,
    proxy: str | None,
    state_folder: Path | None,
) -> None:
    """Pin the server at URL: from then on, a sync accepts only what the server's keys signed.

    Shows the fingerprint of the server's TUF root (its SHA-256). Compare it with the one that the operator
    gives you over another channel; everything else is verified from this root. The operator renews the root
    about once a year: --fingerprint also accepts the fingerprint of an earlier root.
    """
    from contactsync.client.route import Route
    from contactsync.client.state import canonical_url, is_in_clear
    from contactsync.client.transport import Transport
    from contactsync.client.trust import fetch_root, find_root, leads_to, read_fingerprint
    from contactsync.publication.tuf.follower import grouped, root_fingerprint

    expected = None if fingerprint is None else read_fingerprint(fingerprint)
    url = canonical_url(url)
    if is_in_clear(url) and not allow_plain_http:
        raise BadInput(
            f"{url} is not encrypted: the credential would cross the network in the clear",
            hint="use https://, or --allow-plain-http if the connection is protected in another way",
        )
    state = open_state(state_folder)
    known = _known(state, url, replace=replace)
    route = Route.to(url, proxy=proxy, ca_file=ca_file or (known.ca_file if known else None))
    transport = Transport(url, route=route)
    newest = fetch_root(transport)
    root = newest if expected is None else find_root(transport, newest, expected)
    is_same = False
    if known is not None and not replace:
        _mend_root(known, transport, newest)
        is_same = leads_to(transport, known, newest)
    transport.close()
    shown = root_fingerprint(newest)
    if root is None:
        raise BadSignature(
            f"the fingerprint of {url} is not the one you gave; nothing was stored",
            hint=f"the server's is {grouped(shown)}: ask the operator which one is right",
        )
    click.echo(f"{url}\nfingerprint {grouped(root_fingerprint(root))}")
    accepted = route.ca_file
    authorities = None if accepted is None else accepted.read_bytes()
    if known is not None and not replace:
        if not is_same:
            raise BadSignature(
                f"{url} is already trusted with another root, {grouped(known.fingerprint)};"
                " nothing was changed",
                hint="ask the operator why; if the change is right, run trust again with --replace",
            )
        if ca_file is not None and authorities is not None:
            known.remember_authorities(authorities)
        click.echo("already trusted")
        return
    if expected is None and not yes:
        _ask()
    if replace:
        _forget_before(state, url)
    state.pin(url, root, authorities)
    click.echo("trusted")
    if proxy:
        click.echo("the proxy is not remembered: give --proxy to sync too, or set HTTPS_PROXY", err=True)


def _ask() -> None:
    """Let somebody compare the fingerprint that was shown. Raises BadInput if it is not confirmed."""
    if not _somebody_is_there():
        raise BadInput(
            "nobody is there to compare the fingerprint",
            hint="give --fingerprint HEX (safe), or --yes to trust what was shown",
        )
    if not click.confirm("Is this what the operator told you?", err=True):
        raise BadInput("not trusted; nothing was stored", hint="ask the operator for the fingerprint")


def _forget_before(state: State, url: str) -> None:
    name = state.name(url)
    if not forget_server(state, name):
        raise OurError(
            "not all of the earlier data could be erased; nothing is trusted now",
            hint="fix the problems listed above, then run the same command again",
        )
    say_what_is_kept(state, name)


def _known(state: State, url: str, *, replace: bool) -> ServerState | None:
    """The server, if it is trusted already. What is damaged counts as nothing, if it is to be replaced."""
    try:
        return state.server(url)
    except NotTrusted:
        return None
    except OurError:
        if replace:
            return None
        raise


def _mend_root(known: ServerState, transport: Transport, newest: bytes) -> None:
    """Fetch the pinned root again, if it is damaged: the fingerprint that was confirmed says which it is."""
    from contactsync.client.trust import find_root

    try:
        _ = known.root
    except OurError as error:
        root = find_root(transport, newest, known.fingerprint)
        if root is None:
            raise BadSignature(
                f"{known.url} does not have the root that it was trusted with; nothing was changed",
                hint="ask the operator why; if that is right, run trust again with --replace",
            ) from error
        known.restore_root(root)


def _somebody_is_there() -> bool:
    return sys.stdin.isatty()
