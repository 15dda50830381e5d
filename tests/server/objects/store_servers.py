"""Two independent servers that speak S3, on loopback, and a proxy before one of them that misbehaves."""

import contextlib
import http.client
import http.server
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import urllib3
from ports import free_port

KINDS = ("moto", "ministack")
BUCKET = "published"
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "not-a-real-secret",
    "AWS_REGION": "us-east-1",
}


class S3Server:
    """A process that serves S3, with an empty bucket."""

    def __init__(self, kind: str, log: Path) -> None:
        port = free_port()
        self.endpoint = f"http://127.0.0.1:{port}"
        name = {"moto": "moto_server", "ministack": "ministack"}[kind]
        program = shutil.which(name, path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
        assert program is not None, f"{name} is not installed: pip install 'contactsync[test]'"
        arguments = ["-H", "127.0.0.1", "-p", str(port)] if kind == "moto" else []
        # MiniStack's broker for another service would listen at a fixed port, on all addresses.
        own = {"BIND_HOST": "127.0.0.1", "GATEWAY_PORT": str(port), "IOT_MTLS_ENABLED": "0", **CREDENTIALS}
        own["PYTHONPATH"] = ""  # these need what tests/not_installed hides
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [program, *arguments], stdout=output, stderr=output, env=os.environ | own, cwd=log.parent
            )
        end = time.monotonic() + 60
        while not self._has_bucket():
            assert self._process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.1)

    def _has_bucket(self) -> bool:
        try:
            return urllib3.request("PUT", f"{self.endpoint}/{BUCKET}", retries=False).status == 200
        except urllib3.exceptions.HTTPError:
            return False

    def close(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@dataclass
class Asked:
    """A request that passes, and its reply once it is there."""

    method: str
    path: str
    headers: dict[str, str]
    status: int = 0


PASS, REFUSE, FORBID, LOSE, CUT, SLOW = "pass", "refuse", "forbid", "lose", "cut", "slow"


@dataclass
class FaultyProxy:
    """A proxy. `fault` says of each request what happens to it: one of the words above.

    REFUSE answers 503 without asking, FORBID 403 with a body that quotes; LOSE asks and then closes the
    connection without a reply; CUT sends half of the body; SLOW sends it in small pieces.
    """

    upstream: str
    fault: Callable[[Asked], str] = lambda _asked: PASS
    asked: list[Asked] = field(default_factory=list)

    def __post_init__(self):
        proxy = self
        host = self.upstream.removeprefix("http://")

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def answer(self):
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                asked = Asked(self.command, self.path, dict(self.headers.items()))
                proxy.asked.append(asked)
                what = proxy.fault(asked)
                if what in {REFUSE, FORBID}:
                    asked.status = 503 if what == REFUSE else 403
                    octets = b"<Error><Code>SignatureDoesNotMatch</Code><Signed>quoted</Signed></Error>"
                    self.send_response(asked.status)
                    self.send_header("content-length", str(len(octets)))
                    self.end_headers()
                    self.wfile.write(b"" if self.command == "HEAD" else octets)
                    return
                upstream = http.client.HTTPConnection(host, timeout=30)
                with contextlib.closing(upstream):
                    upstream.request(self.command, self.path, body, dict(self.headers.items()))
                    reply = upstream.getresponse()
                    octets = reply.read()
                asked.status = reply.status
                if what == LOSE:
                    self.close_connection = True
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                self.send_response(reply.status)
                for name, value in reply.getheaders():
                    if name.lower() not in {"transfer-encoding", "connection", "content-length"}:
                        self.send_header(name, value)
                length = reply.getheader("content-length") if self.command == "HEAD" else len(octets)
                self.send_header("content-length", str(length))
                self.end_headers()
                if what == CUT:
                    self.wfile.write(octets[: len(octets) // 2])
                    self.close_connection = True
                    return
                pieces = (
                    [octets[at : at + 64] for at in range(0, len(octets), 64)] if what == SLOW else [octets]
                )
                for piece in pieces:
                    self.wfile.write(piece)
                    self.wfile.flush()
                    if what == SLOW:
                        time.sleep(0.02)

            do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = answer

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
