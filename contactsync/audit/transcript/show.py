"""A transcript for people: each request in words, with its size, and what it tells."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from contactsync.audit.transcript.kinds import Named, classify
from contactsync.audit.transcript.wire import HttpExchange, read_wire
from contactsync.client.transcript import Transcript
from contactsync.voprf.constants import NE

_WORDS = {
    "metadata": "asks for signed metadata",
    "manifest": "asks for a manifest",
    "checkpoint": "asks for the log's checkpoint",
    "leaf": "asks for a place in the log",
    "root checkpoint": "asks for the checkpoint of a root",
    "tile": "asks for a part of the log",
    "account": "asks what is left of the account's budget",
    "file": "fetches a data file",
    "tunnel": "opens a tunnel through the proxy",
}


@dataclass(frozen=True, slots=True)
class Shown:
    """A request as it is shown. `tells` is what the server learns from it; `wrong` why it is none of ours."""

    exchange: HttpExchange
    words: str
    tells: str
    wrong: str

    @property
    def status(self) -> str:
        """What came, in a word or two."""
        reply = self.exchange.reply
        if reply is None:
            return "no reply"
        return f"{reply.status}" if reply.whole else f"{reply.status}, broken off"

    @property
    def received(self) -> int:
        """Octets of the reply."""
        return self.exchange.reply.size if self.exchange.reply is not None else 0

    def value(self) -> dict[str, Any]:
        """It as JSON has it."""
        one = self.exchange
        return {
            "request": one.number,
            "method": one.method,
            "target": printable(one.target),
            "bytes_sent": one.size,
            "bytes_received": self.received,
            "status": self.status,
            "what": self.words,
            "tells": self.tells,
            "wrong": self.wrong,
        }


def shown(transcript: Transcript) -> Iterator[Shown]:
    """Every request, in order."""
    for one in read_wire(transcript.events).exchanges:
        found = classify(one, transcript.opening)
        if isinstance(found, str):
            yield Shown(one, "is none that a client makes", "what it says, whatever that is", found)
        else:
            yield Shown(one, _words(found), found.kind.tells, "")


def show_lines(requests: Sequence[Shown]) -> Iterator[str]:
    """One line for each request."""
    for one in requests:
        exchange = one.exchange
        sizes = f"{exchange.size:,} bytes sent, {one.received:,} received"
        line = f"{exchange.number:>4}  {exchange.method} {printable(exchange.target)}"
        yield f"{line}: {one.words}; {sizes} ({one.status}); tells {one.tells}"
        if one.wrong:
            yield f"      NOT EXPLAINED: {one.wrong}"


def printable(text: str) -> str:
    """Text without what a terminal or a page might take for more than text."""
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)


def _words(named: Named) -> str:
    one, kind = named.exchange, named.kind
    again = ", which is sent again after this" if one.repeated else ""
    if kind.name == "points":
        return f"sends {len(one.body) // NE:,} blinded points, padding included{again}"
    ranges = one.of("range")
    if ranges is not None:
        count = ranges.count(",") + 1
        return f"fetches {count:,} part{'s' if count > 1 else ''} of a data file{again}"
    return f"{_WORDS[kind.name]}{again}"
