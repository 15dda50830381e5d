"""The report of a transcript as one HTML file, without script and without anything that is loaded.

What a server sent is in it, and may be hostile: every text is escaped, and the page forbids scripts, frames,
images and requests by its policy.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any, Final

from contactsync.audit.report import AuditReport
from contactsync.audit.transcript.show import Shown, printable
from contactsync.audit.transcript.wire import HttpExchange
from contactsync.identifiers import title_of

_MOST_SHOWN: Final = 2048  # octets of a body

_STYLE: Final = """
:root{color-scheme:light dark;--ink:#1d232a;--paper:#fff;--soft:#5b6570;--line:#d9dee3;--good:#1a6b3c;
--bad:#b3261e;--open:#8a5a00;--box:#f4f6f8}
@media(prefers-color-scheme:dark){:root{--ink:#e6e9ec;--paper:#15191d;--soft:#9aa4ae;--line:#333b43;
--good:#6fcf97;--bad:#ff8a80;--open:#e8b04a;--box:#1e242a}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:60rem;padding:1rem;font:1rem/1.5 system-ui,sans-serif;color:var(--ink);
background:var(--paper)}
h1{font-size:1.5rem;line-height:1.2;overflow-wrap:anywhere}
h2{font-size:1.15rem;margin-top:2rem}
.said{border-left:.25rem solid var(--line);padding:.25rem 0 .25rem 1rem;font-size:1.05rem}
.soft,small{color:var(--soft)}
.proven{color:var(--good)}.disproven{color:var(--bad)}.unchecked{color:var(--open)}
.not-applicable{color:var(--soft);font-weight:normal}
ul{list-style:none;padding:0;margin:0}
li{border-top:1px solid var(--line);padding:.5rem 0;overflow-wrap:anywhere}
li:last-child{border-bottom:1px solid var(--line)}
b.state{display:inline-block;min-width:6.5rem}
summary{cursor:pointer}
@media(max-width:30rem){b.state{display:block}}
pre{background:var(--box);padding:.5rem;overflow-x:auto;font-size:.8rem;white-space:pre-wrap;
overflow-wrap:anywhere}
"""
_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_OUTCOMES: Final = {
    "proven": "All of this was proven",
    "disproven": "Not as promised",
    "unchecked": "Not proven: something could not be checked",
}


def page_of(report: AuditReport, requests: Sequence[Shown]) -> str:
    """The page."""
    return "".join(_page(report, requests))


def _text(value: object) -> str:
    return escape(printable(str(value)), quote=True)


def _page(report: AuditReport, requests: Sequence[Shown]) -> Iterator[str]:
    facts = report.facts
    yield (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1"><meta name="referrer" '
        f'content="no-referrer"><title>What a sync sent</title><style>{_STYLE}</style></head><body>'
    )
    outcome = f'<p class="{report.outcome}"><strong>{_OUTCOMES[report.outcome]}.</strong></p>'
    if "server" in facts:
        yield f"<h1>What a sync with {_text(facts['server'])} sent</h1>{outcome}"
        yield from _sync(report)
    else:
        yield f"<h1>A transcript that is not whole: {_text(report.subject)}</h1>{outcome}"
    yield "<h2>What was checked</h2><ul>"
    for rule in report.value()["rules"]:
        state = report.state(rule["rule"])
        yield (
            f'<li><b class="state {rule["state"]}">{state}</b> {_text(rule["description"])} '
            f"<small>({rule['proven']:,})</small></li>"
        )
    yield "</ul>"
    yield from _findings(report)
    yield from _contacts(facts.get("by_contact", []))
    if "server" in facts:
        yield "<h2>Every request</h2><ul>"
        for one in requests:
            yield from _request(one)
        yield "</ul>"
    yield "</body></html>\n"


def _sync(report: AuditReport) -> Iterator[str]:
    """What the transcript says of the sync as a whole."""
    facts = report.facts
    yield f'<p class="said">{_text(facts.get("leak") or "The sync did not come to its end.")}</p>'
    yield (
        f'<p class="soft">{facts["requests"]:,} requests, {facts["bytes_sent"]:,} bytes sent, '
        f"{facts['bytes_received']:,} received. The sync: {_text(facts['ended'])}. "
        f"{_text(facts['program'])}. Transcript: {_text(report.subject)}.</p>"
    )


def _findings(report: AuditReport) -> Iterator[str]:
    if not report.findings:
        return
    words = {"error": "disproven", "warning": "unchecked", "note": "soft"}
    yield "<h2>Findings</h2><ul>"
    for one in report.findings:
        yield (
            f'<li><b class="{words[str(one.severity)]}">{_text(one.severity)}</b> {_text(one.place)}: '
            f"{_text(one.message)}<br><small>{_text(one.hint)}</small></li>"
        )
    yield "</ul>"


def _contacts(contacts: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if not contacts:
        return
    yield "<h2>Contact by contact</h2><ul>"
    for one in contacts:
        yield f"<li><strong>{_text(one['name'])}</strong> {_text(one['identifier'])}<br>"
        yield f"<small>{_text(told_of(one))}</small></li>"
    yield "</ul>"


def told_of(one: Mapping[str, Any]) -> str:
    """What left because of a number, in words."""
    parts = [
        f"point {point['point']:,} of the {point['of']:,} in request {point['request']}, blinded"
        for point in one["points"]
    ]
    for bucket in one["buckets"]:
        among = f"among {bucket['among']:,} of {bucket['of']:,}"
        parts.append(f"bucket {bucket['bucket']:,} of {title_of(bucket['partition'])}, {among}")
    return "; ".join(parts) or "nothing left because of it in this sync"


def _request(one: Shown) -> Iterator[str]:
    exchange = one.exchange
    yield (
        f"<li><details><summary><strong>{exchange.number}.</strong> {_text(exchange.method)} "
        f"{_text(exchange.target)}<br><small>{_text(one.words)}; {exchange.size:,} bytes sent, "
        f"{one.received:,} received ({_text(one.status)}); tells {_text(one.tells)}</small></summary>"
    )
    yield f"<pre>{_text_lines(_sent(exchange))}</pre>"
    if exchange.reply is not None:
        yield f"<pre>{_text_lines(_came(exchange))}</pre>"
    yield "</details>"
    if one.wrong:
        yield f'<p class="disproven">Not explained: {_text(one.wrong)}</p>'
    yield "</li>"


def _text_lines(lines: Sequence[str]) -> str:
    return "\n".join(_text(line) for line in lines)


def _sent(exchange: HttpExchange) -> list[str]:
    lines = [f"{exchange.method} {exchange.target} {exchange.version}"]
    lines += [f"{name}: {_without_secret(value)}" for name, value in exchange.fields]
    return [*lines, *_body(exchange.body)]


def _without_secret(value: str) -> str:
    return re.sub("\0+", "(a secret, of which the transcript has a keyed hash)", value)


def _came(exchange: HttpExchange) -> list[str]:
    assert exchange.reply is not None
    lines = [
        f"{exchange.reply.status}",
        *(f"{name}: {value}" for name, value in exchange.reply.fields.items()),
    ]
    return [*lines, *_body(exchange.reply.body)]


def _body(octets: bytes) -> list[str]:
    if not octets:
        return []
    begun = octets[:_MOST_SHOWN]
    is_text = begun.isascii() and begun.decode("ascii").replace("\n", "").isprintable()
    shown = (
        begun.decode("ascii").split("\n")
        if is_text
        else [begun[at : at + 32].hex() for at in range(0, len(begun), 32)]
    )
    more = [f"… {len(octets) - _MOST_SHOWN:,} more bytes"] if len(octets) > _MOST_SHOWN else []
    return ["", *shown, *more]
