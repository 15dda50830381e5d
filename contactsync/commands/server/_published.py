"""What the operator is told after a publish, as text and as JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from contactsync.commands._output import counted

if TYPE_CHECKING:  # numpy hangs on these
    from contactsync.library.publishing import EditionReport, Outcome, PublishDone, RowFigures

_SHOWN_CHANGES = 5  # more partitions than that are not named on the terminal


def receipt(done: PublishDone, *, expunge: bool) -> dict[str, Any]:
    """What was published and what was taken out of service, for --json."""
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "audiences": [
            {
                "audience": one.audience,
                "epoch": one.epoch,
                "edition": one.edition,
                "members": one.members,
                "evaluated": one.evaluated,
                "partitions": one.partitions,
                "changed": None if one.changed is None else list(one.changed),
                "announced_until": one.until,
                **_reported(done.reports.get((one.audience, one.epoch)), one),
            }
            for one in done.outcomes
        ],
        "expunged": expunge,
        "files_taken_out": done.files_taken_out,
        "bytes_taken_out": done.bytes_taken_out,
        "cleaning_up_failed": str(done.unclean or "") or None,
        "registry_erased": not done.remains,
        "doubts": dict(done.doubts),
    }


def _reported(told: EditionReport | None, outcome: Outcome) -> dict[str, Any]:
    """What has changed for clients. The last edition of a publish counts."""
    if told is None or told.edition != outcome.edition:
        return {"changes": [], "download": None, "rows": None}
    return {
        "changes": [dataclasses.asdict(change) for change in told.changes],
        "download": {"update": told.update, "whole": told.whole},
        "rows": None if told.rows is None else dataclasses.asdict(told.rows),
    }


def say_outcomes(
    outcomes: Sequence[Outcome], without_change: str, reports: Mapping[tuple[str, int], EditionReport]
) -> None:
    """What a publish did for each audience."""
    for outcome in outcomes:
        state = f"{outcome.audience}: epoch {outcome.epoch}, edition {outcome.edition}"
        if outcome.until:
            state += f" (announced, until {datetime.fromtimestamp(outcome.until, UTC):%Y-%m-%d %H:%M} UTC)"
        if outcome.changed is None:
            click.echo(f"{state}: unchanged ({without_change})")
        else:
            click.echo(
                f"{state}: {counted(outcome.members, 'member', 'members')} in "
                f"{counted(outcome.partitions, 'partition', 'partitions')}, "
                f"{len(outcome.changed)} changed, {outcome.evaluated:,} evaluated"
            )
            told = reports.get((outcome.audience, outcome.epoch))
            if told is not None and told.edition == outcome.edition:
                _say_changes(told)


def about_rows(rows: RowFigures) -> str:
    """The rows for private look-up, and what they take."""
    what = counted(rows.count, "row", "rows")
    return f"{what} for private look-up ({rows.bytes:,} bytes beside the data files)"


def _say_changes(told: EditionReport) -> None:
    for one in told.changes if len(told.changes) <= _SHOWN_CHANGES else ():
        if one.change == "gone":
            click.echo(f"  {one.name}: gone ({one.members_before:,} before)")
            continue
        sizes = [f"base {one.base:,}", *([f"delta {one.delta:,}"] if one.delta else [])]
        sizes += [f"patches {one.patches:,}"] if one.patches else []
        sizes += [f"screen {one.screen:,}"] if one.screen else []
        sizes += [f"labels {one.labels:,}"] if one.labels else []
        sizes += [f"labels' delta {one.labels_delta:,}"] if one.labels_delta else []
        new = "new" if one.change == "new" else f"{one.members - one.members_before:+,}"
        click.echo(
            f"  {one.name}: {counted(one.members, 'member', 'members')} ({new}); {', '.join(sizes)} bytes"
        )
    if told.rows is not None:
        click.echo(f"  {about_rows(told.rows)}")
    if told.changes:
        anew = "" if told.update == told.whole else f" ({told.whole:,} without the edition before)"
        many = " (--json lists the partitions)" if len(told.changes) > _SHOWN_CHANGES else ""
        click.echo(f"  clients download {told.update:,} bytes{anew}{many}")
