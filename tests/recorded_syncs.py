"""Syncs that are recorded and audited: against a real server, with the client as it is used."""

import base64
import contextlib
import hashlib
import json
import re
import select
import socket
import socketserver
import threading
from urllib.parse import urlsplit

from simulated_service import CREDENTIAL

from contactsync.audit.transcript.auditing import audit_transcript
from contactsync.client.core.planner import Options
from contactsync.client.transcript import line_of, private_path
from contactsync.library.client import Client

ANNA, BODO, CARL = "+491512345671", "+491512345672", "+447911123456"
SOME = [f"+49151{i:07}" for i in range(20)]


class Recorded:
    """A person whose syncs are recorded and audited."""

    def __init__(self, person, folder):
        self.person, self.folder, self.count = person, folder, 0
        self.numbers = ()
        self.file = None

    def sync(self, *numbers, proxy=None, ca_file=None, **options):
        """Record a sync; its report, or None if it failed (then `error` says how)."""
        self.count += 1
        self.numbers, self.error = numbers, None
        self.file = self.folder / f"transcript{self.count}"
        try:
            return (
                Client(self.person.state.folder)
                .sync(
                    self.person.book(*numbers),
                    credential=CREDENTIAL,
                    server=self.person.service.url,
                    options=Options(**options),
                    transcript=self.file,
                    proxy=proxy,
                    ca_file=ca_file,
                )
                .report
            )
        except Exception as error:  # noqa: BLE001 - the test looks at it
            self.error = error.with_traceback(None)
            self.error.__cause__ = self.error.__context__ = None
            return None

    def audit(self, *numbers, file=None, explained=True, **options):
        """Audit the last transcript, or another one; with the book of the sync, or another one."""
        work = self.folder / f"work{len(list(self.folder.glob('work*')))}"
        work.mkdir()
        file = file or self.file
        if explained:
            options |= {"private": private_path(file), "book": self.person.book(*(numbers or self.numbers))}
        return audit_transcript(file, work, **options)


class Edited:
    """`lines` and `private` may be changed; `audit` writes them as a client that lies would."""

    def __init__(self, recorded, file, lines, private):
        self.recorded, self.file, self.lines, self.private = recorded, file, lines, private

    @classmethod
    def of(cls, recorded, file):
        """The transcript in a file, which is changed there."""
        lines = [json.loads(line) for line in file.read_bytes().splitlines()]
        return cls(recorded, file, lines, json.loads(private_path(file).read_bytes()))

    def write(self):
        octets = json.dumps(self.private, separators=(",", ":")).encode() + b"\n"
        private_path(self.file).write_bytes(octets)
        body = [line_of(one) for one in self.lines[:-1]]
        end = self.lines[-1]
        counts = {"sent": 0, "received": 0}
        pieces = [one for one in self.lines if "sent" in one or "received" in one][:-1]
        for one in pieces:
            name = "sent" if "sent" in one else "received"
            hidden = sum(mark[1] for mark in one.get("hidden", []))
            with contextlib.suppress(ValueError):  # what is no base64 any more has no length
                counts[name] += len(base64.b64decode(one[name])) + hidden
        end |= {"private": hashlib.sha256(octets).hexdigest(), "pieces": len(pieces), **counts}
        end["sha256"] = hashlib.sha256(b"".join(body)).hexdigest()
        self.file.write_bytes(b"".join([*body, line_of(end)]))

    def audit(self, *numbers, **options):
        self.write()
        return self.recorded.audit(*numbers, file=self.file, **options)

    def sent(self):
        """The lines of what was sent, in order."""
        return [one for one in self.lines[:-1] if "sent" in one]


def wrong(report):
    """The rules that were disproven."""
    return {one.rule for one in report.findings if one.severity == "error"}


class _Forward(socketserver.StreamRequestHandler):
    """A proxy that forwards what it is asked, and tunnels."""

    def handle(self):
        while head := self.head():
            method, target, _ = head.split(b"\r\n")[0].split()
            if method == b"CONNECT":
                host, _, port = target.decode().rpartition(":")
                self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
                with socket.create_connection((host, int(port))) as there:
                    self.tunnel(there)
                return
            parts = urlsplit(target.decode())
            length = re.search(rb"Content-Length: (\d+)", head)
            body = self.rfile.read(int(length[1])) if length else b""
            head = head.replace(target, parts.path.encode(), 1).replace(
                b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"
            )
            with socket.create_connection((parts.hostname, parts.port)) as there:
                there.sendall(head + body)
                while came := there.recv(1 << 16):
                    self.wfile.write(came)

    def head(self):
        octets = b""
        while not octets.endswith(b"\r\n\r\n"):
            one = self.rfile.read(1)
            if not one:
                return b""
            octets += one
        return octets

    def tunnel(self, there):
        while True:
            for one in select.select([self.connection, there], [], [])[0]:
                came = one.recv(1 << 16)
                if not came:
                    return
                (there if one is self.connection else self.connection).sendall(came)


def forward_proxy():
    """A proxy on a port of this machine, to be shut down."""
    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Forward)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    return server
