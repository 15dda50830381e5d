"""A small real server on a socket, written from docs/http-api.md, that can be told to misbehave."""

import hashlib
import http.server
import json
import re
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from forger import Forger
from logged_service import ServiceLog
from securesystemslib.signer import CryptoSigner

from contactsync.client.core.planner import Options
from contactsync.client.session import sync
from contactsync.client.state import State
from contactsync.client.transport import Transport
from contactsync.directory import DirectoryInfo, build, open_directory
from contactsync.directory.bounds import has_screen
from contactsync.directory.delta import compose, read_delta, write_delta, write_delta_of
from contactsync.directory.files import write_file
from contactsync.directory.screen import build_screen
from contactsync.directory.sidecar import open_sidecar
from contactsync.directory.sidecar_build import build_sidecar
from contactsync.directory.sidecar_delta import write_sidecar_delta
from contactsync.labels import context, seal
from contactsync.lookup.table_file import build_table
from contactsync.publication.manifest import DeltaFile, Labels, Manifest, NextEpoch, Partition
from contactsync.publication.patches import Patches
from contactsync.publication.rows import PublishedRows
from contactsync.sources import read_address_books
from contactsync.tokens import Tokens
from contactsync.voprf.server import blind_evaluate, derive_key_pair, evaluate

CREDENTIAL = "cs_an-account"
ROLES = ("root", "targets", "snapshot", "timestamp")


@dataclass
class Reply:
    """What the server is about to answer; a test changes it."""

    status: int
    headers: dict[str, str]
    body: bytes
    cut: int | None = None
    """Close the connection after so many bytes of the body."""


@dataclass
class Request:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@lru_cache(maxsize=64)
def built(code, crowd, members):
    """A directory of members and a crowd, and its screen if it has one, with their octets.

    Many tests publish the same. `members` are tokens in a row.
    """
    rows = np.random.default_rng(int(code)).integers(0, 256, (crowd, 10), np.uint8)
    tokens = [np.frombuffer(members, np.uint8).reshape(-1, 10), rows]
    with TemporaryDirectory() as folder:
        path, beside = Path(folder, "base"), Path(folder, "screen")
        info = build(path, list(map(Tokens.from_bytes, tokens)))
        with open_directory(path, expect=info) as directory:
            screen = build_screen(beside, directory) if has_screen(info.count) else None
        return info, path.read_bytes(), screen, screen and beside.read_bytes()


