"""`contactsync web`: the page for people that a server may serve."""

from __future__ import annotations

from pathlib import Path

import click

from contactsync import __version__
from contactsync.commands._configuration import config_option, named_url
from contactsync.commands._json import emit
from contactsync.commands._options import ca_file_option, json_option, open_state, proxy_option, state_option
from contactsync.foundation.errors import BadReply


@click.group()
def web() -> None:
    """The page for people that a server may serve: compare it with this version, or have it from here."""


@web.command()
@click.argument("url")
@click.option("--allow-plain-http", is_flag=True, help="Accept http:// to another machine: no TLS.")
@ca_file_option("Accept TLS certificates only from the authorities in this PEM file.")
@proxy_option
@config_option
@json_option
def verify(
    url: str,
    *,
    allow_plain_http: bool,
    ca_file: Path | None,
    proxy: str | None,
    config_file: Path | None,
    as_json: bool,
) -> None:
    """Compare the page that the server at URL serves with the page of this version, octet by octet.

    It also shows the fingerprint of the root that the page trusts. A file that differs is exit code 5: the
    server may run another version, or somebody has changed its page. What is compared is what was served now,
    to this address. A server could serve something else to somebody else. What a browser
    has kept is not seen.
    """
    from contactsync.library.fingerprints import grouped
    from contactsync.library.page import look_at_page

    found = look_at_page(
        named_url(url, config_file), ca_file=ca_file, proxy=proxy, allow_plain_http=allow_plain_http
    )
    files = {f"/{'' if path == 'index.html' else path}": said for path, said in found.files.items()}
    if as_json:
        emit(
            {
                "url": found.url,
                "same": found.is_same,
                "release": __version__,
                "files": [{"path": path, "state": said} for path, said in files.items()],
                "fingerprint": found.fingerprint,
                "talks_to": found.other or found.url,
            }
        )
    else:
        for path, said in files.items():
            click.echo(f"{said:<11}  {path}")
        if found.other:
            click.echo(f"{'elsewhere':<11}  it talks to {found.other!r}")
        click.echo(f"fingerprint {grouped(found.fingerprint)}")
    if not found.is_same:
        raise BadReply(
            f"{found.url} does not serve the page of contactsync {__version__}",
            hint="ask the operator which version runs, and compare with that one",
        )
    if not as_json:
        click.echo(f"it is the page of contactsync {__version__}")


@web.command()
@click.argument("url", required=False)
@click.option(
    "--output",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="A new folder for it.",
)
@click.option("--name", default="", metavar="TEXT", help="What the page calls the service.")
@click.option(
    "--label-link",
    default="",
    metavar="TEMPLATE",
    help="Where the label of a match leads, such as https://matrix.to/#/{label}.",
)
@config_option
@state_option
def extension(
    url: str | None,
    *,
    output: Path,
    name: str,
    label_link: str,
    config_file: Path | None,
    state_folder: Path | None,
) -> None:
    """Write the page as an unpacked extension for Chromium, for the trusted server at URL.

    Its program comes from this installation, and its root is the one that `contactsync trust` pinned: the
    server can change neither. Load it at chrome://extensions, in developer mode, by `Load unpacked`.
    """
    from contactsync.library.fingerprints import grouped
    from contactsync.library.page import write_extension

    state = open_state(state_folder)
    chosen = state.server(None if url is None else named_url(url, config_file)).url
    fingerprint = write_extension(state, chosen, output, name=name, label_link=label_link)
    click.echo(f"{output}\nfingerprint {grouped(fingerprint)}")
