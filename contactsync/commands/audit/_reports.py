"""How the audits print what they found: text, JSON, or SARIF, and the exit code."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from contactsync import __version__
from contactsync.commands import _json

if TYPE_CHECKING:
    from contactsync.audit.report import AuditReport

sarif_option = click.option(
    "--sarif", is_flag=True, help="Print a SARIF 2.1.0 log, for tools that collect findings."
)


def sarif_text(report: AuditReport) -> str:
    """The SARIF log of a report."""
    return json.dumps(report.sarif(__version__), ensure_ascii=False, indent=1)


def show(report: AuditReport, *, as_json: bool, sarif: bool) -> None:
    """Print a report, and exit with its code."""
    if as_json and sarif:
        raise click.UsageError("Give either --json or --sarif.")
    if sarif:
        click.echo(sarif_text(report))
    elif as_json:
        _json.emit(report.value())
    else:
        for line in report.lines():
            click.echo(line)
    click.get_current_context().exit(report.exit_code)