@dataclass
class Service:
    """Members in, a signed publication out, over HTTP. `tamper(request, reply)` may change any reply."""

    folder: Path
    epoch: int = 1
    manifest: Manifest | None = None
    tamper: Callable[[Request, Reply], None] = lambda *_: None
    requests: list[Request] = field(default_factory=list)
    url: str = ""
    quota: dict | None = None
    """left, burst, per_day: what an account may still have evaluated; None: there are no budgets."""
    crowd: dict[str, int] = field(default_factory=dict)
    """So many random tokens are published in each partition beside the members."""
    until: int | None = None
    """When the overlap with the next epoch ends; None: there is no rotation."""
    labels: dict[str, str] | None = None
    """Labels of members, by number (+…); None: no labels are published."""
    size: int = 16
    """Octets to which labels are filled up."""
    log: ServiceLog | None = None
    has_rows: bool = False
    """Whether the rows of each edition are stated, for private look-up."""
    patched: frozenset[str] = frozenset()
    """Partitions that keep their base from now on, and have patches."""
    merge: int = 0
    """How many patches at the end are merged by the next one."""

    def __post_init__(self):
        self.signers = {role: CryptoSigner.generate_ed25519() for role in ROLES}
        self.repository = Forger(self.folder)
        keys = {role: signer.public_key for role, signer in self.signers.items()}
        self.repository.create(keys, self.signers["root"], datetime.now(UTC))
        (self.folder / "data").mkdir()
        self.sealed: dict[bytes, np.ndarray] = {}
        self.contents: dict[bytes, dict[str, DirectoryInfo]] = {}
        self.reached: dict[str, DirectoryInfo] = {}
        self.new_key()

    def new_key(self):
        self.key = self.key_of(self.epoch)

    def key_of(self, epoch, seed=0):
        return derive_key_pair(bytes([epoch + seed]) * 32, b"contactsync/v1/people/%d" % epoch)

    def announce(self, *numbers, until, seed=0):
        """Publish these members, and the next epoch beside them until then."""
        self.next_key, self.until = self.key_of(self.epoch + 1, seed), until
        self.publish(*numbers)

    def take_back(self, *numbers):
        """Publish these members, and nothing of the next epoch any more."""
        self.until = None
        self.publish(*numbers)

    def promote(self, when=None):
        """Begin the epoch that was announced."""
        last, ahead = self.manifest, self.manifest.ahead()
        partitions = {
            code: replace(
                p, edition=1, deltas=(), labels=p.labels and replace(p.labels, edition=1, deltas=())
            )
            for code, p in ahead.partitions.items()
        }
        self.manifest = replace(ahead, edition=1, partitions=partitions, previous=last.sha256())
        self.epoch, self.key, self.until = self.epoch + 1, self.next_key, None
        self.repository.publish([self.manifest], self.signers, when or datetime.now(UTC))

    def rotate(self, *numbers, when=None):
        """Begin a new epoch."""
        self.epoch, self.until = self.epoch + 1, None
        self.new_key()
        self.publish(*numbers, edition=1, when=when)

    def publish(self, *numbers, edition=None, when=None):
        """Publish these members (+…) as the next edition."""
        last = self.manifest
        edition = edition or (last.edition + 1 if last else 1)
        held = last.partitions if last and last.epoch == self.epoch else {}
        manifest = Manifest(
            "people",
            self.epoch,
            edition,
            self.key.public,
            1,
            self.partitions(self.key, edition, held, numbers),
            last.sha256() if last else None,
        )
        if self.until is not None:
            ahead = last.ahead()
            number = ahead.edition + 1 if ahead else 1
            partitions = self.partitions(self.next_key, number, ahead.partitions if ahead else {}, numbers)
            after = NextEpoch(self.epoch + 1, number, self.next_key.public, self.until, partitions)
            manifest = replace(manifest, next=after)
        if self.has_rows:
            manifest = replace(manifest, rows=self.rows_of(manifest.partitions))
        self.manifest = manifest
        self.repository.publish([self.manifest], self.signers, when or datetime.now(UTC))

    def rows_of(self, partitions):
        """What is stated of the rows of these partitions; the level is a data file."""
        data = self.folder / "data"
        with ExitStack() as stack:
            built = build_table(
                self.folder / "rows",
                {
                    name: stack.enter_context(open_directory(data / one.base.sha256, expect=one.directory))
                    for name, one in partitions.items()
                },
            )
        level = write_file(data / built.root.hex(), [built.level])
        return PublishedRows(level, built.table.shape.most)

    def partitions(self, key, edition, held, numbers):
        """The partitions of an edition with these members, under this key."""
        by_code = {}
        for number in numbers:
            code = next(c for c in ("1", "44", "49", "55") if number[1:].startswith(c))
            by_code.setdefault(code, []).append(b"tel:" + number.encode())
        outputs = {code: evaluate(key, identifiers) for code, identifiers in by_code.items()}
        for code, identifiers in by_code.items():
            self.seal(key, identifiers, outputs[code])
        self.reached = self.contents.setdefault(key.public, {})
        found = {
            code: self.partition(code, edition, Tokens.from_outputs(rows), held.get(code))
            for code, rows in outputs.items()
        }
        if self.labels is None:
            return {code: replace(one, labels=None) for code, one in found.items()}
        return {
            code: self.labelled(one, edition, Tokens.from_outputs(outputs[code]), held.get(code))
            for code, one in found.items()
        }

    def seal(self, key, identifiers, outputs):
        """Seal the labels of these members, by the octets of their tokens."""
        if self.labels is None:
            return
        epoch = self.epoch + (key is not self.key)
        texts = [self.labels.get(one.decode().removeprefix("tel:"), "").encode() for one in identifiers]
        keys = np.ascontiguousarray(outputs[:, 10:42])
        entries = seal(keys, texts, self.size, context("people", epoch))
        rows = [row.tobytes() for row in outputs[:, :10]]
        self.sealed |= dict(zip(rows, entries, strict=True))

    def labelled(self, partition, edition, tokens, old):
        """A partition with its sidecar, and the delta that leads there. Nobody opens those of the crowd."""
        data = self.folder / "data"
        crowd = np.random.default_rng(int(partition.name)).integers(
            0, 256, (self.crowd.get(partition.name, 0), 10), np.uint8
        )
        noise = np.random.default_rng(1).integers(0, 256, (len(crowd), 16 + self.size), np.uint8)
        entries = [self.sealed[row.tobytes()] for row in tokens.to_bytes()]
        chunks = [(tokens, np.stack(entries)), (Tokens.from_bytes(crowd), noise)]
        with open_directory(data / partition.base.sha256, expect=None) as base:
            info = build_sidecar(data / "sidecar", base, chunks[: 1 + bool(len(crowd))], size=self.size)
        (data / "sidecar").rename(data / info.file.sha256)
        before = old and old.labels
        if before is None:
            return replace(partition, labels=Labels(edition, self.size, info.top_sha256, info.file))
        if before.file == info.file:
            return replace(partition, labels=before)
        with (
            open_sidecar(data / before.file.sha256, expect=None) as one,
            open_sidecar(data / info.file.sha256, expect=info) as new,
        ):
            change = write_sidecar_delta(
                data / "change", one, new, from_edition=before.edition, to_edition=edition
            )
        deltas = ()
        if change is not None:
            (data / "change").rename(data / change.sha256)
            deltas = (*before.deltas, DeltaFile(before.edition, edition, change))[-32:]
        return replace(partition, labels=Labels(edition, self.size, info.top_sha256, info.file, deltas))

    def partition(self, code, edition, tokens, old):
        """The next state of a partition: a fresh base, the delta that leads there, perhaps a screen.

        Of one that is patched, one patch more. `reached` are the directories that a client should come to.
        """
        data = self.folder / "data"
        members = tokens.to_bytes().tobytes()
        info, base, screen, screen_octets = built(code, self.crowd.get(code, 0), members)
        (data / "new").write_bytes(base)
        before, self.reached[code] = self.reached.get(code), info
        if old is not None and code in self.patched:
            (data / "new").rename(data / info.file.sha256)
            return old if before == info else self.patch(edition, old, before, info)
        if old is not None and old.base.sha256 == info.file.sha256:
            (data / "new").unlink()
            return replace(old, patches=None)
        files = []
        with open_directory(data / "new", expect=info) as new:
            if old is not None:
                with open_directory(data / old.base.sha256, expect=None) as before:
                    change = write_delta(
                        data / "delta", before, new, from_edition=old.edition, to_edition=edition
                    )
                if change is not None:
                    (data / "delta").rename(data / change.sha256)
                    files = [*old.deltas, DeltaFile(old.edition, edition, change)]
        if screen is not None:
            (data / screen.sha256).write_bytes(screen_octets)
        (data / "new").rename(data / info.file.sha256)
        return Partition.of(code, edition, info, deltas=tuple(files[-32:]), screen=screen)

    def patch(self, edition, old, before, after):
        """A partition with one patch more, from what was there before."""
        data = self.folder / "data"
        with (
            open_directory(data / before.file.sha256, expect=before) as one,
            open_directory(data / after.file.sha256, expect=after) as other,
        ):
            assert write_delta(data / "new", one, other, from_edition=old.reached, to_edition=edition)
        state = hashlib.sha256(f"{old.state} {after.file.sha256}".encode()).hexdigest()
        patches = [read_delta(data / one.file.sha256) for one in (old.patches.files if old.patches else ())]
        patches.append(replace(read_delta(data / "new"), old_sha256=old.state, new_sha256=state))
        if self.merge:
            patches[-self.merge :] = [compose(patches[-self.merge :])]
        files = []
        for one in patches:
            file = write_delta_of(data / "new", one)
            (data / "new").rename(data / file.sha256)
            files.append(DeltaFile(one.from_edition, one.to_edition, file))
        return replace(old, patches=Patches(edition, after.count, state, tuple(files)))

    def answer(self, request: Request) -> Reply:
        if request.path.startswith(("/v1/tuf/", "/v1/log/")):
            return self.public_file(*request.path.split("/", 3)[2:])
        if request.headers.get("authorization") != f"Bearer {CREDENTIAL}":
            return problem(401, "bad-credential", "the credential is not known")
        if request.path == "/v1/account":
            if self.quota is None:
                return problem(404, "not-found", "no such page")
            return Reply(200, {}, json.dumps({"audience": "people", "quota": self.quota}).encode())
        if request.path.startswith("/v1/data/"):
            return self.data(request)
        return self.evaluate(request)

    def evaluate(self, request):
        epoch = int(request.path.rpartition("/")[2])
        keys = {self.epoch: self.key} | ({} if self.until is None else {self.epoch + 1: self.next_key})
        if epoch not in keys:
            return problem(409, "epoch-changed", f"the current epoch is {self.epoch}", epoch=self.epoch)
        rows = np.frombuffer(request.body, np.uint8).reshape(-1, 32)
        if self.quota is not None and len(rows) > self.quota["left"]:
            reply = problem(429, "out-of-quota", "too many points", needed=len(rows), **self.quota)
            missing = len(rows) - self.quota["left"]
            reply.headers["Retry-After"] = str(-(-missing * 86_400 // self.quota["per_day"]))
            return reply
        evaluated, proof = blind_evaluate(keys[epoch], rows)
        headers = {"Content-Type": "application/octet-stream"}
        if self.quota is not None:
            self.quota["left"] -= len(rows)
            burst, window = self.quota["burst"], self.quota["burst"] * 86_400 // self.quota["per_day"]
            headers["RateLimit-Policy"] = f'"points";q={burst};w={window}'
            headers["RateLimit"] = f'"points";r={self.quota["left"]};t=0'
        return Reply(200, headers, evaluated.tobytes() + proof)

    def public_file(self, part, name):
        if name == "metadata/root.json":
            return Reply(200, {}, self.repository.root_bytes())
        if part == "log":
            octets = None if self.log is None else self.log.files().get(name)
        else:
            path = self.folder / name
            octets = path.read_bytes() if path.exists() else None
        return problem(404, "not-found", "no such file") if octets is None else Reply(200, {}, octets)

    def data(self, request):
        name = request.path.rpartition("/")[2]
        path = self.folder / "data" / name
        if not path.exists():
            return problem(404, "not-found", "no such file")
        body, headers = path.read_bytes(), {"ETag": f'"{name}"', "Accept-Ranges": "bytes"}
        asked = re.fullmatch(r"bytes=((\d+-\d*,?)+)", request.headers.get("range", ""))
        if asked is None or request.headers.get("if-range", f'"{name}"') != f'"{name}"':
            return Reply(200, headers, body)
        ends = [part.split("-") for part in asked[1].split(",")]
        places = [range(int(first), int(last or len(body) - 1) + 1) for first, last in ends]
        return ranged(body, places, headers)

    def asked(self, part):
        """The paths of all requests that contain `part`."""
        return [request.path for request in self.requests if part in request.path]


def ranged(body, places, headers):
    """A reply with these parts of a file."""
    fields = [f"bytes {p.start}-{p.stop - 1}/{len(body)}" for p in places]
    if len(places) == 1:
        return Reply(206, headers | {"Content-Range": fields[0]}, body[places[0].start : places[0].stop])
    parts = [
        b"--limit\r\nContent-Type: application/octet-stream\r\nContent-Range: %b\r\n\r\n%b\r\n"
        % (field.encode(), body[place.start : place.stop])
        for place, field in zip(places, fields, strict=True)
    ]
    kind = {"Content-Type": "multipart/byteranges; boundary=limit"}
    return Reply(206, headers | kind, b"".join(parts) + b"--limit--\r\n")


def problem(status, slug, detail, **extra):
    kind = f"urn:contactsync:problem:{slug}"
    value = {"type": kind, "title": slug, "status": status, "detail": detail, **extra}
    return Reply(status, {"Content-Type": "application/problem+json"}, json.dumps(value).encode())


def listen(service, context=None):
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # else each body waits 40 ms until its head is acknowledged

        def do_GET(self):
            length = int(self.headers.get("Content-Length", 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = Request(self.command, self.path, headers, self.rfile.read(length))
            service.requests.append(request)
            reply = service.answer(request)
            service.tamper(request, reply)
            self.send_response(reply.status)
            for name, value in {"Content-Length": str(len(reply.body)), **reply.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(reply.body if reply.cut is None else reply.body[: reply.cut])
            self.close_connection = self.close_connection or reply.cut is not None

        do_POST = do_GET

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    server.handle_error = lambda *_: None  # a client that hangs up on a bad reply is no news
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    service.url = f"{'https' if context else 'http'}://127.0.0.1:{server.server_port}"
    return server


@pytest.fixture(autouse=True)
def hurry(monkeypatch):
    """Nobody waits between attempts, nor for the beat that requests keep; test_transport.py measures that."""
    monkeypatch.setattr("contactsync.client.patience.BACKOFF_SECONDS", 0.001)
    monkeypatch.setattr("contactsync.client.transport.PACE_SECONDS", 0.001)


@pytest.fixture
def service(tmp_path):
    folder = tmp_path / "service"
    folder.mkdir()
    service = Service(folder)
    server = listen(service)
    yield service
    server.shutdown()
    server.server_close()


class Person:
    """A client with a state folder and an address book."""

    def __init__(self, folder, service):
        self.folder = folder
        self.service = service
        self.state = State(folder / "state")
        self.server = self.state.pin(service.url, service.repository.root_bytes())
        self.contacts = []

    def transport(self, credential=CREDENTIAL, **options):
        return Transport(self.service.url, credential=credential, read_seconds=5, **options)

    def book(self, *numbers):
        path = self.folder / "book.csv"
        rows = [f"Person {index},{number}" for index, number in enumerate(numbers)]
        path.write_text("\n".join(["name,phone", *rows]) + "\n")
        return read_address_books([path], region="DE")

    def sync(self, *numbers, transport=None, **options):
        transport = transport or self.transport(max_data=options.get("max_download"))
        report = sync(self.server, self.book(*numbers), transport, Options(**options))
        transport.close()
        return report

    def snapshot(self):
        """Every file of the state but TUF's own, with its content."""
        return {
            path.relative_to(self.server.folder): path.read_bytes()
            for path in self.server.folder.rglob("*")
            if path.is_file() and self.server.tuf not in path.parents and path.name != "lock"
        }


@pytest.fixture
def person(tmp_path, service):
    return Person(tmp_path, service)


@pytest.fixture
def other_person(tmp_path, service):
    (tmp_path / "other").mkdir()
    return Person(tmp_path / "other", service)
