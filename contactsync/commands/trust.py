"""`contactsync trust`: pin a server."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from contactsync.commands._options import open_state, proxy_option, state_option
from contactsync.foundation.errors import BadInput, BadSignature, NotTrusted

if TYPE_CHECKING:  # an HTTP library hangs on it
    from contactsync.client.state import ServerState, State


@click.command()
@click.argument("url")
@click.option(
    "--fingerprint", metavar="HEX", help="The fingerprint that the operator told you; no question is asked."
)
@click.option("--yes", is_flag=True, help="Trust what is shown without asking, for scripts.")
@click.option("--replace", is_flag=True, help="Forget what was trusted under this URL before.")
@click.option("--allow-plain-http", is_flag=True, help="Accept http:// to another machine: no TLS.")
@click.option(
    "--ca-file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Accept TLS certificates of the authorities in this PEM file alone; remembered for this server.",
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
    """Pin the server at URL, so that a sync believes what its keys sign and nothing else.

    Shows the fingerprint of the server's TUF root (its SHA-256). Compare it with what the operator tells you
    over another channel; everything after that is verified from this root. The operator renews the root about
    once a year: --fingerprint takes that of an earlier one as well.
    """
    from contactsync.client.route import Route
    from contactsync.client.state import canonical_url, is_in_clear
    from contactsync.client.transport import Transport
    from contactsync.client.trust import fetch_root, find_root, grouped, is_known, read_fingerprint
    from contactsync.publication.tuf.follower import root_fingerprint

    expected = None if fingerprint is None else read_fingerprint(fingerprint)
    url = canonical_url(url)
    if is_in_clear(url) and not allow_plain_http:
        raise BadInput(
            f"{url} is not encrypted: the credential would cross the network in the clear",
            hint="use https://, or --allow-plain-http if the way is safe otherwise",
        )
    state = open_state(state_folder)
    known = _known(state, url)
    route = Route.to(url, proxy=proxy, ca_file=ca_file or (known.ca_file if known else None))
    transport = Transport(url, route=route)
    newest = fetch_root(transport)
    root = newest if expected is None else find_root(transport, newest, expected)
    transport.close()
    shown = root_fingerprint(newest)
    if root is None:
        raise BadSignature(
            f"{url} has another fingerprint than the one given; nothing was stored",
            hint=f"it shows {grouped(shown)}: ask the operator which is right",
        )
    click.echo(f"{url}\nfingerprint {grouped(root_fingerprint(root))}")
    authorities = None if ca_file is None else ca_file.read_bytes()
    if known is not None and not replace:
        if not is_known(known, newest):
            raise BadSignature(
                f"{url} was trusted with another root: {grouped(known.fingerprint)}; nothing was changed",
                hint="ask the operator why; if the change is right, run trust again with --replace",
            )
        if authorities is not None:
            known.remember_authorities(authorities)
        click.echo("already trusted")
        return
    if expected is None and not yes:
        if not _somebody_is_there():
            raise BadInput(
                "nobody is there to compare the fingerprint",
                hint="give --fingerprint HEX (safe), or --yes to trust what was shown",
            )
        if not click.confirm("Is this what the operator told you?", err=True):
            raise BadInput("not trusted; nothing was stored", hint="ask the operator for the fingerprint")
    state.pin(url, root, authorities)
    click.echo("trusted")


def _known(state: State, url: str) -> ServerState | None:
    """The server, if it is trusted already."""
    try:
        return state.server(url)
    except NotTrusted:
        return None


def _somebody_is_there() -> bool:
    return sys.stdin.isatty()
