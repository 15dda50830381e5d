"""`contactsync server members import`: a file of the operator's own, as it is."""

from __future__ import annotations

import dataclasses
import re
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from contactsync.commands import _json
from contactsync.commands._numbers import Rejections, name_of, opened, rejected_file
from contactsync.commands._output import counted
from contactsync.commands._progress import ProgressLine
from contactsync.commands.server._members_shared import (
    ABOUT_SOURCE,
    by_option,
    members_at,
    origin_of,
    verified_option,
)
from contactsync.commands.server._receipts import check_erasure, receipt_options, write_receipt
from contactsync.commands.server._shared import (
    audience_option,
    data_option,
    json_option,
)

if TYPE_CHECKING:  # numpy hangs on these
    from contactsync.library.members import ImportReport, Share


class Portion(click.ParamType["Share"]):
    """A number of rows or members (`100`), or a part of all (`2%`)."""

    name = "portion"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Share:
        """Parse it, or fail as click does."""
        from contactsync.library.members import Share

        if isinstance(value, Share):
            return value
        match = re.fullmatch(r"(\d{1,12})|(\d{1,3}(?:\.\d{1,4})?)\s*%", str(value).strip())
        if match is None or (match[2] and float(match[2]) > 100):
            self.fail(f"{value!r} is neither a number, like 100, nor a part of all, like 2%", param, ctx)
        return Share(int(match[1])) if match[1] else Share(None, round(float(match[2]) * 10_000))


@click.command("import")
@click.argument("file", type=click.Path(allow_dash=True))
@data_option
@audience_option
@click.option("--phone-column", metavar="C", help="Column of the number (default: phone); `none`: no column.")
@click.option(
    "--region-column",
    metavar="C",
    help="Column of the number's country, two letters of ISO 3166; `none` if no column says it.",
)
@click.option("--id-column", metavar="C", help="Column of your own id, which names rows that are rejected.")
@click.option("--label-column", metavar="C", help="Column of the members' labels; an empty one removes it.")
@click.option("--email-column", metavar="C", help="Column of the e-mail address, of the same member.")
@click.option(
    "--table",
    "tables",
    metavar="NAME",
    multiple=True,
    help="Table of a dump (default: the one with the columns).",
)
@click.option(
    "--region",
    metavar="DE",
    help="Country of numbers with neither country code nor region (default: none with --region-column, else"
    " from the locale).",
)
@click.option(
    "--max-rejected",
    type=Portion(),
    metavar="N|N%",
    help="Change nothing if more rows are rejected (default: 2%, but at least 20 rows).",
)
@click.option("--replace", is_flag=True, help="Also remove the members of the audience that are not in FILE.")
@click.option(
    "--max-removed",
    type=Portion(),
    metavar="N|N%",
    help="Change nothing if --replace would remove more members (default: 5%).",
)
@click.option("--dry-run", is_flag=True, help="Change nothing, but count everything.")
@click.option(
    "--rejected",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write every rejected row to FILE, as CSV: line, id, reason, hint.",
)
@click.option("--with-numbers", is_flag=True, help="Let the FILE of --rejected contain the numbers, too.")
@verified_option
@click.option("--source", metavar="TEXT", help=ABOUT_SOURCE)
@by_option
@receipt_options
@json_option
def import_members(
    file: str,
    data: Path,
    audience: str,
    region: str | None,
    *,
    rejected: Path | None,
    with_numbers: bool,
    reference: str | None,
    receipt_file: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Add the numbers in FILE as members. `-` is stdin.

    FILE is a list of numbers, a table (CSV with , ; | or tabs between its columns, or JSON lines), or a
    PostgreSQL dump (pg_dump --data-only). A column C is a name, in any case, or a number from 1.

    Rows that cannot be used are rejected and listed. All is one transaction. Who has objected is not added.
    Importing a file again only changes the day on which the members were last verified. Who is removed by
    --replace is in a receipt, as that of `remove`.

    A label says who a member is (an account id, a handle): up to 64 octets of text. Who finds the member can
    read it, and nobody else. With --email-column a row has a number, an address, or both; both are one member
    from then on. A row whose number and address belong to two members is rejected, and changes neither. What
    a row has beside a label or an address that cannot be used is used; of rows that differ the first counts.
    """
    found = _options(audience, region, **options)
    if not found.replace and (receipt_file is not None or reference is not None):
        raise click.UsageError("--receipt and --reference are of use only with --replace.")
    register = members_at(data)
    with rejected_file(rejected, numbers=with_numbers) as sink, opened(file) as stream:
        refusals = Rejections(name_of(file), sink)
        try:
            with ProgressLine() as progress:
                report, erasure = register.import_file(
                    stream,
                    name_of(file),
                    found,
                    on_refusal=refusals.add,
                    progress=progress,
                    receipt=as_json or receipt_file is not None,
                    reference=reference,
                )
        finally:
            refusals.sum_up()
    write_receipt(receipt_file, erasure)
    if as_json:
        _json.emit({"dry_run": found.dry_run, **dataclasses.asdict(report), "receipt": erasure.receipt})
    else:
        click.echo(_said(report) + (" (dry run: nothing was changed)" if found.dry_run else ""))
    check_erasure(erasure, as_json=as_json)


def _options(
    audience: str,
    region: str | None,
    *,
    phone_column: str | None,
    region_column: str | None,
    id_column: str | None,
    label_column: str | None,
    email_column: str | None,
    tables: tuple[str, ...],
    max_rejected: Share | None,
    replace: bool,
    max_removed: Share | None,
    dry_run: bool,
    verified: datetime | None,
    source: str | None,
    by: str | None,
) -> Any:
    from contactsync.library.identifying import default_region
    from contactsync.library.members import MOST_REJECTED, MOST_REMOVED, Columns, ImportOptions

    if max_removed is not None and not replace:
        raise click.UsageError("--max-removed is of use only with --replace.")
    where = None if region_column is None else region_column.strip()
    if where is not None and where.casefold() == "none":
        where = ""
    if phone_column is not None and phone_column.strip().casefold() == "none":
        if not email_column:
            raise click.UsageError("--phone-column none is of use only with --email-column.")
        phone_column = ""
    return ImportOptions(
        audience=audience,
        region=region if region or where else default_region(),
        columns=Columns(phone_column, where, id_column, tables, label_column, email_column),
        verified=None if verified is None else verified.date(),
        origin=origin_of(source or "members import", by),
        replace=replace,
        max_rejected=max_rejected or MOST_REJECTED,
        max_removed=max_removed or MOST_REMOVED,
        dry_run=dry_run,
    )


def _said(report: ImportReport) -> str:
    parts = [f"{report.added:,} added"]
    if report.removed is not None:
        parts.append(f"{report.removed:,} removed")
    parts += [f"{report.known:,} already there", f"{report.rejected:,} rejected"]
    if report.twice:
        parts.append(f"{report.twice:,} more than once in the file")
    if report.labels is not None:
        parts.append(f"{counted(report.labels, 'label', 'labels')} changed")
    if report.objected:
        parts.append(f"{report.objected:,} not added: they objected")
    return ", ".join(parts)
