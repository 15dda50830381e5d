"""The admin API in this process, without a socket, and as a process of its own."""

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from typing import NamedTuple
from urllib.parse import quote

from contactsync.server.admin.app import AdminApp
from contactsync.server.quota import system_clock
from contactsync.server.storage.sqlite.accounts import SqliteAccounts

KEY = "6f0c1c9e-7d5f-4f0e-9a51-"


class Reply(NamedTuple):
    status: int
    body: dict
    headers: dict

    @property
    def slug(self):
        assert self.headers["content-type"] == "application/problem+json", self
        assert self.body["status"] == self.status
        return self.body["type"].removeprefix("urn:contactsync:problem:")


def member(number, rest=""):
    return f"/v1/members/tel:+{number}{rest}"


def account(name, rest=""):
    return f"/v1/accounts/{quote(name, safe='')}{rest}"


class InProcess:
    """The application on an event loop of its own."""

    def __init__(self, operator, *, credential=None, clock=system_clock):
        self.operator = operator
        self.accounts = SqliteAccounts(operator.folder.accounts)
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        self.app = AdminApp(operator.folder, self.accounts, operator.keyring, credential, clock=clock)
        self.events = asyncio.Queue()
        self.lived = asyncio.run_coroutine_threadsafe(
            self.app({"type": "lifespan"}, self.events.get, self._ignore), self.loop
        )
        self.loop.call_soon_threadsafe(self.events.put_nowait, {"type": "lifespan.startup"})

    async def _ignore(self, _message):
        pass

    def close(self):
        self.loop.call_soon_threadsafe(self.events.put_nowait, {"type": "lifespan.shutdown"})
        self.lived.result(60)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()
        self.accounts.close()

    def __call__(self, method, path, body=None, **headers):
        return self.together((method, path, body, headers))[0]

    def together(self, *requests):
        """Requests that are on their way at the same time."""

        async def run():
            return await asyncio.gather(*(self._ask(*request) for request in requests))

        return asyncio.run_coroutine_threadsafe(run(), self.loop).result(60)

    async def _ask(self, method, path, body=None, headers=()):
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        path, _, query = path.partition("?")
        given = {"content-type": "application/json"} if data else {}
        given |= {name.replace("_", "-"): value for name, value in dict(headers).items()}
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": [(name.encode(), value.encode()) for name, value in given.items()],
        }
        sent = []

        async def receive():
            return {"type": "http.request", "body": data, "more_body": False}

        async def send(message):
            sent.append(message)

        await self.app(scope, receive, send)
        start, *parts = sent
        head = {name.decode(): value.decode() for name, value in start["headers"]}
        text = b"".join(part["body"] for part in parts)
        return Reply(start["status"], json.loads(text) if text else None, head)


class AdminProcess:
    """`contactsync server admin`, on a socket in `folder`, or on a free port."""

    def __init__(self, data, *options):
        command = [sys.executable, "-m", "contactsync", "server", "admin", "--data", str(data), *options]
        self.log = data.parent / "admin.log"
        with self.log.open("wb") as stderr:
            self.popen = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=stderr, text=True, env=dict(os.environ)
            )
        line = self.popen.stdout.readline()
        found = re.fullmatch(r"listening on (unix:(.+)|(http://127\.0\.0\.1:(\d+)))\n", line)
        assert found, (line, self.log.read_text())
        self.path, self.url, self.port = found[2], found[3], int(found[4] or 0)

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        if self.popen.poll() is None:
            self.popen.kill()
            self.popen.wait()
        self.popen.stdout.close()

    def stop(self):
        self.popen.send_signal(signal.SIGTERM)
        return self.popen.wait(20)

    def connect(self):
        if self.path is None:
            return socket.create_connection(("127.0.0.1", self.port), timeout=20)
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(20)
        connection.connect(self.path)
        return connection

    def raw(self, data):
        """The whole answer to some octets, after which the connection is closed."""
        with self.connect() as connection:
            with contextlib.suppress(BrokenPipeError):  # it may answer before it has read all
                connection.sendall(data)
            answer = b""
            while part := connection.recv(1 << 16):
                answer += part
            return answer
