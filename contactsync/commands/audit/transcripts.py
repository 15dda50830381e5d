"""`contactsync audit transcript`."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from contactsync.commands._options import json_option
from contactsync.commands.audit._reports import sarif_option, show
from contactsync.foundation.errors import BadInput

if TYPE_CHECKING:
    from contactsync.audit.report import AuditReport

_file = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.argument("file", type=_file)
@click.option(
    "--private",
    type=_file,
    metavar="FILE",
    help="FILE.private, which was written with it: blinds, padding, what was held.",
)
@click.option(
    "--contacts",
    multiple=True,
    metavar="BOOK",
    help="Address book of the sync: a file or folder. May be given several times.",
)
@click.option("--region", metavar="XX", help="Country of numbers without +, as for the sync.")
@click.option("--area-code", metavar="CODE", help="Area code of numbers without one, as for the sync.")
@click.option("--fingerprint", metavar="HEX", help="Fingerprint of the pinned root, known from elsewhere.")
@click.option("--by-contact", is_flag=True, help="Also say for each contact what left because of it.")
@click.option("--show", "shows", is_flag=True, help="Also show every request in words, one line each.")
@click.option(
    "--html",
    "page",
    type=_file,
    metavar="OUT",
    help="Also write the report with all requests as one HTML page to OUT (0600), which needs no script.",
)
@json_option
@sarif_option
def transcript(
    file: Path,
    *,
    private: Path | None,
    contacts: tuple[str, ...],
    region: str | None,
    area_code: str | None,
    fingerprint: str | None,
    by_contact: bool,
    shows: bool,
    page: Path | None,
    as_json: bool,
    sarif: bool,
) -> None:
    """Account for every byte that a sync sent, and check what it received.

    FILE is what `sync --transcript FILE` wrote. With --private and --contacts each point is recomputed from a
    contact or from padding, each list of buckets from its secret, and each request from what a client may
    send: what cannot be explained fails. The last line of the sync is computed again from what left.

    Without these two, only what an outsider can see is checked, and the rest is unchecked (exit code 10). So
    is all that a FILE or FILE.private proves that was cut off, edited, or is of another version: the report
    says where. Exit code 3 means that a file could not be opened, or that a BOOK could not be read.
    """
    from contactsync.audit.transcript.auditing import audit_transcript
    from contactsync.audit.transcript.show import show_lines, shown
    from contactsync.client.transcript import BadTranscript, Transcript
    from contactsync.client.trust import read_fingerprint
    from contactsync.library.books import address_book

    if (private is None) == bool(contacts):
        raise BadInput(
            "--private and --contacts explain the points together", hint="give both of them, or neither"
        )
    if by_contact and private is None:
        raise BadInput("--by-contact needs the contacts", hint="give --private and --contacts")
    digits = None if fingerprint is None else read_fingerprint(fingerprint)
    book = address_book(*contacts, region=region, area_code=area_code) if contacts else None
    recorded = None
    with contextlib.suppress(BadTranscript):  # the audit says what is wrong with it
        recorded = Transcript.read(file)
    with tempfile.TemporaryDirectory(prefix="contactsync-") as work:
        report = audit_transcript(
            file,
            Path(work),
            transcript=recorded,
            private=private,
            book=book,
            fingerprint=digits,
            contacts=by_contact,
        )
    requests = list(shown(recorded)) if recorded is not None and (shows or page is not None) else []
    if page is not None:
        from contactsync.audit.transcript.page import page_of
        from contactsync.foundation import durable

        try:
            durable.write(page, page_of(report, requests).encode("utf-8"))
        except OSError as error:
            raise BadInput(f"cannot write {page}: {error.strerror}", hint="choose another place") from error
    if shows:
        report.facts["exchanges"] = [one.value() for one in requests]
    if not as_json and not sarif:
        for line in show_lines(requests) if shows else ():
            click.echo(line)
        _say(report)
    show(report, as_json=as_json, sarif=sarif)


def _say(report: AuditReport) -> None:
    """What the server could learn, and contact by contact if that is wanted."""
    from contactsync.audit.transcript.page import told_of
    from contactsync.audit.transcript.show import printable

    for one in report.facts.get("by_contact", []):
        click.echo(f"{printable(one['name'])} {one['identifier']}: {told_of(one)}")
    leak = report.facts.get("leak")
    if leak:
        click.echo(printable(leak))
