"""Every refusal that docs/http-api.md states, as data: what is sent, what must come back, where it is said.

A test reads the document, and fails if it names a refusal that is not here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

STATUS: Final = {
    "bad-batch": 400,
    "invalid-element": 400,
    "bad-range": 400,
    "bad-request": 400,
    "bad-credential": 401,
    "bad-code": 403,
    "wrong-audience": 403,
    "not-found": 404,
    "unknown-rows": 404,
    "method-not-allowed": 405,
    "too-slow": 408,
    "epoch-changed": 409,
    "batch-too-large": 413,
    "body-too-large": 413,
    "wrong-media-type": 415,
    "range-not-satisfiable": 416,
    "out-of-quota": 429,
    "internal": 500,
    "expired": 503,
    "unverifiable": 503,
    "files-missing": 503,
    "store-replaced": 503,
    "not-published": 503,
    "key-unavailable": 503,
    "store-unavailable": 503,
    "paused": 503,
    "overloaded": 503,
}

_FILES = "a state of the operator's files, keys or disk"

NOT_PROVOKED: Final = {
    "bad-request": "the document names no request that leads to it",
    "internal": "it would take a fault of the server",
    "expired": _FILES,
    "unverifiable": _FILES,
    "files-missing": _FILES,
    "store-replaced": _FILES,
    "not-published": _FILES,
    "key-unavailable": _FILES,
    "store-unavailable": _FILES,
    "paused": "it would take the points of all callers for an hour",
    "overloaded": "it would take a flood",
}
"""What a probe cannot ask for, and why. If it meets one, its form is checked like any other."""

ELSEWHERE: Final = {"out-of-quota": "charges", "too-slow": "waits"}
"""What other modules of this package provoke."""

EVALUATE: Final = "/v1/evaluate/{audience}/{epoch}"
DATA: Final = "/v1/data/{sha256}"
SIGN_IN: Final = "/v1/sign-in"
LOOK_UP: Final = "/v1/lookup/{audience}/{zeros}"
"""Of no rows: no file has this SHA-256."""

LOOK_UP_ROWS: Final = "/v1/lookup/{audience}/{root}"
"""Of the rows that the manifest states; asked for only if it states some."""

POINT: Final = bytes.fromhex("e2f2ae0a6abc4e71a884a961c500515f58e30b6aa582dd8db6a65945e08d2d76")
"""The generator's encoding (RFC 9496 §4.5): a valid element, which counts as a point when it is sent."""

IDENTITY_BYTES: Final = bytes(32)
INVALID: Final = {  # RFC 9496 A.3
    "a field element above p": b"\xff" * 32,
    "a negative field element": b"\1" + bytes(31),
    "no square": bytes.fromhex("26948d35ca62e643e26a83177332e6b6afeb9d08e4268b650f1f5bbd8d81d371"),
    "a negative x·y": bytes.fromhex("3eb858e78f5a7254d8c9731174a94f76755fd3941c0ac93735c07ba14579630e"),
    "y is zero": bytes.fromhex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
}
BINARY: Final = ("Content-Type", "application/octet-stream")
_AUTH = ("Authorization", "{authorization}")
_JSON = ("Content-Type", "application/json")
_NO_CODE = b'{"code": "csc_' + b"x" * 43 + b'.43200"}'

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class RefusedCase:
    """A request that must be refused. In braces stand the figures of the server that is asked.

    `section` is the heading of docs/http-api.md that states it. `members` and `fields` are what the reply
    must have beside the usual ones: a value, or "" for any. `points` valid elements are sent. `stated` is
    the Content-Length, if it is not that of the body: then nothing of the body is sent.
    """

    slug: str
    name: str
    section: str
    method: str
    path: str
    sent: Pairs = (_AUTH,)
    body: bytes | None = None
    members: Mapping[str, str] | None = None
    fields: Pairs = ()
    points: int = 0
    stated: str = ""
    is_malformed: bool = True


