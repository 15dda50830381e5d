"""`contactsync explain`: how a number or an address becomes an identifier, step by step."""

from __future__ import annotations

from typing import Any, Final

import click

from contactsync.commands import _json
from contactsync.commands._output import counted
from contactsync.foundation.errors import BadInput

SHOWN_REGIONS: Final = 8


@click.command()
@click.argument("numbers", nargs=-1, required=True, metavar="NUMBER|ADDRESS…")
@click.option(
    "--region",
    metavar="CC",
    help="Country of a number without a country code, e.g. DE (default: the locale's). auto: show what it "
    "would be in every country.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_context
def explain(context: click.Context, numbers: tuple[str, ...], region: str | None, as_json: bool) -> None:
    """Show how NUMBER becomes the identifier that is looked up, or why it is rejected.

    ADDRESS is an e-mail address; what has an @ is read as one. Each line is a step: its name, its result, and
    why. Nothing is sent anywhere. The exit code is 3 if one is rejected. For the rules, see `contactsync docs
    identifiers`.

    A line `also` is a further form of the number: another identifier that reaches the same subscriber. A sync
    looks it up, too.

    With --region auto, a number without a country code has a line for each identifier that it may be, with
    the countries, those first in which such a number is allotted. A sync never guesses.

    With --json: text, region, profile, identifier, reason, hint, steps, further_forms (list of {identifier,
    why}); with --region auto also candidates
    (list of {identifier, regions, allotted}). Of several numbers: {numbers: [...]}.
    """
    values = [_explained(number, region) for number in numbers]
    if as_json:
        _json.emit(values[0] if len(values) == 1 else {"numbers": values})
    else:
        for at, value in enumerate(values):
            if at:
                click.echo()
            _show(value, region)
    if any(value["identifier"] is None and not value.get("candidates") for value in values):
        context.exit(BadInput.exit_code)


def _explained(number: str, given: str | None) -> dict[str, Any]:
    from contactsync.library.identifying import ANY_REGION, explain

    found = explain(number, given)
    value: dict[str, Any] = {
        "text": found.text,
        "region": found.region,
        "profile": found.profile,
        "identifier": found.identifier,
        "reason": found.reason,
        "hint": found.hint,
        "steps": [{"name": s.name, "result": s.result, "why": s.why} for s in found.steps],
        "further_forms": [{"identifier": identifier, "why": why} for identifier, why in found.forms],
    }
    if given is not None and given.lower() == ANY_REGION:
        value["candidates"] = [
            {"identifier": one.identifier, "regions": list(one.regions), "allotted": one.allotted}
            for one in found.possible
        ]
    return value


def _show(value: dict[str, Any], given: str | None) -> None:
    from contactsync.library.identifying import is_address

    candidates = value.get("candidates")
    if candidates:
        rows = [("text", value["text"], "no country code: what it would be")]
        rows += [("candidate", one["identifier"], _where(one)) for one in candidates]
    else:
        origin = "the locale" if given is None else "--region"
        region = f"region {value['region']} (from {origin})" if value["region"] else "no region"
        profile = "normalisation profile"
        if is_address(value["text"]):
            region, profile = "an e-mail address", "e-mail profile"
        rows = [("text", value["text"], region)]
        rows += [(step["name"], step["result"], step["why"]) for step in value["steps"]]
        if value["identifier"] is None:
            rows.append(("rejected", value["reason"], value["hint"]))
        else:
            rows.append(("identifier", value["identifier"], f"{profile} {value['profile']}"))
            rows += [("also", form["identifier"], form["why"]) for form in value["further_forms"]]
    rows = [(name, _printable(made), why) for name, made, why in rows]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    for name, made, why in rows:
        click.echo(f"{name:<{widths[0]}}  {made:<{widths[1]}}  {why}".rstrip())


def _where(candidate: dict[str, Any]) -> str:
    regions = candidate["regions"]
    text = ", ".join(regions[:SHOWN_REGIONS])
    if len(regions) > SHOWN_REGIONS:
        text += f" and {counted(len(regions) - SHOWN_REGIONS, 'other', 'others')}"
    return text if candidate["allotted"] else f"{text} (not allotted)"


def _printable(text: str) -> str:
    """The text without characters that could move a terminal's cursor or reverse its line."""
    return "".join(character if character.isprintable() else "?" for character in text)
