"""`contactsync trust`: pin a server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from contactsync.commands._configuration import config_option, named_url
from contactsync.commands._confirming import confirm_fingerprint
from contactsync.commands._forgetting import forget_server, say_what_is_kept
from contactsync.commands._options import ca_file_option, open_state, proxy_option, state_option
from contactsync.foundation.errors import OurError

if TYPE_CHECKING:  # it imports an HTTP library
    from contactsync.library.state import State


@click.command()
@click.argument("url")
@click.option(
    "--fingerprint", metavar="HEX", help="The fingerprint the operator gave you. Nothing is asked then."
)
@click.option("--yes", is_flag=True, help="Trust what is shown without asking, for scripts.")
@click.option("--replace", is_flag=True, help="Forget this server first, as `forget` does.")
@click.option("--allow-plain-http", is_flag=True, help="Accept http:// to another machine: no TLS.")
@click.option(
    "--witness",
    "witnesses",
    multiple=True,
    metavar="VKEY",
    help="Require this witness of the server's log, instead of those that the server names. Repeatable.",
)
@click.option(
    "--quorum",
    type=click.IntRange(0, 32),
    metavar="K",
    help="How many of the witnesses given must have cosigned (default: all).",
)
@click.option(
    "--witness-policy",
    "policy_file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="The same as a file: lines `log VKEY`, `witness VKEY`, `quorum K`. `none`: as the server says.",
)
@click.option(
    "--new-log",
    is_flag=True,
    help="Accept that the server's log began anew. Ask the operator why, over another channel, before.",
)
@click.option(
    "--second",
    metavar="URL",
    help="A mirror of this server that somebody else runs: `sync --privacy two-server` asks both, and "
    "neither learns who your contacts are. `none`: no longer.",
)
@click.option(
    "--second-ca-file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="Accept TLS certificates of --second only from the authorities in this PEM file. Remembered.",
)
@ca_file_option(
    "Accept TLS certificates only from the authorities in this PEM file. Remembered for this server."
)
@proxy_option
@config_option
@state_option
def trust(
    url: str,
    fingerprint: str | None,
    *,
    yes: bool,
    replace: bool,
    allow_plain_http: bool,
    witnesses: tuple[str, ...],
    quorum: int | None,
    policy_file: Path | None,
    new_log: bool,
    second: str | None,
    second_ca_file: Path | None,
    ca_file: Path | None,
    proxy: str | None,
    config_file: Path | None,
    state_folder: Path | None,
) -> None:
    """Pin the server at URL: from then on, a sync accepts only what the server's keys signed.

    Shows the fingerprint of the server's TUF root (its SHA-256). Compare it with the one that the operator
    gives you over another channel; everything else is verified from this root. The operator renews the root
    about once a year: --fingerprint also accepts the fingerprint of an earlier root.

    It also says who watches the server's log, in which everything that is published must be. The server's
    root names these witnesses; with --witness you choose them yourself, also later.

    --second names a mirror for private look-up. It must have another name, network and TLS key than the
    server at URL, because whoever has both sees everything. Nobody can check that the two do not tell each
    other what they are asked: choose one whose operator you believe.

    URL may also be the name of a server in the configuration.
    """
    from contactsync.library.fingerprints import grouped
    from contactsync.library.trusting import introduce
    from contactsync.library.watching import LogChoice

    state = open_state(state_folder)
    url = named_url(url, config_file)
    met = introduce(
        state,
        url,
        fingerprint=fingerprint,
        ca_file=ca_file,
        proxy=proxy,
        allow_plain_http=allow_plain_http,
        replace=replace,
        choice=LogChoice(witnesses, quorum, policy_file, new_log),
        second=second,
        second_ca_file=second_ca_file,
    )
    url = met.url
    click.echo(f"{url}\nfingerprint {grouped(met.fingerprint)}\n{met.watched}")
    if met.second is not None and met.second.url is not None:
        click.echo(f"second {met.second.url}: shows the same root. It must not be run by who runs {url}")
    if not met.is_known and not met.is_refused:
        if fingerprint is None and not yes:
            confirm_fingerprint("--fingerprint")
        if replace:
            _forget_before(state, url)
    met.accept()
    if met.is_known:
        click.echo("already trusted")
        return
    click.echo("trusted")
    if proxy:
        click.echo("the proxy is not remembered: give --proxy to sync too, or set HTTPS_PROXY", err=True)


def _forget_before(state: State, url: str) -> None:
    name = state.name(url)
    if not forget_server(state, name):
        raise OurError(
            "not all of the earlier data could be erased; nothing is trusted now",
            hint="fix the problems listed above, then run the same command again",
        )
    say_what_is_kept(state, name)
