"""`contactsync server serve`: one process, or a supervisor of several."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

import click

from contactsync.commands._options import Duration, log_format_option
from contactsync.commands.server._shared import (
    data_option,
    folder_of,
    log_to_stderr,
    passphrase_of,
    passphrase_option,
)

_FILE = click.Path(path_type=Path, dir_okay=False)


def _mode(_context: click.Context, _option: click.Parameter, value: str) -> int:
    """Permissions in octal: 660 is 0o660."""
    if not re.fullmatch(r"0?[67][0-7][0-7]", value):
        raise click.BadParameter(f"{value} is no mode such as 660.")
    return int(value, 8)


@click.command()
@data_option
@passphrase_option
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8440, show_default=True, help="0 picks any free port."
)
@click.option("--socket", "path", type=_FILE, metavar="PATH", help="Listen at this Unix socket instead.")
@click.option(
    "--socket-mode",
    callback=_mode,
    default="660",
    show_default=True,
    metavar="MODE",
    help="Who may connect to --socket, in octal.",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 256),
    metavar="N",
    help="Run N processes and one that keeps them: it starts them again, and exchanges them on SIGHUP.",
)
@click.option(
    "--tls-cert", type=_FILE, metavar="FILE", help="Speak TLS with this certificate and its chain (PEM)."
)
@click.option(
    "--tls-key", type=_FILE, metavar="FILE", help="The key of --tls-cert (PEM, without a passphrase)."
)
@click.option(
    "--metrics-port",
    type=click.IntRange(0, 65535),
    help="Serve figures for Prometheus at http://127.0.0.1:PORT/metrics.",
)
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
    help="Let pages of this origin (https://app.example) use the server from a browser, and of those in "
    "server.toml; may be given several times.",
)
@click.option(
    "--web",
    "has_page",
    is_flag=True,
    help="Also serve the page for people at /, on which they choose their address book, as `web_page` in "
    "server.toml does (`contactsync docs web`).",
)
@click.option(
    "--redirect-data",
    "redirects",
    is_flag=True,
    help="Send clients that can follow to the object store for data files, by signed URLs that end soon.",
)
@click.option(
    "--private-lookup",
    is_flag=True,
    help="Also answer private look-ups: clients ask this server and a mirror where their contacts would be, "
    "and neither learns which they are (`contactsync docs lookup`). Needs `publish --private-lookup yes`.",
)
@click.option(
    "--publish-every",
    type=Duration(at_least=1),
    metavar="TIME",
    help="Also publish what has changed, this often (10m, 1h): by a process of its own, `publish --every`.",
)
@log_format_option
@click.pass_context
def serve(
    context: click.Context,
    data: Path,
    passphrase_file: Path | None,
    host: str,
    port: int,
    *,
    path: Path | None,
    socket_mode: int,
    workers: int | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    metrics_port: int | None,
    trusted_proxies: tuple[str, ...],
    origins: tuple[str, ...],
    has_page: bool,
    redirects: bool,
    private_lookup: bool,
    publish_every: float | None,
    log_format: Literal["text", "json"],
) -> None:
    """Answer clients until stopped (Ctrl-C or SIGTERM).

    Prints `listening on URL` when it is ready. Without --tls-cert it speaks plain HTTP: on a network, put a
    reverse proxy with TLS in front of it. SIGHUP makes it read the certificate again; with --workers, also
    server.toml and the keys.
    """
    from contactsync.commands.server.publish_loop import publishing_beside
    from contactsync.library.serving import Serving
    from contactsync.library.serving import serve as run

    if (tls_cert is None) != (tls_key is None):
        raise click.UsageError("Give both --tls-cert and --tls-key.")
    sources = {context.get_parameter_source(name) for name in ("host", "port")}
    if path is not None and click.core.ParameterSource.COMMANDLINE in sources:
        raise click.UsageError("Give either --socket or --host and --port.")
    passphrase = passphrase_of(folder_of(data), passphrase_file)
    log_to_stderr(log_format)
    how = Serving(
        where=(host, port) if path is None else (path, socket_mode),
        tls=None if tls_cert is None or tls_key is None else (tls_cert, tls_key),
        trusted=trusted_proxies,
        workers=workers,
        metrics_port=metrics_port,
        origins=origins,
        has_page=has_page,
        redirects=redirects,
        private_lookup=private_lookup,
    )
    beside = publishing_beside(data, publish_every, passphrase)
    run(data, passphrase, how, lambda name: click.echo(f"listening on {name}"), beside)
