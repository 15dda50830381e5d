"""`contactsync audit vectors`."""

from __future__ import annotations

import click

from contactsync.commands import _json


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
def vectors(as_json: bool) -> None:
    """Run the shipped test vectors on this copy.

    They come from RFC 9380, RFC 9496 and RFC 9497. Others are edge cases, messages that must be refused,
    phone numbers with their identifiers, and directories, deltas, screens and manifests. Each group is
    listed with its count. The first difference ends the run with exit code 1 and a message that names the
    group, the number and the field.
    """
    from contactsync.audit import vectors as shipped

    results = []
    for result in shipped.run():
        results.append(result)
        if not as_json:
            click.echo(f"{result.count:4} agree  {result.name}")
    total = sum(result.count for result in results)
    if as_json:
        groups = [{"name": r.name, "source": r.source, "count": r.count} for r in results]
        _json.emit({"groups": groups, "total": total})
    else:
        click.echo(f"{total:4} in total: this copy computes what the specifications say")