def _post(slug: str, name: str, section: str, body: bytes = IDENTITY_BYTES, **more: Any) -> RefusedCase:
    more.setdefault("sent", (_AUTH, BINARY))
    path = more.pop("path", EVALUATE)
    return RefusedCase(slug, name, section, "POST", path, body=body, **more)


def _range(slug: str, value: str, **more: Any) -> RefusedCase:
    return RefusedCase(slug, f"Range: {value}", "Data files", "GET", DATA, (_AUTH, ("Range", value)), **more)


def _nothing(path: str, method: str = "GET", **more: Any) -> RefusedCase:
    return RefusedCase("not-found", f"{method} {path}", "Problems", method, path, **more)


def _unauthorised(name: str, *sent: tuple[str, str]) -> tuple[RefusedCase, ...]:
    """The same with each route that needs a credential."""
    challenge = (("www-authenticate", "Bearer"),)
    more: dict[str, Any] = {"fields": challenge, "is_malformed": False}
    return (
        RefusedCase("bad-credential", f"{name}: account", "Credentials", "GET", "/v1/account", sent, **more),
        RefusedCase("bad-credential", f"{name}: data", "Credentials", "GET", DATA, sent, **more),
        _post("bad-credential", f"{name}: evaluate", "Credentials", sent=(*sent, BINARY), **more),
        _post("bad-credential", f"{name}: look-up", "Look-ups", path=LOOK_UP, sent=(*sent, BINARY), **more),
    )


def _method(method: str, path: str, allowed: str) -> RefusedCase:
    more: dict[str, Any] = {"fields": (("allow", allowed),)}
    body = b"" if method != "GET" else None
    return RefusedCase("method-not-allowed", f"{method} {path}", "Problems", method, path, body=body, **more)


_OTHER = EVALUATE.replace("{audience}", "{other}")
_PAST = EVALUATE.replace("{epoch}", "{never}")
_NEITHER = _PAST.replace("{audience}", "{other}")
_NOWHERE = EVALUATE.replace("{audience}", "nobody")
_OTHER_ROWS = LOOK_UP.replace("{audience}", "{other}")
_LIMIT = {"limit": "{limit}"}
_ORDER = "Problems"

