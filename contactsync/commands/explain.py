"""`contactsync explain`: how one number becomes an identifier, step by step."""

from __future__ import annotations

import json

import click

from contactsync.foundation.errors import BadInput


@click.command()
@click.argument("number")
@click.option(
    "--region",
    metavar="CC",
    help="Country of a number without a country code, e.g. DE (default: the locale's).",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_context
def explain(context: click.Context, number: str, region: str | None, as_json: bool) -> None:
    """Show how NUMBER becomes the identifier that is looked up, or why it is rejected.

    Each line is a step: its name, its result, and why. Nothing is sent anywhere. The exit code is 3 if the
    number is rejected. For the rules, see `contactsync docs identifiers`.
    """
    from contactsync import identifiers

    if region is not None:
        region, origin = identifiers.check_region(region), "--region"
    else:
        region, origin = identifiers.default_region(), "the locale"
    steps = identifiers.explain(number, region)
    last = steps[-1]
    rejected = last.name == "rejected"
    if as_json:
        result = {
            "text": number,
            "region": region,
            "profile": identifiers.PROFILE,
            "identifier": None if rejected else last.result,
            "reason": last.result if rejected else None,
            "hint": last.why if rejected else None,
            "steps": [{"name": s.name, "result": s.result, "why": s.why} for s in steps[1:-1]],
        }
        click.echo(json.dumps(result))
    else:
        rows = [(step.name, _printable(step.result), step.why) for step in steps]
        rows[0] = ("text", rows[0][1], f"region {region} (from {origin})" if region else "no region")
        widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
        for name, made, why in rows:
            click.echo(f"{name:<{widths[0]}}  {made:<{widths[1]}}  {why}".rstrip())
    if rejected:
        context.exit(BadInput.exit_code)


def _printable(text: str) -> str:
    """The text without characters that could move a terminal's cursor or reverse its line."""
    return "".join(character if character.isprintable() else "?" for character in text)
