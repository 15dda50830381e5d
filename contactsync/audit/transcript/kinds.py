"""The kinds of request that a client makes: one row for each, and whole heads that are recomputed from it.

The head of every request is built anew from the row, the server, the program and what is variable in its
path; it must be the same, octet by octet. So there is no header, no order and no value that nobody explains.
What a variable part may be is checked elsewhere, by the `rule` of its row.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from contactsync.audit.transcript.wire import HttpExchange
from contactsync.client.transcript import Opening
from contactsync.foundation.audiences import AUDIENCES

CREDENTIAL: Final = "credential"
PROXY_PASSWORD: Final = "proxy password"  # noqa: S105 - what is hidden, not what it is

_SHA = "[0-9a-f]{64}"
_NUMBER = "[1-9][0-9]{0,15}"
_AUDIENCE = "|".join(AUDIENCES)
_RANGES = r"bytes=(?:0|[1-9]\d{0,15})-(?:0|[1-9]\d{0,15})?(?:,(?:0|[1-9]\d{0,15})-(?:0|[1-9]\d{0,15})){0,63}"


class Phase(IntEnum):
    """The order of a sync. A request of a later phase is never followed by one of an earlier one."""

    METADATA = 0
    ACCOUNT = 1
    FILES = 2
    POINTS = 3
    BUCKETS = 4


@dataclass(frozen=True, slots=True)
class RequestKind:
    """A kind of request. `path` is a regular expression; what it names is variable, and `rule` checks it.

    `tells` is what the server learns from one, in words for people. `credential`: it carries one.
    """

    name: str
    method: str
    path: str
    phase: Phase
    rule: str
    tells: str
    credential: bool = False
    ranges: bool = False


KINDS: Final = (
    RequestKind("metadata", "GET",
                rf"/v1/tuf/metadata/(?P<file>(?:{_NUMBER}\.(?:root|snapshot|targets)|timestamp)\.json)",
                Phase.METADATA, "metadata", "which signed metadata it had before"),
    RequestKind("manifest", "GET", rf"/v1/tuf/targets/(?P<sha256>{_SHA})\.(?P<audience>{_AUDIENCE})\.json",
                Phase.METADATA, "metadata", "which manifest it had before"),
    RequestKind("checkpoint", "GET", r"/v1/log/checkpoint", Phase.METADATA, "metadata", "nothing more"),
    RequestKind("leaf", "GET", rf"/v1/log/leaf/{_SHA}",
                Phase.METADATA, "metadata", "nothing more"),
    RequestKind("root checkpoint", "GET", rf"/v1/log/root/{_NUMBER}",
                Phase.METADATA, "metadata", "which root it had before"),
    RequestKind("tile", "GET",
                r"/v1/log/tile/(?:[0-9]|[1-5][0-9]|6[0-3]|entries)/(?:x\d{3}/){0,6}\d{3}"
                r"(?:\.p/(?:[1-9]|[1-9]\d|1\d\d|2[0-4]\d|25[0-5]))?",
                Phase.METADATA, "metadata", "which part of the log it had before"),
    RequestKind("account", "GET", r"/v1/account", Phase.ACCOUNT, "requests",
                "which account it is", credential=True),
    RequestKind("file", "GET", rf"/v1/data/(?P<sha256>{_SHA})", Phase.FILES, "choice",
                "which files it had before", credential=True, ranges=True),
    RequestKind("points", "POST", rf"/v1/evaluate/(?P<audience>{_AUDIENCE})/(?P<epoch>{_NUMBER})",
                Phase.POINTS, "points", "how many blinded points, rounded up", credential=True),
)  # fmt: skip
"""All there are. docs/http-api.md describes them."""

CONNECT: Final = RequestKind(
    "tunnel", "CONNECT", "", Phase.METADATA, "requests", "to the proxy: which server it talks to"
)


@dataclass(frozen=True, slots=True)
class Named:
    """A request, and what it is. `variable` is what its path names."""

    exchange: HttpExchange
    kind: RequestKind
    variable: Mapping[str, str]


def _pattern(kind: RequestKind) -> re.Pattern[str]:
    return re.compile(kind.path, re.ASCII)


_PATTERNS: Final = {kind.name: _pattern(kind) for kind in KINDS}


def classify(one: HttpExchange, opening: Opening) -> Named | str:
    """What a request is, or in one sentence why it is none of ours."""
    if one.method == "CONNECT":
        return _tunnel(one, opening)
    start = _start(opening)
    if not one.target.startswith(start):
        return "it is not for a path of this server"
    for kind in KINDS:
        found = _PATTERNS[kind.name].fullmatch(one.target.removeprefix(start))
        if found and one.method == kind.method:
            wrong = _wrong_head(one, kind, found.groupdict(), opening)
            return wrong or Named(one, kind, found.groupdict())
    return "no client has a reason to ask for this"


def _start(opening: Opening) -> str:
    """What precedes the path in a request: through a proxy without a tunnel, the server."""
    scheme, _, rest = opening.server.partition("://")
    if scheme == "http" and opening.proxy in {"http", "https"}:
        return opening.server
    return "/" + rest.partition("/")[2] if "/" in rest else ""


def _host(opening: Opening) -> str:
    return opening.server.partition("://")[2].partition("/")[0]


def _wrong_head(one: HttpExchange, kind: RequestKind, variable: Mapping[str, str], opening: Opening) -> str:
    """How its head differs from the one that it must have; empty if it does not."""
    ranges = one.of("range") if kind.ranges else None
    if ranges is not None and not re.fullmatch(_RANGES, ranges, re.ASCII):
        return "its Range is not one that a client writes"
    if one.version != "HTTP/1.1" or (one.body and kind.method == "GET"):
        return f"its version is {one.version}, and it has a body of {len(one.body):,} octets"
    lengths = {hidden.what: hidden.length for hidden in one.hidden}
    at = len(f"{one.method} {one.target} {one.version}\r\n")
    wanted, secrets = [], []
    for name, value, what in _fields(one, kind, opening, ranges, variable):
        if what is not None:
            secrets.append((at + len(f"{name}: {value}"), what))
        wanted.append((name, value + "\0" * lengths.get(what or "", 0)))
        at += len(f"{name}: {wanted[-1][1]}\r\n")
    return _difference(one.fields, wanted) or _misplaced(one, secrets)


def _difference(fields: Sequence[tuple[str, str]], wanted: Sequence[tuple[str, str]]) -> str:
    for (name, value), (must_name, must) in zip(fields, wanted, strict=False):
        if name != must_name:
            return f"its header {name[:60]!a} stands where {must_name} has its place"
        if value != must:
            return f"its header {name} has another value than a client sends"
    if len(fields) != len(wanted):
        return f"it has {len(fields)} headers instead of {len(wanted)}"
    return ""


def _misplaced(one: HttpExchange, secrets: Sequence[tuple[int, str]]) -> str:
    if [(hidden.at, hidden.what) for hidden in one.hidden] != list(secrets):
        return "a secret is missing where one has its place, or stands where none has"
    return ""


def _fields(
    one: HttpExchange, kind: RequestKind, opening: Opening, ranges: str | None, variable: Mapping[str, str]
) -> Iterator[tuple[str, str, str | None]]:
    """The fields that a request must have: name, value or its beginning, and the secret that follows it."""
    length = ("Content-Length", str(len(one.body)), None)
    proxied = opening.server.startswith("http://") and opening.proxy in {"http", "https"}
    if proxied:
        if kind.method == "POST":
            yield length
        yield "Accept", "*/*", None
        yield "Host", _host(opening), None
    else:
        yield "Host", _host(opening), None
        if kind.method == "POST":
            yield length
    yield "User-Agent", opening.program, None
    yield "Accept-Encoding", "identity", None
    if ranges:
        yield "Range", ranges, None
        yield "If-Range", f'"{variable["sha256"]}"', None
    if kind.ranges and one.of("prefer") is not None and (not ranges or ranges.endswith("-")):
        yield "Prefer", "redirect", None  # whole files, or their ends, which may come from a store
    if kind.method == "POST":
        yield "Content-Type", "application/octet-stream", None
    if kind.credential:
        yield "Authorization", "Bearer ", CREDENTIAL
    if proxied and one.of("proxy-authorization") is not None:
        yield "proxy-authorization", "Basic ", PROXY_PASSWORD


def _tunnel(one: HttpExchange, opening: Opening) -> Named | str:
    """CONNECT to a proxy. Python's http.client writes Host since 3.12."""
    host = _host(opening)
    target = host if re.search(r":\d+$", host) else f"{host}:443"
    if opening.proxy not in {"http", "https"} or not opening.server.startswith("https://"):
        return "there is no proxy that it could be for"
    if one.target != target or one.body:
        return "it is not a tunnel to this server"
    secrets = [hidden.length for hidden in one.hidden if hidden.what == PROXY_PASSWORD]
    password = [("proxy-authorization", "Basic " + "\0" * length) for length in secrets]
    for wanted in ([("Host", target), *password], password):
        if len(secrets) == len(one.hidden) and list(one.fields) == wanted:
            return Named(one, CONNECT, {})
    return "its headers are not those that a client sends"
