"""`contactsync server mirror`: the second server of private look-up, without any secret of the first."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from contactsync.commands._confirming import confirm_fingerprint
from contactsync.commands._options import (
    Duration,
    ca_file_option,
    log_format_option,
    proxy_option,
    read_credential,
)
from contactsync.commands.server._shared import audience_option

if TYPE_CHECKING:
    from contactsync.library.mirror import Mirror, MirrorFolder

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.argument("url")
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="CONTACTSYNC_MIRROR",
    required=True,
    metavar="DIR",
    help="The mirror's own folder, made if it is missing (CONTACTSYNC_MIRROR).",
)
@click.option(
    "--credential-file",
    type=_FILE,
    required=True,
    metavar="FILE",
    help="The credential that the operator gave the mirror: data files need one. Read again for each look.",
)
@audience_option
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8450, show_default=True, help="0 picks any free port."
)
@click.option(
    "--root-fingerprint",
    "fingerprint",
    metavar="HEX",
    help="The fingerprint that the operator gave you: of the server's TUF root, or of an earlier one.",
)
@click.option("--root", "root_file", type=_FILE, metavar="FILE", help="The same as a file: a root.json.")
@click.option("--yes", is_flag=True, help="Trust the root that is shown at first without asking.")
@click.option(
    "--every",
    type=Duration(at_least=1),
    default="5m",
    show_default=True,
    metavar="TIME",
    help="Look for a new edition this often (30s, 5m, 1h).",
)
@click.option("--tls-cert", type=_FILE, metavar="FILE", help="Speak TLS with this certificate and its chain.")
@click.option("--tls-key", type=_FILE, metavar="FILE", help="The key of --tls-cert (PEM, no passphrase).")
@click.option(
    "--trusted-proxy",
    "trusted_proxies",
    multiple=True,
    metavar="ADDRESS",
    help="Address or network of a proxy whose X-Forwarded-For is believed; may be given several times.",
)
@click.option(
    "--web-origin",
    "origins",
    multiple=True,
    metavar="ORIGIN",
    help="Let pages of this origin (https://app.example) use the mirror from a browser; may be given several "
    "times.",
)
@click.option("--allow-plain-http", is_flag=True, help="Accept http:// to another machine: no TLS.")
@ca_file_option("Accept TLS certificates of URL only from the authorities in this PEM file. Remembered.")
@proxy_option
@log_format_option
def mirror(
    url: str,
    data: Path,
    credential_file: Path,
    *,
    audience: str,
    host: str,
    port: int,
    fingerprint: str | None,
    root_file: Path | None,
    yes: bool,
    every: float,
    tls_cert: Path | None,
    tls_key: Path | None,
    trusted_proxies: tuple[str, ...],
    origins: tuple[str, ...],
    allow_plain_http: bool,
    ca_file: Path | None,
    proxy: str | None,
    log_format: Literal["text", "json"],
) -> None:
    """Follow the publication at URL, verify it, and be the second server of private look-ups in it.

    It needs no key of the operator: it makes the rows from the published files, and serves only those whose
    root the operator has signed. Anyone but the operator can run one. The first time, the root has to be
    confirmed, as in `contactsync trust`: give --root-fingerprint or --root, or compare what is shown.

    Prints `listening on URL` when it is ready, and runs until stopped (Ctrl-C or SIGTERM). Without --tls-cert
    it speaks plain HTTP: put a reverse proxy with TLS in front of it. Who must watch the server's log is
    chosen with `contactsync trust URL --state DIR/state`.
    """
    if (tls_cert is None) != (tls_key is None):
        raise click.UsageError("Give both --tls-cert and --tls-key.")
    if fingerprint is not None and root_file is not None:
        raise click.UsageError("Give either --root-fingerprint or --root.")
    from contactsync.library.mirror import (
        MirrorFolder,
        Mirroring,
        open_mirror,
        root_in,
        run_mirror,
        set_up_logging,
    )

    read_credential(credential_file)
    if root_file is not None:
        fingerprint = root_in(root_file)
    folder = MirrorFolder.open(data, url, audience)
    found = open_mirror(folder, fingerprint, ca_file) or _met(
        folder, fingerprint, ca_file, proxy, yes=yes, allow_plain_http=allow_plain_http
    )
    set_up_logging(log_format)
    how = Mirroring(
        where=(host, port),
        credential=lambda: read_credential(credential_file),
        every=every,
        tls=None if tls_cert is None or tls_key is None else (tls_cert, tls_key),
        trusted=trusted_proxies,
        origins=origins,
        proxy=proxy,
    )
    run_mirror(found, how, lambda name: click.echo(f"listening on {name}"))


def _met(
    folder: MirrorFolder,
    fingerprint: str | None,
    ca_file: Path | None,
    proxy: str | None,
    *,
    yes: bool,
    allow_plain_http: bool,
) -> Mirror:
    """Pin the server's root, once somebody has confirmed it."""
    from contactsync.library.fingerprints import grouped
    from contactsync.library.mirror import meet, open_mirror

    met = meet(
        folder, fingerprint=fingerprint, ca_file=ca_file, proxy=proxy, allow_plain_http=allow_plain_http
    )
    click.echo(f"{met.url}\nfingerprint {grouped(met.fingerprint)}\n{met.watched}", err=True)
    if fingerprint is None and not yes:
        confirm_fingerprint("--root-fingerprint")
    met.accept()
    found = open_mirror(folder)
    assert found is not None, "it was pinned"
    return found
