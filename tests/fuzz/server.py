"""What callers send to a server, and the files that an operator has or gets from others."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import io
import itertools
import json
import re
import shutil
import tarfile
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import urllib3
import uvicorn
from uvicorn.server import ServerState

from contactsync.audit.gates import Gate
from contactsync.foundation.errors import BadInput, CallerError, OurError
from contactsync.foundation.roles import ROLES
from contactsync.server import exported, keyring, prepared, probe, sealing, settings
from contactsync.server.admin import calls, idempotency
from contactsync.server.admin.members import read_details
from contactsync.server.admin.problems import AdminProblem
from contactsync.server.admin.reading import read_identifiers
from contactsync.server.backups import archive as backup
from contactsync.server.http import data as ranges
from contactsync.server.http.evaluating import PATH
from contactsync.server.http.problems import Problem
from contactsync.server.storage import archive as stores
from contactsync.server.storage.postgres.address import DatabaseUrl
from contactsync.serving import limits, tls
from contactsync.serving.protocol import BoundedProtocol
from fuzz import scratch
from fuzz.client import JSON_WORDS, head_of
from fuzz.target import Target

_JSON = (
    *JSON_WORDS,
    *(
        b"1" * 400,
        b"\xff",
        b"\\ud800",
    ),
    *(
        b'"format": ',
        b'"secret": ',
        b'"kdf": ',
        b'"salt": ',
        b'"iterations": ',
        b'"nonce": "00"',
        b'"sealed": ',
    ),
)


# ---- Requests


class _Transport(asyncio.Transport):
    """Takes what is answered."""

    def __init__(self) -> None:
        super().__init__()
        self.out, self.closed = b"", False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 1) if name in {"peername", "sockname"} else default

    def write(self, data: bytes) -> None:
        self.out += data

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    abort = close

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...


async def _app(scope: Any, receive: Callable[[], Any], send: Callable[[Any], Any]) -> None:
    """Reads a request, and looks at it as the server does."""
    while (message := await receive()).get("more_body"):
        pass
    PATH.fullmatch(scope["path"])
    status = 204 if message["type"] == "http.request" else 500
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": b""})


@functools.cache
def _loop() -> tuple[asyncio.AbstractEventLoop, uvicorn.Config]:
    loop = asyncio.new_event_loop()
    config = uvicorn.Config(_app, interface="asgi3", lifespan="off", log_config=None, loop="asyncio")
    config.load()
    return loop, config


def _http(data: bytes) -> None:
    """Any octets of a caller: whole answers, or a closed connection; the same however they are cut."""
    loop, config = _loop()
    faults: list[object] = []
    loop.set_exception_handler(
        lambda _, context: faults.append(context.get("exception") or context["message"])
    )

    async def talk(pieces: list[bytes]) -> tuple[bytes, bool]:
        connections, transport = limits.Connections(limits.Limits()), _Transport()
        connections.start(loop)
        one = BoundedProtocol(
            connections=connections, config=config, server_state=ServerState(), app_state={}, _loop=loop
        )
        one.connection_made(transport)
        for piece in pieces:
            if not transport.closed:
                one.data_received(piece)
            for _ in range(6):
                await asyncio.sleep(0)
        one.connection_lost(None)
        for _ in range(6):
            await asyncio.sleep(0)
        connections.stop()
        assert len(connections) == 0
        return transport.out, transport.closed

    out, _ = loop.run_until_complete(talk([data]))
    cut = len(data) // 2
    loop.run_until_complete(talk([data[:cut], data[cut:]]))
    assert not faults, faults[0]
    assert not out or re.match(rb"HTTP/1\.1 (204|400|100) ", out), out[:80]
    assert b"Traceback" not in out


def _ranges(data: bytes) -> None:
    """The ranges of a request: ascending, apart, and within the file."""
    spans = ranges._spans(data.decode("latin-1"), 1000)
    assert all(0 <= start < end <= 1000 for start, end in spans), spans
    assert all(before[1] < after[0] for before, after in itertools.pairwise(spans)), spans


def _forwarded(data: bytes) -> None:
    trusted, _, fields = data.partition(b"\n")
    networks = limits.networks([one for one in trusted.decode("latin-1").split(",") if one])
    caller = limits.caller_behind(fields.split(b"\n"), networks)
    assert caller.isprintable() and len(caller) < 60, caller


def _admin(data: bytes) -> None:
    """A call of the admin API: its path, its query and its body, as the routes take them."""
    head, _, body = data.partition(b"\n\n")
    target, *lines = head.split(b"\n")
    path, _, query = target.partition(b"?")
    fields = [tuple(line.split(b": ", 1)) for line in lines if b": " in line]
    messages = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def receive() -> Any:
        return next(messages)

    scope = {
        "method": "PUT",
        "path": path.decode("latin-1"),
        "raw_path": path,
        "query_string": query,
        "headers": fields,
    }
    call = calls.Call(scope, receive)
    call.query("audience", "after", "limit")
    if (key := idempotency.IdempotencyKey.of(call)) is not None:
        assert len(key.fingerprint(call)) == 16
    found = _loop()[0].run_until_complete(
        call.fields("put", "audience", "source", "granted", needed=("granted",))
    )
    found.texts("put", 100), found.flag("granted"), found.text("source"), found.whole("audience", 0, 5)
    found.choice("audience", ("people",), "people"), found.items("put", 3)
    read_details(found), read_identifiers(found.texts("put", 100), "/put")
    try:
        found.finish()
    except AdminProblem as problem:
        json.dumps(problem.document())
        raise


# ---- Files


def _settings(data: bytes) -> None:
    found = settings.Settings.read(scratch.written("server.toml", data))
    assert found.breakers.per_hour >= 0 if hasattr(found.breakers, "per_hour") else found.quotas
    folder = scratch.folder()
    assert settings.DataFolder(folder).database() == (found.database, found.database_password_file)


def _cheap(body: object) -> bool:
    """Whether a key would be derived in no time: its parameters are bounded, but not small."""
    kdf = body.get("kdf") if isinstance(body, dict) else None
    if not isinstance(kdf, dict):
        return True
    figures = [kdf.get(name) for name in ("memory_kib", "iterations", "lanes")]
    return all(
        not isinstance(one, int | float) or one <= most
        for one, most in zip(figures, (1024, 3, 4), strict=True)
    )


def _exported(data: bytes) -> None:
    """An exported key: refused, or the key that its name says."""
    path = scratch.written("key.json", data)
    try:
        if not _cheap(json.loads(data)):
            return
    except (ValueError, RecursionError):
        pass
    found = exported.ExportedKey.read(path)
    assert found.role in ROLES
    assert found.signer(b"passphrase").public_key.keyid == found.keyid


def _public(data: bytes) -> None:
    exported.read_public(scratch.written("public.json", data), "root")


def _keyring(data: bytes) -> None:
    """A damaged key file is called damaged; keys are never made up."""
    place = scratch.folder() / "keys"
    if not place.exists():
        shutil.copytree(scratch.version_1() / "server" / "keys", place)
        place.chmod(0o700)
    try:
        if not _cheap(json.loads(data)):
            return
    except (ValueError, RecursionError):
        pass
    for name in ("keyring.json", "tuf-root.json", "voprf-people-1.json"):
        path = place / name
        before = path.read_bytes()
        path.write_bytes(data)
        try:
            keyring.Keyring.is_locked(place)
            opened = keyring.Keyring.open(place, b"passphrase")
            opened.secrets()
            opened.signers(["root"])
        finally:
            path.write_bytes(before)


def _passphrase(data: bytes) -> None:
    found = sealing.read_passphrase(scratch.written("passphrase", data), "NO_SUCH_VARIABLE")
    assert found and b"\n" not in found


def _prepared(data: bytes) -> None:
    folder = settings.DataFolder(scratch.folder() / "prepared")
    scratch.written("prepared/prepared.json", data)
    prepared.Preparation.read(folder)


def _request_file(data: bytes) -> None:
    prepared.read_request(scratch.written("request.json", data))


def _backup(data: bytes) -> None:
    """What is accepted is whole, and nothing is written outside of its folder."""
    place = scratch.folder() / "backup" / "in"
    shutil.rmtree(place.parent, ignore_errors=True)
    place.mkdir(parents=True)
    try:
        facts = backup.unpack(io.BytesIO(data), place)
        assert isinstance(facts.made, str)
    finally:
        assert [one.name for one in place.parent.iterdir()] == ["in"]
        assert not any(one.is_symlink() for one in place.rglob("*"))


def _stores(data: bytes) -> None:
    if data[:1] == b"\1":  # with the hash that it must have
        lines = data[1:].rpartition(b"\n")[0] + b"\n"
        data = b"\1" + lines + json.dumps({"sha256": hashlib.sha256(lines).hexdigest()}).encode() + b"\n"
    for table, rows in stores.read_archive(scratch.written("stores", data[1:])):
        assert all(len(row) == len(table.columns) for row in rows)


def _database_url(data: bytes) -> None:
    """The password is taken out, and no error says it."""
    text = data.decode("utf-8", "replace")
    try:
        found = DatabaseUrl.parse(text)
    except BadInput as error:
        assert len(text) < 20 or text not in f"{error}{error.hint}"
        raise
    if found.password is not None and len(found.password) > 8 and found.password.isalnum():
        assert text.count(found.password) > 1 or found.password not in found.url, found.url
    assert not {"password", "sslpassword"} & {name for name, _ in parse_qsl(urlsplit(found.url).query)}
    str(found), found.several
    assert DatabaseUrl.parse(found.url).password is None


def _certificate(data: bytes) -> None:
    one, _, other = data.partition(b"\0")
    tls.Certificate(scratch.written("cert.pem", one), scratch.written("key.pem", other))


def _doctor_url(data: bytes) -> None:
    probe.Probe(data.decode("utf-8", "replace"), settings.DataFolder(scratch.folder()))


def _doctor_reply(data: bytes) -> None:
    """Whatever a proxy answers is a diagnosis."""
    one = probe.Probe("http://127.0.0.1:1", settings.DataFolder(scratch.folder()))
    status, fields, body = head_of(data)
    one._get = lambda *_, **__: urllib3.HTTPResponse(io.BytesIO(body), fields, status)  # type: ignore[method-assign]
    for found in one._health():
        assert found.text.isprintable() if hasattr(found, "text") else str(found).isprintable()


def _gate(data: bytes) -> None:
    gate = Gate.read(data.decode("utf-8", "replace"), {"months": 1.0, "accounts": 2})
    assert isinstance(gate.holds({"months": None, "accounts": 3.0}), bool)
    assert Gate.read(str(gate), {"months": 1.0, "accounts": 2}).figure == gate.figure


_REQUEST = (
    b"POST /v1/evaluate/people/1 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer cs_a\r\n"
    b"Content-Type: application/octet-stream\r\n"
)
_REQUESTS = (
    b"GET /v1/health HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /v1/tuf/metadata/timestamp.json HTTP/1.1\r\nHost: x\r\nRange: bytes=0-5\r\n\r\n" * 3,
    _REQUEST + b"Content-Length: 64\r\n\r\n" + bytes(64),
    _REQUEST + b"Transfer-Encoding: chunked\r\n\r\n40\r\n" + bytes(64) + b"\r\n0\r\n\r\n",
    _REQUEST + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\nab",
    b"OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n",
)
_HTTP = (
    *(
        b"\r\n",
        b"\r",
        b"\n",
        b"\0",
        b" ",
        b":",
        b"%00",
        b"\xff",
        b"HTTP/1.0",
        b"0\r\n\r\n",
        b"Content-Length: 9\r\n",
    ),
    *(
        b"Transfer-Encoding: chunked\r\n",
        b"../",
        b"//",
        b"Connection: close\r\n",
        b"f" * 17,
        b"CONNECT ",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ),
    *(
        b";" * 300,
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET / HTTP/1.1\r\n",
        b"Upgrade: websocket\r\n",
        b"x" * 5000,
    ),
)
_ADMIN = (
    b"/v1/members/tel:%2B4917604069001?audience=people\ncontent-type: application/json\n"
    b'idempotency-key: "6f0c1c9e-0000-0000-0000-000000000000"\n\n{"granted": true, "source": "x", "put": ["tel:+1"]}'
)
_SEED = json.dumps({"format": "contactsync-key-1", "drawn": 1, "secret": "ab" * 32}).encode()


@functools.cache
def _keys() -> tuple[bytes, ...]:
    """Exported keys, one of them under a passphrase that costs nothing."""
    found, costs = [], sealing._ARGON2
    sealing._ARGON2 = {**costs, "iterations": 1, "lanes": 1, "memory_kib": 8}  # type: ignore[misc]
    try:
        for passphrase in (None, b"passphrase"):
            path = scratch.folder() / f"exported-{passphrase is None}.json"
            exported.write_key(path, "root", hashlib.sha256(b"a key").digest(), passphrase, "ab" * 32)
            found.append(path.read_bytes())
    finally:
        sealing._ARGON2 = costs  # type: ignore[misc]
    path = scratch.folder() / "exported-public.json"
    exported.write_public(path, "root", hashlib.sha256(b"a key").digest())
    return (*found, path.read_bytes())


@functools.cache
def _backups() -> tuple[bytes, ...]:
    out = io.BytesIO()
    facts = backup.BackupFacts(
        "2026-01-01T00:00:00+00:00", "0.1.0", "ab" * 32, False, {"people": (1, 2)}, {"registry": 1}
    )
    with backup.Packer(out, facts) as packer:
        packer.add_octets("server.toml", b"layout = 1\n")
        packer.add_octets("public/metadata/timestamp.json", b"{}")
        packer.finish()
    link = io.BytesIO()
    with tarfile.open(fileobj=link, mode="w") as made:
        entry = tarfile.TarInfo("keys/a")
        entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
        made.addfile(entry)
    return out.getvalue(), link.getvalue()


def _archives() -> list[bytes]:
    head = json.dumps({"format": stores.STORES, "kinds": ["tel"]}).encode()
    table = stores.tables()[0]
    row = [("ab" * 8 if name in table.octets else 1) for name in table.columns]
    return [b"\1" + head + b"\n" + json.dumps({"table": table.name, "rows": [row]}).encode() + b"\nx"]


def _prepared_files() -> list[bytes]:
    from fuzz.publications import _requests

    return [
        json.dumps(
            {"format": prepared.FORMAT, "serial": 1, "role": "root", "drawn": [], "request": json.loads(one)}
        ).encode()
        for one in _requests()
    ]


def _request_files() -> list[bytes]:
    from fuzz.publications import _requests

    return list(_requests())


TARGETS = (
    Target("http-request", _http, lambda: _REQUESTS, words=_HTTP, longest=20_000, runs=120),
    Target(
        "http-range",
        _ranges,
        lambda: [b"bytes=0-5,900-,-7", b"bytes=0-0"],
        (Problem,),
        words=(b"bytes=", b"-", b",", b"9" * 25, b" ", b"\xb2"),
        longest=300,
    ),
    Target(
        "http-forwarded",
        _forwarded,
        lambda: [b"10.0.0.0/8,::1\n1.2.3.4, 10.0.0.1\n[::1]:80", b"\n::ffff:1.2.3.4%x"],
        (BadInput,),
        words=(b",", b":", b"[", b"]", b"%", b"/33", b"::", b"\n", b"1.2.3.4"),
    ),
    Target(
        "admin-call",
        _admin,
        lambda: [_ADMIN],
        (AdminProblem,),
        words=_JSON + (b"?", b"&audience=", b"%", b"/", b"\n", b"content-length: 9", b"idempotency-key: "),
    ),
    Target(
        "server-settings",
        _settings,
        lambda: [settings.template().encode(), b'database = "postgresql:///x"\n[quota.x]\nburst = 1\n'],
        (BadInput, OurError),
        words=(
            b"[quota.default]\n",
            b"= 1e999",
            b"= true",
            b'"',
            b"layout = ",
            b"= -1",
            b"[" * 1500,
            b"1979-05-27",
            b"inf",
            b"\xff",
        ),
    ),
    Target("key-exported", _exported, _keys, (BadInput, OurError), words=_JSON),
    Target("key-public", _public, lambda: _keys()[2:], (BadInput, OurError), words=_JSON),
    Target(
        "key-kept",
        _keyring,
        lambda: [
            _SEED,
            b'{"format": "contactsync-key-1", "kdf": {"name": "argon2id", "iterations": 1, "lanes": 1, "memory_kib": 8, "salt": "00112233445566778899aabbccddeeff"}, "nonce": "000000000000000000000000", "sealed": "00"}',
        ],
        (BadInput, OurError),
        words=_JSON,
    ),
    Target("passphrase", _passphrase, lambda: [b"correct horse\n"], (BadInput,), longest=100, runs=40),
    Target("prepared", _prepared, _prepared_files, (OurError,), words=_JSON, longest=12000, runs=60),
    Target("request-file", _request_file, _request_files, (BadInput,), words=_JSON, longest=12000, runs=60),
    Target(
        "backup",
        _backup,
        _backups,
        (BadInput,),
        words=_JSON
        + (b"ustar\x0000", b"../../x", b"0000644\0", b"00000000000\0", b"x" * 100, b"pax_global_header"),
        longest=12000,
    ),
    Target(
        "stores-archive",
        _stores,
        _archives,
        (BadInput,),
        words=_JSON + (b'"table": ', b'"rows": ', b'"sha256": ', b"\n"),
    ),
    Target(
        "database-url",
        _database_url,
        lambda: [b"postgresql://u:secretpass@h:1,k:2/d?sslmode=require&password=otherpass"],
        (BadInput,),
        words=(
            b"postgresql://",
            b":",
            b"@",
            b"?",
            b"&",
            b"=",
            b"%",
            b"password=",
            b"sslpassword=",
            b"#",
            b"[::1]",
        ),
        longest=300,
    ),
    Target(
        "certificate",
        _certificate,
        lambda: [
            b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n\0-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"
        ],
        (CallerError,),
        words=(b"-----BEGIN EC PRIVATE KEY-----\n", b"AAAA", b"=", b"\n"),
    ),
    Target(
        "doctor-url",
        _doctor_url,
        lambda: [b"https://contacts.example:8440/x", b"http://[::1]"],
        (BadInput,),
        words=(b"://", b":", b"[", b"]", b"99999", b"@", b"/"),
        longest=200,
    ),
    Target(
        "doctor-reply",
        _doctor_reply,
        lambda: [b'200\ndate: Thu, 01 Jan 1970 00:00:00 GMT\n\n{"status": "ok"}', b"502\n\n"],
        words=(b"date: ", b" -2359", b"9999", b"\n", b'"ok"'),
    ),
    Target(
        "gate",
        _gate,
        lambda: [b"months<12", b"accounts>=1_000.5e3"],
        (BadInput,),
        words=(b"<", b"=", b">", b"e999", b"_", b","),
        longest=100,
    ),
)