REFUSALS: Final = (
    # A batch that is none
    _post("bad-batch", "an empty body", "Problems", b""),
    _post("bad-batch", "an octet too few", "Problems", bytes(31)),
    _post("bad-batch", "an octet too many", "Problems", bytes(33)),
    _post("invalid-element", "the identity", "Evaluate", members={"index": "0"}),
    *(
        _post("invalid-element", name, "Evaluate", octets, members={"index": "0"})
        for name, octets in INVALID.items()
    ),
    _post(
        "invalid-element",
        "the identity second",
        "Evaluate",
        POINT + bytes(32),
        members={"index": "1"},
        points=1,
    ),
    _post("bad-batch", "a point and a half", "Problems", POINT + bytes(16), points=1),
    _post("batch-too-large", "one element too many", "Quotas", stated="{over}", members=_LIMIT),
    # Ranges
    *(_range("bad-range", f"bytes={value}") for value in ("", "-", "9-3", "a-b", "1-2;", "9" * 40 + "-")),
    *(
        _range("range-not-satisfiable", f"bytes={value}", fields=(("content-range", "bytes */{length}"),))
        for value in ("{length}-", "0-0,{length}-", "-0")
    ),
    # Credentials
    *_unauthorised("no credential"),
    *_unauthorised("an empty one", ("Authorization", "")),
    *_unauthorised("an unknown one", ("Authorization", "Bearer cs_{unknown}")),
    *_unauthorised("another scheme", ("Authorization", "Basic {credential}")),
    *_unauthorised("two in one", ("Authorization", "Bearer {credential} {credential}")),
    *_unauthorised("one in another field", ("X-Authorization", "{authorization}")),
    _post("wrong-audience", "another audience", "Credentials", path=_OTHER, is_malformed=False),
    # Nothing there
    *(
        _nothing(path)
        for path in ("/", "/v1", "/v1/", "/v1/health/", "/v2/health", "/v1/accounts", "/v1/data/")
    ),
    *(
        _nothing(f"/v1/tuf/metadata/{name}")
        for name in (
            "",
            "none.json",
            "01.root.json",
            "1.timestamp.json",
            "..%2f..%2fserver.toml",
            "999999.root.json",
        )
    ),
    *(
        _nothing(f"/v1/tuf/targets/{name}")
        for name in ("people.json", "{zeros}.people.json", "..%2fdata", "{zeros}.nobody.json")
    ),
    *(_nothing(f"/v1/data/{name}") for name in ("{zeros}", "x", "{upper}", "..%2fmetadata%2froot.json")),
    _post("not-found", "an unknown audience", "Problems", path=_NOWHERE),
    *(
        _post("not-found", f"a look-up of {name}", "Problems", path=f"/v1/lookup/{path}")
        for name, path in {
            "an unknown audience": "nobody/{zeros}",
            "a short root": "{audience}/00",
            "a root that is none": "{audience}/" + "g" * 64,
            "a root in capitals": "{audience}/" + "A" * 64,
        }.items()
    ),
    _post("unknown-rows", "a look-up of unknown rows", "Look-ups", path=LOOK_UP, is_malformed=False),
    _post("unknown-rows", "rows before media type", _ORDER, b"", path=LOOK_UP, sent=(_AUTH,)),
    _post("wrong-audience", "a look-up of another audience", "Look-ups", path=_OTHER_ROWS),
    # Look-ups of rows that there are
    _post("bad-batch", "no keys", "Look-ups", b"", path=LOOK_UP_ROWS),
    _post("bad-batch", "half a key", "Look-ups", bytes(16), path=LOOK_UP_ROWS),
    _post("wrong-media-type", "keys without a media type", "Look-ups", path=LOOK_UP_ROWS, sent=(_AUTH,)),
    _post(
        "body-too-large",
        "more keys than any batch has",
        "Look-ups",
        stated="{many}",
        path=LOOK_UP_ROWS,
        members={"limit": "{keys}"},
    ),
    *(
        _post("not-found", f"epoch {epoch}", "Problems", path=EVALUATE.replace("{epoch}", epoch))
        for epoch in ("0", "01", "-1", "x", "9" * 17, "")
    ),
    # Methods
    *(_method(method, "/v1/health", "GET") for method in ("POST", "PUT", "DELETE", "OPTIONS", "TRACE")),
    *(
        _method("POST", path, "GET")
        for path in ("/v1/tuf/metadata/root.json", "/v1/tuf/targets/{zeros}.people.json", "/v1/account", DATA)
    ),
    _method("DELETE", DATA, "GET"),
    *(_method(method, EVALUATE, "POST") for method in ("GET", "PUT", "DELETE", "PATCH")),
    *(_method(method, LOOK_UP, "POST") for method in ("GET", "PUT", "DELETE", "PATCH")),
    _method("GET", SIGN_IN, "POST"),
    # Codes
    *(
        _post("bad-code", name, "Credentials", body, path=SIGN_IN, sent=sent, is_malformed=False)
        for name, body, sent in (
            ("a code that is made up", _NO_CODE, (_JSON,)),
            ("a code that is made up, with a credential", _NO_CODE, (_AUTH, _JSON)),
            ("what is no code", b'{"code": ""}', (_JSON,)),
        )
    ),
    _post(
        "wrong-media-type", "a code without its media type", "Credentials", _NO_CODE, path=SIGN_IN, sent=()
    ),
    # Epochs
    *(
        _post(
            "epoch-changed",
            f"epoch {epoch}",
            "Evaluate",
            path=EVALUATE.replace("{epoch}", epoch),
            members={"epoch": "{epoch}"},
            is_malformed=False,
        )
        for epoch in ("{never}", "9" * 16)
    ),
    # Media types
    _post("wrong-media-type", "no media type", "Problems", sent=(_AUTH,)),
    *(
        _post("wrong-media-type", f"Content-Type: {kind}", "Problems", sent=(_AUTH, ("Content-Type", kind)))
        for kind in ("", "text/plain", "application/json", "application/octet-stream-x")
    ),
    # The order of the checks
    _post("not-found", "route before credential", _ORDER, b"", path=_NOWHERE, sent=()),
    _post("bad-credential", "credential before epoch", _ORDER, b"", path=_PAST, sent=()),
    _post("bad-credential", "credential before audience", _ORDER, b"", path=_OTHER, sent=(BINARY,)),
    _post("wrong-audience", "audience before epoch", _ORDER, b"", path=_NEITHER, sent=(_AUTH,)),
    _post("wrong-audience", "audience before media type", _ORDER, b"", path=_OTHER, sent=(_AUTH,)),
    _post(
        "epoch-changed",
        "epoch before media type",
        _ORDER,
        b"",
        path=_PAST,
        sent=(_AUTH,),
        members={"epoch": "{epoch}"},
    ),
    _post("wrong-media-type", "media type before size", _ORDER, b"", sent=(_AUTH,), stated="{over}"),
    _post("bad-batch", "size before elements", _ORDER, b"\xff" * 33),
)


