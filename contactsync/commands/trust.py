"""`contactsync trust`: pin a server."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from contactsync.commands._options import open_state, state_option
from contactsync.foundation.errors import BadInput, BadSignature, NotTrusted


@click.command()
@click.argument("url")
@click.option(
    "--fingerprint", metavar="HEX", help="The fingerprint that the operator told you; no question is asked."
)
@click.option("--yes", is_flag=True, help="Trust what is shown without asking, for scripts.")
@click.option("--replace", is_flag=True, help="Forget what was trusted under this URL before.")
@click.option("--allow-plain-http", is_flag=True, help="Accept http:// to another machine: no TLS.")
@state_option
def trust(
    url: str,
    fingerprint: str | None,
    *,
    yes: bool,
    replace: bool,
    allow_plain_http: bool,
    state_folder: Path | None,
) -> None:
    """Pin the server at URL, so that a sync believes what its keys sign and nothing else.

    Shows the fingerprint of the server's TUF root (its SHA-256). Compare it with what the operator tells you
    over another channel; everything after that is verified from this root. The operator renews the root about
    once a year: --fingerprint takes that of an earlier one as well.
    """
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
    transport = Transport(url)
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
    try:
        server = state.server(url)
    except NotTrusted:
        server = None
    if server is not None and not replace:
        if not is_known(server, newest):
            raise BadSignature(
                f"{url} was trusted with another root: {grouped(server.fingerprint)}; nothing was changed",
                hint="ask the operator why; if the change is right, run trust again with --replace",
            )
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
    state.pin(url, root)
    click.echo("trusted")


def _somebody_is_there() -> bool:
    return sys.stdin.isatty()
