"""`contactsync audit leakage|enumeration`: the formulas of docs/threat-model.md, for one's own figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from contactsync.commands import _json
from contactsync.commands._options import json_option
from contactsync.commands._output import counted
from contactsync.commands.audit._gates import bounded, check_gates, fail_option, finish, plot_option

_COUNT = click.IntRange(min=1)


@click.command()
@click.option("--members", type=_COUNT, required=True, metavar="N", help="Members of the partition.")
@click.option(
    "--contacts", type=_COUNT, required=True, metavar="C", help="Contacts of the book who are among them."
)
@click.option(
    "--mode",
    type=click.Choice(["download", "screen"]),
    default="screen",
    show_default=True,
    help="Privacy mode of the syncs.",
)
@click.option(
    "--syncs",
    type=_COUNT,
    default=1,
    show_default=True,
    metavar="S",
    help="Syncs over the years that have something new to look up.",
)
@click.option(
    "--epochs",
    type=_COUNT,
    default=1,
    show_default=True,
    metavar="E",
    help="Epochs in that time: each has all contacts looked up again.",
)
@click.option(
    "--behind",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    metavar="N",
    help="How often the client was more than 32 editions behind.",
)
@click.option("--devices", type=_COUNT, default=1, show_default=True, help="Devices with the same book.")
@click.option(
    "--guesses", type=_COUNT, default=1, show_default=True, help="Numbers that are guessed together."
)
@click.option("--buckets", type=_COUNT, default=64, show_default=True, help="As `sync --buckets`.")
@click.option(
    "--leak-budget",
    type=click.FloatRange(min=1),
    default=1000.0,
    show_default=True,
    help="As `sync --leak-budget`.",
)
@plot_option
@fail_option
@json_option
def leakage(
    members: int, contacts: int, plot: Path | None, conditions: tuple[str, ...], *, as_json: bool, **life: Any
) -> None:
    """How much a server learns from the syncs of a life, in one partition.

    Download mode tells it nothing about any number. In screen mode each bucket list multiplies the odds of a
    guess. docs/threat-model.md (`contactsync docs threat-model`) explains the figures: contact_odds is what
    the server has against one contact, ledger_odds what the client's own ledger says, chance how likely a
    member whose bucket was always asked for is a contact.
    """
    from contactsync.audit.leakage import Life
    from contactsync.audit.leakage import course as course_of
    from contactsync.audit.leakage import leakage as leakage_of

    lived = Life(members=members, contacts=contacts, **life)
    found = leakage_of(lived)
    figures: dict[str, Any] = {
        "mode": lived.mode,
        "members": members,
        "contacts": contacts,
        "lists": found.lists,
        "lists_refused": found.lists_refused,
        "contact_lists": found.contact_lists,
        "buckets_total": found.buckets_total,
        "buckets_fetched": found.buckets_fetched,
        "odds_per_list": bounded(found.per_list),
        "contact_odds": bounded(found.contact_odds),
        "group_odds": bounded(found.group_odds),
        "ledger_odds": bounded(found.ledger_odds),
        "prior": bounded(found.prior),
        "chance": bounded(found.chance),
        "lists_to_name": bounded(found.lists_to_name),
    }
    failed = check_gates(conditions, figures)
    if plot is not None:
        from contactsync.audit.plots import Curve, draw

        title = f"{contacts:,} contacts among {members:,} members, {lived.mode} mode"
        points = [(float(n), chance) for n, chance in course_of(lived)]
        draw(plot, Curve(title, "bucket lists with a contact", "chance that a guess is right", points))
    if as_json:
        _json.emit({**figures, "failed": failed})
    else:
        for line in _leakage_lines(figures, screened=found.screened):
            click.echo(line)
    finish(failed, quiet=as_json)


def _leakage_lines(figures: dict[str, Any], *, screened: bool) -> list[str]:
    prior = f"a member picked at random is a contact with a chance of {figures['prior']:.2g}"
    if not screened:
        why = "download mode" if figures["mode"] == "download" else "the directory is fetched whole"
        return [f"{why}: no request depends on a number, so no sync changes the odds of a guess", prior]
    refused, to_name = figures["lists_refused"], figures["lists_to_name"]
    lists, fetched, total = (figures[n] for n in ("contact_lists", "buckets_fetched", "buckets_total"))
    contact, group, ledger = (figures[f"{n}_odds"] for n in ("contact", "group", "ledger"))
    sent = f"{counted(figures['lists'], 'bucket list is', 'bucket lists are')} sent"
    if refused:
        sent += f", and {refused:,} more would exceed the leak budget"
    odds = f"the odds of a guess about one contact are multiplied by {contact:,.4g}"
    others = f"all guesses together: {group:,.4g}; the ledger says {ledger:,.4g}"
    named = "no number of lists names the contacts"
    if to_name is not None:
        named = f"{to_name:.1f} lists would name the contacts"
    return [
        sent,
        f"one contact is wanted in {lists:,} of them, among {fetched:,} of {total:,} buckets",
        f"{odds} ({others})",
        f"{prior}; one whose bucket was in all these lists with {figures['chance']:.2g}",
        named,
    ]


@click.command()
@click.option("--country", required=True, metavar="DE", help="Country whose mobile numbers are tested.")
@click.option(
    "--digits", type=_COUNT, metavar="N", help="Only numbers of so many digits (default: the usual)."
)
@click.option("--accounts", type=_COUNT, required=True, metavar="A", help="Accounts that the crawler has.")
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    envvar="CONTACTSYNC_DATA",
    metavar="DIR",
    help="Take quotas and breakers from this server's settings (CONTACTSYNC_DATA).",
)
@click.option("--class", "quota_class", metavar="NAME", help="Quota class in server.toml (default: people).")
@click.option("--burst", type=_COUNT, metavar="N", help="Points at once.")
@click.option("--per-day", type=_COUNT, metavar="N", help="Points a day in the long run.")
@click.option("--points-per-hour", type=click.IntRange(min=0), metavar="N", help="Breaker over all; 0: none.")
@click.option(
    "--new-points-per-hour", type=click.IntRange(min=0), metavar="N", help="Breaker over new ones; 0: none."
)
@click.option(
    "--rotations", type=click.IntRange(0, 52), default=0, show_default=True, help="Rotations a year."
)
@plot_option
@fail_option
@json_option
def enumeration(
    country: str,
    *,
    digits: int | None,
    accounts: int,
    data: Path | None,
    quota_class: str | None,
    plot: Path | None,
    conditions: tuple[str, ...],
    as_json: bool,
    **given: int | None,
) -> None:
    """How long a crawler with so many accounts takes for the mobile numbers of a country.

    It is about numbers alone. E-mail addresses are on lists: nobody has to try all there could be, and a
    crawler tests as many as the accounts have points. The numbers are counted from the numbering plan.
    Quotas and circuit breakers are those of --data, or the defaults; single ones can be replaced, to see what
    another value would do. As a gate for operators: --fail-if 'months<12'.
    """
    from contactsync.audit.enumeration import MONTH, YEAR
    from contactsync.audit.enumeration import enumeration as enumeration_of
    from contactsync.foundation.errors import BadInput
    from contactsync.server.settings import DataFolder, Settings

    settings = Settings() if data is None else DataFolder(data).settings()
    if quota_class is not None and quota_class not in settings.quotas:
        raise BadInput(
            f"there is no quota class {quota_class!r}", hint=f"the classes are {', '.join(settings.quotas)}"
        )
    quota, breakers = _limits(settings, quota_class, given)
    rotations = given["rotations"] or 0
    crawl, numbers = enumeration_of(
        country, accounts, quota, breakers, rotations=rotations, digits=digits or 0
    )
    days = crawl.days()
    figures: dict[str, Any] = {
        "country": crawl.region,
        "digits": numbers.digits,
        "numbers": crawl.numbers,
        "accounts": accounts,
        "burst": quota.burst,
        "per_day": quota.per_day,
        "points_per_hour": breakers.all,
        "new_points_per_hour": breakers.new,
        "rotations": rotations,
        "first_day": crawl.tested(1),
        "first_month": crawl.tested(MONTH),
        "first_year": crawl.tested(YEAR),
        "days": bounded(days),
        "months": bounded(days / MONTH),
        "years": bounded(days / YEAR),
        "accounts_for_30_days": crawl.accounts_within(MONTH),
        "accounts_for_365_days": crawl.accounts_within(YEAR),
    }
    failed = check_gates(conditions, figures)
    if plot is not None:
        from contactsync.audit.plots import Curve, draw

        until = min(days * 1.05, 20 * YEAR)
        points = [(n * until / 200, float(crawl.tested(n * until / 200))) for n in range(201)]
        title = f"{accounts:,} accounts, {crawl.numbers:,} mobile numbers of {crawl.region}"
        draw(plot, Curve(title, "days", "numbers tested", points, (crawl.numbers, "all")))
    if as_json:
        _json.emit({**figures, "failed": failed})
    else:
        for line in _enumeration_lines(figures, numbers.lengths):
            click.echo(line)
    finish(failed, quiet=as_json)


def _limits(settings: Any, quota_class: str | None, given: dict[str, int | None]) -> tuple[Any, Any]:
    """The quota and the breakers: those of the settings, but for what was given."""
    import dataclasses

    from contactsync.server.quota import Terms

    terms = Terms(quota_class or "", given["burst"], given["per_day"])
    quota = terms.allowance("people", settings.quotas)
    changed = {"all": given["points_per_hour"], "new": given["new_points_per_hour"]}
    return quota, dataclasses.replace(
        settings.breakers, **{name: value for name, value in changed.items() if value is not None}
    )


def _enumeration_lines(figures: dict[str, Any], lengths: dict[int, int]) -> list[str]:
    others = ", ".join(f"{count:,} of {n}" for n, count in lengths.items() if n != figures["digits"])
    days, months = figures["days"], figures["months"]
    needed = figures["accounts_for_30_days"]
    limits = [
        f"{figures[name]:,} points an hour of {who}" if figures[name] else f"no limit for {who}"
        for name, who in (("points_per_hour", "all accounts"), ("new_points_per_hour", "new accounts"))
    ]
    numbers = f"{figures['country']}: {figures['numbers']:,} mobile numbers of {figures['digits']} digits"
    quota = f"{figures['burst']:,} points at once and {figures['per_day']:,} a day for each account"
    who = counted(figures["accounts"], "account tests", "accounts test")
    tested = [f"{figures[f'first_{name}']:,}" for name in ("day", "month", "year")]
    return [
        f"{numbers} (also {others})" if others else numbers,
        f"{quota}; {limits[0]}, {limits[1]}",
        f"{who} {tested[0]} in the first day, {tested[1]} in 30 days, {tested[2]} in a year",
        "they never test all"
        if days is None
        else f"all of them after {days:,.4g} days ({months:,.3g} months of 30 days)",
        "no number of accounts does it in 30 days: the breakers do not let them"
        if needed is None
        else f"{counted(needed, 'account', 'accounts')} would do it in 30 days",
    ]
