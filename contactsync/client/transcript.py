"""The record of every byte that a sync sent and received, as a file: its format, and how it is read.

docs/transcript.md describes it. It is a file of JSON lines: what the sync began with, then every piece of
traffic above TLS in the order of the wire, and at the end counts and a hash of all lines before. So a file
that was cut, at a line end too, is not taken for whole. Instead of the credential there is a keyed hash; its
key is in a second file, FILE.private (`client.recording` writes both).
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

from contactsync.foundation.errors import BadInput

FORMAT: Final = "contactsync-transcript-2"
PRIVATE_FORMAT: Final = "contactsync-transcript-private-2"
PRIVATE_SUFFIX: Final = ".private"
MAX_OPENING: Final = 64 << 20  # octets: it holds the manifest that was seen last
LATEST: Final = 253_402_300_799  # the last second that has a date (9999-12-31)
MAX_LINE: Final = 1 << 20
MAX_PRIVATE: Final = 1 << 30

_EARLIER: Final = "contactsync-transcript-1"
_PROXIES: Final = (None, "http", "https", "socks4", "socks4a", "socks5", "socks5h")
_OUTCOMES: Final = ("done", "failed", "interrupted")


class BadTranscript(BadInput):
    """A transcript, or its private file, is cut off, edited, of another version, or no such file at all.

    Unlike a file that cannot be opened, it is something that an audit reports on. `place` is the file, with
    the line if it is one; `why` what is wrong there.
    """

    def __init__(self, place: str, why: str, *, hint: str) -> None:
        super().__init__(f"{place}: {why}", hint=hint)
        self.place = place
        self.why = why


def line_of(value: Mapping[str, Any]) -> bytes:
    """A line of a transcript. There is only one way to write a value."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode("ascii") + b"\n"


def private_path(path: Path) -> Path:
    """The private file beside a transcript."""
    return path.with_name(path.name + PRIVATE_SUFFIX)


@dataclass(frozen=True, slots=True)
class Hidden:
    """A secret that stood at `at` in a piece, `length` octets: what it was, and its keyed hash in hex."""

    at: int
    length: int
    what: str
    keyed_hash: str


@dataclass(frozen=True, slots=True)
class Piece:
    """Some octets of one connection. `sent` is the direction: True from client to server.

    `data` has as many octets as were on the wire. Where a secret is `hidden` they are zeros.
    """

    connection: int
    sent: bool
    data: bytes
    hidden: tuple[Hidden, ...] = ()

    def line(self) -> bytes:
        """It as a line: the hidden octets are left out of the data."""
        parts, done = [], 0
        for one in self.hidden:
            parts.append(self.data[done : one.at])
            done = one.at + one.length
        text = base64.b64encode(b"".join([*parts, self.data[done:]])).decode("ascii")
        value: dict[str, Any] = {"connection": self.connection, "sent" if self.sent else "received": text}
        if self.hidden:
            value["hidden"] = [[one.at, one.length, one.what, one.keyed_hash] for one in self.hidden]
        return line_of(value)


@dataclass(frozen=True, slots=True)
class Closed:
    """The client closed a connection."""

    connection: int

    def line(self) -> bytes:
        """It as a line."""
        return line_of({"connection": self.connection, "closed": True})


@dataclass(frozen=True, slots=True)
class Worked:
    """The client began to work on replies to points: from here on, its time depends on the address book."""

    def line(self) -> bytes:
        """It as a line."""
        return line_of({"worked": True})


Event = Piece | Closed | Worked


@dataclass(frozen=True, slots=True)
class Opening:
    """What a sync began with. `options` decide its requests; `began` is in seconds since 1970.

    `trusted` are the files of the client's TUF state, public metadata, by their names; `root.json` is the
    pinned root. `proxy` is the kind of proxy ("http", "socks5h"), or None.
    """

    program: str
    server: str
    began: int
    proxy: str | None
    options: Mapping[str, Any]
    trusted: Mapping[str, bytes] = field(repr=False)

    def line(self) -> bytes:
        """It as a line."""
        trusted = {name: base64.b64encode(data).decode() for name, data in sorted(self.trusted.items())}
        return line_of(
            {
                "format": FORMAT,
                "program": self.program,
                "server": self.server,
                "began": self.began,
                "proxy": self.proxy,
                "options": dict(self.options),
                "trusted": trusted,
            }
        )

    @classmethod
    def of(cls, value: dict[str, Any]) -> Self:
        """It from a line. Raises ValueError, KeyError, TypeError if it is none."""
        trusted = {str(name): _octets(text) for name, text in value["trusted"].items()}
        texts = (value["program"], value["server"], *value["options"])
        if not all(type(one) is str for one in texts) or type(value["began"]) is not int:
            raise ValueError("not an opening")
        if type(value["options"]) is not dict or not 0 <= value["began"] <= LATEST:
            raise ValueError("not an opening")
        if value["proxy"] not in _PROXIES or not re.fullmatch(r"https?://[!-~]+", value["server"]):
            raise ValueError("not an opening")
        given = {name: value[name] for name in ("program", "server", "began", "proxy", "options")}
        return cls(**given, trusted=trusted)


