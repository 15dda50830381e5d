"""`contactsync audit publication` and `audit rebuild`."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from contactsync.commands._options import ca_file_option, json_option, proxy_option
from contactsync.commands.audit._reports import sarif_option, show
from contactsync.commands.audit._sources import opened_source
from contactsync.commands.server._shared import data_option, members_of_folder, passphrase_option


@click.command()
@click.argument("source", metavar="DIR|URL")
@click.option(
    "--credential-file",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="CONTACTSYNC_CREDENTIAL_FILE",
    metavar="FILE",
    help="Credential of an account at URL (CONTACTSYNC_CREDENTIAL_FILE).",
)
@click.option(
    "--fingerprint", metavar="HEX", help="Fingerprint of a root of the server, known from elsewhere."
)
@ca_file_option("Accept TLS certificates only from the authorities in this PEM file.")
@proxy_option
@json_option
@sarif_option
def publication(
    source: str,
    *,
    credential_file: Path | None,
    fingerprint: str | None,
    ca_file: Path | None,
    proxy: str | None,
    as_json: bool,
    sarif: bool,
) -> None:
    """Rebuild and compare all that a server publishes, from its public files alone.

    DIR is a folder `public/` or a copy of it, URL a server; for its data files it wants the credential of an
    account. Checked are the chain of roots, signatures, manifests and their history, the hashes and the
    structure of every file; each delta is undone, and each screen is built again, bit by bit.

    Whose tokens they are, public files cannot show: the operator can, by `audit rebuild`.
    """
    from contactsync.audit.publication import audit_publication
    from contactsync.client.trust import read_fingerprint

    digits = None if fingerprint is None else read_fingerprint(fingerprint)
    with (
        opened_source(source, credential_file=credential_file, proxy=proxy, ca_file=ca_file) as opened,
        tempfile.TemporaryDirectory(prefix="contactsync-") as work,
    ):
        report = audit_publication(opened, Path(work), fingerprint=digits)
    show(report, as_json=as_json, sarif=sarif)


@click.command()
@data_option
@passphrase_option
@json_option
@sarif_option
def rebuild(data: Path, passphrase_file: Path | None, *, as_json: bool, sarif: bool) -> None:
    """Build what is published again, from key and members, and compare it byte for byte.

    Every member is evaluated anew. A token that belongs to no member, a member who was left out, and another
    key show as a base that differs. Nothing is changed. `audit publication` checks the rest.
    """
    from contactsync.audit.rebuild import audit_rebuild
    from contactsync.commands.server._shared import folder_of, keyring_of

    folder = folder_of(data)
    keyring = keyring_of(folder, passphrase_file)
    with members_of_folder(data) as registry, tempfile.TemporaryDirectory(prefix="contactsync-") as work:
        report = audit_rebuild(folder, registry, keyring, Path(work))
    show(report, as_json=as_json, sarif=sarif)