@dataclass(frozen=True, slots=True)
class RawCase:
    """Octets that are no request, or whose end is not clear. A status of `statuses` ends them, or a hang-up.

    `head` stands for the first line, the credential and the media type of an evaluation.
    """

    name: str
    section: str
    octets: bytes
    statuses: tuple[int, ...] = (400,)


_LONG = b"".join(b"X-%d: %b\r\n" % (index, b"x" * 990) for index in range(24))

RAW_CASES: Final = (
    RawCase("no HTTP", "Problems", b"\0\1\2\r\n\r\n"),
    RawCase("a line without a target", "Problems", b"GET\r\n\r\n"),
    RawCase(
        "a version that is none",
        "The HTTP API",
        b"GET {prefix}/v1/health HTTP/9.9\r\nHost: {host}\r\n\r\n",
        (400, 505),
    ),
    RawCase(
        "a head of 24 KB",
        "The HTTP API",
        b"GET {prefix}/v1/health HTTP/1.1\r\nHost: {host}\r\n" + _LONG + b"\r\n",
        (400, 431),
    ),
    RawCase(
        "an octet of 255 in the target",
        "Problems",
        b"GET {prefix}/v1/health\xff HTTP/1.1\r\nHost: {host}\r\n\r\n",
        (400, 404),
    ),
    RawCase(
        "an absolute target without a credential",
        "Credentials",
        b"POST {scheme}://{host}{prefix}/v1/evaluate/{audience}/{epoch} HTTP/1.1\r\nHost: {host}\r\n"
        b"Content-Type: application/octet-stream\r\nContent-Length: 32\r\nConnection: close\r\n\r\n"
        + bytes(32),
        (400, 401, 404, 421),
    ),
    *(
        RawCase(name, "Problems", b"{head}" + octets, (400, 411, 413, 501))
        for name, octets in {
            "a chunk size that is none": b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
            "a chunk size of 40 digits": b"Transfer-Encoding: chunked\r\n\r\n" + b"F" * 40 + b"\r\n",
            "chunks and a length": b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
            "two lengths": b"Content-Length: 32\r\nContent-Length: 33\r\n\r\n" + bytes(33),
            "a negative length": b"Content-Length: -1\r\n\r\n",
            "a length in letters": b"Content-Length: 1e3\r\n\r\n",
            "a length of 23 digits": b"Content-Length: 99999999999999999999999\r\n\r\n",
            "an unknown transfer coding": b"Transfer-Encoding: nothing\r\n\r\n" + bytes(32),
        }.items()
    ),
)
