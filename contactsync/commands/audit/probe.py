"""`contactsync audit server`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from contactsync.commands import _json
from contactsync.commands._options import Duration, ca_file_option, json_option, read_credential
from contactsync.foundation.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Sequence

    from contactsync.audit.report import AuditReport

_FILE = click.Path(path_type=Path, dir_okay=False)
_MOST_MEMBERS = 100_000


@click.command()
@click.argument("url", metavar="URL")
@click.option(
    "--credential-file",
    "credential_files",
    type=_FILE,
    multiple=True,
    envvar="CONTACTSYNC_CREDENTIAL_FILE",
    metavar="FILE",
    help="Credential of an account; may be given again, the first does most (CONTACTSYNC_CREDENTIAL_FILE).",
)
@click.option(
    "--budget",
    type=int,
    required=True,
    metavar="POINTS",
    help="Send at most so many points, repetitions included.",
)
@click.option(
    "--members",
    "members_file",
    type=_FILE,
    metavar="FILE",
    help="Numbers of members, one a line (+…), for the comparison of times. "
    "Default: random numbers, of which enough must be members.",
)
@click.option(
    "--wait",
    type=Duration(zero=True),
    default="40s",
    show_default=True,
    metavar="TIME",
    help="How long to wait for the server to end what does not come. 0 leaves this out.",
)
@click.option("--dry-run", is_flag=True, help="Print what would be sent, and contact nobody.")
@click.option(
    "--fingerprint", metavar="HEX", help="Fingerprint of a root of the server, known from elsewhere."
)
@ca_file_option("Accept TLS certificates only from the authorities in this PEM file.")
@click.option("--direct", is_flag=True, help="Connect directly although HTTPS_PROXY or ALL_PROXY is set.")
@json_option
@click.option(
    "--sarif",
    "sarif_file",
    type=_FILE,
    metavar="FILE",
    help="Also write a SARIF 2.1.0 log, for tools that collect findings.",
)
def server(
    url: str,
    *,
    credential_files: tuple[Path, ...],
    budget: int,
    members_file: Path | None,
    wait: float,
    dry_run: bool,
    fingerprint: str | None,
    ca_file: Path | None,
    direct: bool,
    as_json: bool,
    sarif_file: Path | None,
) -> None:
    """Probe a running server as an auditor: proofs, refusals, quotas, TLS, freshness, times.

    Everything that docs/http-api.md states about replies is asked for, also by requests that are malformed on
    purpose; their User-Agent says so. Requests are spaced by 50 ms. Points are spent on the most important
    checks first, and never more than --budget; what is left out is unchecked. With more points than the
    account has left, the refusal at the end of the quota is checked as well, and hardly any may remain.

    A server that cannot be reached, or that is none of contactsync, is unchecked (exit code 10). Over `http://`
    a credential is only sent to this machine itself: elsewhere a server that answers there is disproven.

    Give an account of its own, and another one of the same audience, so that keys can be compared. While the
    probe runs nothing else may use them.
    """
    from contactsync.audit.probe.budget import PointBudget
    from contactsync.client.state import canonical_url

    address = canonical_url(url)
    PointBudget(budget)
    if dry_run:
        _plan(address, budget, max(1, len(credential_files)), as_json=as_json)
        return
    if not credential_files:
        raise BadInput("a probe needs the credential of an account", hint="give --credential-file")
    credentials = [(str(path), read_credential(path)) for path in credential_files]
    report = _probed(
        address,
        credentials,
        budget,
        members_file=members_file,
        wait=wait,
        fingerprint=fingerprint,
        ca_file=ca_file,
        direct=direct,
    )
    _show(report, as_json=as_json, sarif_file=sarif_file)


def _probed(
    url: str,
    credentials: Sequence[tuple[str, str]],
    budget: int,
    *,
    members_file: Path | None,
    wait: float,
    fingerprint: str | None,
    ca_file: Path | None,
    direct: bool,
) -> AuditReport:
    from contactsync.audit.probe.server import ProbeOptions, audit_server
    from contactsync.client.trust import read_fingerprint
    from contactsync.foundation.route import DIRECT, Route

    if Route.to(url, proxy=DIRECT if direct else None, ca_file=ca_file).proxy is not None:
        raise BadInput(
            "a proxy is set in the environment, and what is malformed does not pass one",
            hint="give --direct to connect to the server itself",
        )
    options = ProbeOptions(
        fingerprint=None if fingerprint is None else read_fingerprint(fingerprint),
        members=None if members_file is None else _members(members_file),
        ca_file=ca_file,
        wait=wait,
    )
    return audit_server(url, credentials, budget, options)


def _members(path: Path) -> list[bytes]:
    """The identifiers of a file. Raises BadInput, which does not quote it."""
    from contactsync.identifiers import Rejected, normalise

    try:
        lines = path.read_text("utf-8").splitlines()[: _MOST_MEMBERS + 1]
    except (OSError, ValueError) as error:
        raise BadInput(
            f"cannot read the file of members {path}", hint="give numbers as text, one a line"
        ) from error
    if len(lines) > _MOST_MEMBERS:
        raise BadInput(f"{path} has more than {_MOST_MEMBERS:,} lines", hint="a few numbers are enough")
    found = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            found.append(normalise(line.strip(), None))
        except Rejected as error:
            raise BadInput(
                f"{path}, line {number}: this is no telephone number with its country", hint="write +49 151 …"
            ) from error
    if not found:
        raise BadInput(f"{path} has no number", hint="give numbers of members, one a line")
    return found


def _plan(url: str, budget: int, accounts: int, *, as_json: bool) -> None:
    """Print what would be sent. What the account has left is not known yet."""
    from contactsync.audit.probe.budget import plan, steps_for
    from contactsync.audit.probe.refusals import RAW_CASES, REFUSALS

    steps = [one for one in steps_for(accounts, budget, has_next=False) if one.name != "out-of-quota"]
    made = plan(budget, budget, steps)
    malformed = [one for one in REFUSALS if one.is_malformed]
    if as_json:
        value: dict[str, Any] = {
            "subject": url,
            "steps": [{"step": one.name, "points": one.points, "taken": one.name in made} for one in steps],
            "malformed": [
                *({"section": one.section, "name": one.name, "expects": one.slug} for one in malformed),
                *({"section": one.section, "name": one.name, "expects": "400"} for one in RAW_CASES),
            ],
        }
        _json.emit(value)
        return
    click.echo(f"{url} would be sent, of {budget:,} points:")
    for one in steps:
        points = f"{one.points:>6,}" if one.name in made else "     -"
        click.echo(f"{points}  {one.what}")
    click.echo("these requests, malformed on purpose, with what must come back:")
    for case in malformed:
        click.echo(f"  {case.slug:22}  {case.method} {case.path}, {case.name}")
    for raw in RAW_CASES:
        click.echo(f"  {'400, or hang up':22}  {raw.name}")


def _show(report: AuditReport, *, as_json: bool, sarif_file: Path | None) -> None:
    from contactsync.commands.audit._reports import sarif_text, show
    from contactsync.foundation import durable

    if sarif_file is not None:
        text = sarif_text(report)
        try:
            durable.write(sarif_file, text.encode())
        except OSError as error:
            raise BadInput(f"cannot write {sarif_file}: {error.strerror}") from error
    show(report, as_json=as_json, sarif=False)
