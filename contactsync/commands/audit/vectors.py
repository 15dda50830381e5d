"""`contactsync audit vectors`."""

from __future__ import annotations

from pathlib import Path

import click

from contactsync.commands.audit._reports import sarif_option, show


@click.command()
@click.argument("folder", required=False, type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
@sarif_option
def vectors(folder: Path | None, *, as_json: bool, sarif: bool) -> None:
    """Run the shipped test vectors on this copy.

    They come from RFC 9380, RFC 9496 and RFC 9497. Others are edge cases, phone numbers with their
    identifiers, directories, deltas, screens, manifests, signed metadata, and whole syncs with fixed blinds.
    More than half of them must be refused: by the layer that they name, and for the reason that they name.

    With FOLDER, the vector files of that folder are run. docs/vectors.md describes them. Each file is listed
    with its count, then each layer with what was proven of it.
    """
    from contactsync.audit.vectors.checking import check, counted

    report = check(folder)
    if not as_json and not sarif:
        for line in counted(report):
            click.echo(line)
    show(report, as_json=as_json, sarif=sarif)