@dataclass(frozen=True, slots=True)
class Ending:
    """How a sync ended: `outcome` is done, failed or interrupted, `error` the kind of the error.

    `said` is the last line of the sync: what the server could learn. `private` is the SHA-256 of the private
    file. `sent` and `received` are octets, `pieces` the lines with octets, `sha256` that of all lines before.
    """

    outcome: str
    error: str | None
    said: str | None
    private: str
    pieces: int
    sent: int
    received: int
    sha256: str

    def line(self) -> bytes:
        """It as a line."""
        names = ("error", "said", "private", "pieces", "sent", "received", "sha256")
        return line_of({"end": self.outcome, **{name: getattr(self, name) for name in names}})

    @classmethod
    def of(cls, value: dict[str, Any]) -> Self:
        """It from a line. Raises ValueError, KeyError, TypeError if it is none."""
        ending = cls(value["end"], *(value[name] for name in cls.__slots__[1:]))
        counts = (ending.pieces, ending.sent, ending.received)
        if ending.outcome not in _OUTCOMES or not all(type(one) is int for one in counts):
            raise ValueError("not an ending")
        if (ending.error is None) == (ending.outcome == "failed"):
            raise ValueError("not an ending")
        if ending.said is not None and ending.outcome != "done":
            raise ValueError("not an ending")
        if not all(one is None or type(one) is str for one in (ending.error, ending.said)):
            raise ValueError("not an ending")
        return ending


@dataclass(frozen=True, slots=True)
class Transcript:
    """A whole transcript."""

    opening: Opening
    events: tuple[Event, ...] = field(repr=False)
    ending: Ending

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a file. Raises BadTranscript with the line that is not as it was written, or is missing.

        Raises BadInput if it cannot be opened.
        """
        lines = _lines(path)
        opening = next(lines)
        rest = list(lines)
        assert isinstance(opening, Opening)
        assert isinstance(rest[-1], Ending)
        events = tuple(one for one in rest if isinstance(one, Event))
        return cls(opening, events, rest[-1])


def read_transcript(path: Path) -> Iterator[Piece]:
    """The pieces of a transcript, in order. Raises BadInput like `Transcript.read`."""
    for one in _lines(path):
        if isinstance(one, Piece):
            yield one


def _lines(path: Path) -> Iterator[Opening | Event | Ending]:
    """Every line, the opening first. The last is the ending, else BadTranscript is raised."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise BadInput(f"cannot read {path}: {error.strerror}", hint="check the name") from error
    digest, counts, number = hashlib.sha256(), [0, 0, 0], 0
    with file:
        ending: Ending | None = None
        while line := file.readline(MAX_LINE if number else MAX_OPENING):
            number += 1
            if ending is not None:
                raise _unreadable(path, number, "there is more after its end")
            one = _line(path, number, line)
            if isinstance(one, Ending):
                ending = one
                _check_ending(path, number, ending, counts, digest.hexdigest())
            elif isinstance(one, Piece):
                counts[0] += 1
                counts[1 if one.sent else 2] += len(one.data)
            digest.update(line)
            yield one
    if ending is None:
        raise BadTranscript(
            f"{path}, line {number + 1}",
            "the end is missing: the transcript was cut",
            hint="give the whole file that sync --transcript wrote",
        )


def _line(path: Path, number: int, line: bytes) -> Opening | Event | Ending:
    try:
        value = json.loads(line)
        if number == 1:
            _check_format(path, value)
        one = Opening.of(value) if number == 1 else _event(value)
        as_written = one.line()
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise _unreadable(path, number, "not a line of a transcript") from error
    if as_written != line:
        raise _unreadable(path, number, "it is written in another way than a line is")
    return one


def _check_format(path: Path, value: dict[str, Any]) -> None:
    if value["format"] == _EARLIER:
        raise BadTranscript(
            str(path),
            "it is a transcript of an earlier version: it contains the credential, and cannot show that it is"
            " whole",
            hint="sync again with --transcript NEWFILE, and delete this file",
        )
    if value["format"] != FORMAT:
        raise BadTranscript(
            str(path),
            f"it is a transcript of another version ({str(value['format'])[:60]!a})",
            hint="use the version of contactsync that wrote it, or a newer one",
        )


def _event(value: dict[str, Any]) -> Event | Ending:
    if "end" in value:
        return Ending.of(value)
    if value == {"worked": True}:
        return Worked()
    connection = value["connection"]
    if type(connection) is not int or connection < 1:
        raise ValueError("not a connection")
    if "closed" in value:
        return Closed(connection)
    sent = "sent" in value
    data = _octets(value["sent" if sent else "received"])
    hidden: list[Hidden] = []
    for at, length, what, keyed_hash in value.get("hidden", []):
        if type(at) is not int or type(length) is not int or not 0 <= at <= len(data) or length < 1:
            raise ValueError("nothing can be hidden there")
        if length > MAX_LINE or (hidden and at < hidden[-1].at + hidden[-1].length):
            raise ValueError("nothing can be hidden there")
        data = data[:at] + bytes(length) + data[at:]
        hidden.append(Hidden(at, length, str(what), str(keyed_hash)))
    return Piece(connection, sent, data, tuple(hidden))


def _check_ending(path: Path, number: int, ending: Ending, counts: list[int], sha256: str) -> None:
    if [ending.pieces, ending.sent, ending.received] != counts or ending.sha256 != sha256:
        raise _unreadable(path, number, "the lines before are not those that were written")


def _octets(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def _unreadable(path: Path, number: int, why: str) -> BadTranscript:
    return BadTranscript(f"{path}, line {number}", why, hint="give a file that sync --transcript wrote")
