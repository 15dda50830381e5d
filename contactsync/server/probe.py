"""Asks a service through its proxy, as clients reach it, and says what the proxy does to messages."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import urlsplit

import urllib3

from contactsync.foundation.errors import BadInput
from contactsync.publication.tuf.follower import METADATA_PATH
from contactsync.publication.tuf.repository import Repository
from contactsync.server.machine import CLOCK_SECONDS, Diagnosis
from contactsync.server.settings import DataFolder

WAIT: Final = 5.0
"""Seconds for an answer that comes before the body does, unless a proxy waits for the body."""

_HEAD_OCTETS: Final = 6000  # of one header field; nginx takes 8 KB by default, clients send up to 4
_BODY_OCTETS: Final = 131_072
_LEAST_DAYS: Final = 14
_LOCAL: Final = frozenset({"127.0.0.1", "::1", "localhost"})
_NO_STORE: Final = "no-cache"


class Probe:
    """One service at a URL; `folder` is its data folder, on this machine. Raises BadInput for a wrong URL."""

    def __init__(
        self, url: str, folder: DataFolder, *, credential: str = "", ca_file: str | None = None
    ) -> None:
        hint = "such as --url https://contacts.example.org"
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:  # brackets without an address, a port that there is not
            raise BadInput("--url is not an address", hint=hint) from None
        if parts.scheme not in {"http", "https"} or not host:
            raise BadInput("--url is not an address", hint=hint)
        self._https = parts.scheme == "https"
        self._host = host
        self._port = port or (443 if self._https else 80)
        self._url = url.rstrip("/")
        self._path = parts.path.rstrip("/")
        self._folder = folder
        self._credential = credential
        self._ca_file = ca_file
        self._pool = urllib3.PoolManager(
            retries=False, timeout=urllib3.Timeout(WAIT), ca_certs=ca_file, cert_reqs="CERT_REQUIRED"
        )

    def run(self) -> Iterator[Diagnosis]:
        """All that can be found out. What cannot be asked ends it."""
        try:
            yield from self._tls()
            yield from self._health()
            yield from self._metadata()
            yield from self._heads()
            yield from self._buffering()
            if self._credential:
                yield from self._data()
            else:
                yield Diagnosis(
                    "data files", "advice", "data files were not asked for", "give --credential-file"
                )
        except ssl.SSLError as error:
            yield Diagnosis("tls", "problem", f"TLS fails: {error.reason or 'certificate'}", _TLS)
        except urllib3.exceptions.SSLError:
            yield Diagnosis("tls", "problem", "the certificate is not valid for this name", _TLS)
        except (OSError, urllib3.exceptions.HTTPError) as error:
            yield Diagnosis(
                "service",
                "problem",
                f"{self._url} does not answer ({type(error).__name__})",
                "start `serve` and the proxy; look into the proxy's error log",
            )

    def _get(self, path: str, **headers: str) -> urllib3.BaseHTTPResponse:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self._pool.request("GET", self._url + path, headers=named, redirect=False)

    def _tls(self) -> Iterator[Diagnosis]:
        if not self._https:
            if self._host in _LOCAL:
                yield Diagnosis(
                    "tls", "advice", "this is not the address that clients use", "give the public one"
                )
            else:
                yield Diagnosis(
                    "tls", "problem", "credentials are sent unencrypted", "use https in the proxy"
                )
            return
        with self._connected() as connection:
            assert isinstance(connection, ssl.SSLSocket)
            certificate = connection.getpeercert() or {}
            end = datetime.fromtimestamp(ssl.cert_time_to_seconds(str(certificate["notAfter"])), UTC)
        days = (end - datetime.now(UTC)).days
        if days < _LEAST_DAYS:
            yield Diagnosis("tls", "problem", f"the certificate ends in {days} days", "have it renewed")
        else:
            yield Diagnosis("tls", "ok", f"the certificate is valid for {days} days")

    def _health(self) -> Iterator[Diagnosis]:
        reply = self._get("/v1/health")
        if reply.status == 200 and b'"ok"' in reply.data:
            yield Diagnosis("service", "ok", "the service is healthy")
        else:
            what = f"/v1/health answers {reply.status}"
            yield Diagnosis(
                "service", "problem", what, "look into the log of `serve`; check the proxy's path"
            )
        with contextlib.suppress(KeyError, TypeError, ValueError, OverflowError):  # no date, or none at all
            apart = (parsedate_to_datetime(reply.headers["date"]) - datetime.now(UTC)).total_seconds()
            if abs(apart) > CLOCK_SECONDS:
                text = f"the clock of the service and that of this machine differ by {apart:+.0f} seconds"
                yield Diagnosis("clock", "problem", text, "synchronise both clocks (NTP)")
            else:
                yield Diagnosis("clock", "ok", "the service has the same time")

    def _metadata(self) -> Iterator[Diagnosis]:
        reply = self._get(f"{METADATA_PATH}timestamp.json")
        here = (self._folder.public / "metadata" / "timestamp.json").read_bytes()
        if reply.status == 200 and reply.data != here:
            yield Diagnosis(
                "metadata",
                "problem",
                "timestamp.json is not the one of this data folder: a cache holds an old one, or it is of"
                " another server",
                "do not cache timestamp.json in the proxy; check where it passes requests to",
            )
        elif reply.status == 200 and _NO_STORE not in reply.headers.get("cache-control", ""):
            text = "the proxy replaces Cache-Control of timestamp.json"
            yield Diagnosis("metadata", "problem", text, "leave the header as it is")
        elif reply.status == 200:
            yield Diagnosis("metadata", "ok", "timestamp.json is the one of this data folder")
        else:
            text = f"timestamp.json is answered with {reply.status}"
            yield Diagnosis("metadata", "problem", text, "publish, or check the proxy's path")

    def _heads(self) -> Iterator[Diagnosis]:
        reply = self._get("/v1/health", x_probe="x" * _HEAD_OCTETS)
        if reply.status in {400, 413, 414, 431}:
            yield Diagnosis(
                "heads",
                "problem",
                f"a head of {_HEAD_OCTETS:,} octets is answered with {reply.status}",
                "allow heads of 16 KB (nginx: large_client_header_buffers 4 16k)",
            )
        else:
            yield Diagnosis("heads", "ok", f"a head of {_HEAD_OCTETS:,} octets passes")

    def _buffering(self) -> Iterator[Diagnosis]:
        """The service refuses a wrong credential before the body; a proxy that buffers waits for the body."""
        head = (
            f"POST {self._path}/v1/evaluate/people/1 HTTP/1.1\r\nHost: {self._host}\r\n"
            "Authorization: Bearer cs_probe\r\nContent-Type: application/octet-stream\r\n"
            f"Content-Length: {_BODY_OCTETS}\r\nConnection: close\r\n\r\n"
        )
        with self._connected() as connection:
            connection.sendall(head.encode() + b"\0")
            connection.settimeout(WAIT)
            try:
                reply = connection.recv(64)
            except TimeoutError:
                reply = b""
        if not reply:
            yield Diagnosis(
                "bodies",
                "problem",
                "the proxy keeps bodies until they are whole: overload is refused after the body has come",
                "do not buffer requests (nginx: proxy_request_buffering off)",
            )
        else:
            yield Diagnosis("bodies", "ok", "bodies are passed on as they come")

    def _data(self) -> Iterator[Diagnosis]:
        """A data file: ranges, caching, and what a proxy may do to its octets."""
        authorisation = f"Bearer {self._credential}"
        account = self._get("/v1/account", authorization=authorisation)
        if account.status != 200:
            text = f"/v1/account answers {account.status}"
            todo = "check the credential, and that the proxy passes Authorization on"
            yield Diagnosis("data files", "problem", text, todo)
            return
        manifest = Repository(self._folder.public).current(account.json()["audience"])
        files = {} if manifest is None else manifest.files()
        if not files:
            yield Diagnosis("data files", "advice", "nothing is published for this account", "publish")
            return
        name = min(files, key=lambda one: files[one].length)
        part = self._get(f"/v1/data/{name}", authorization=authorisation, range="bytes=8-23")
        wrong = 0
        for holds, text, todo in (
            (
                part.status == 206 and len(part.data) == 16,
                f"a range of a data file is answered with {part.status} and {len(part.data)} octets",
                "pass Range on to the server (nginx: no proxy_cache or slice for /v1/data/)",
            ),
            (
                part.headers.get("etag") == f'"{name}"' and "content-encoding" not in part.headers,
                "the proxy changes data files (compression, ETag)",
                "do not compress application/octet-stream",
            ),
            (
                "private" in part.headers.get("cache-control", ""),
                "the proxy replaces Cache-Control of data files: others may get them without a credential",
                "leave the header as it is",
            ),
            (
                self._get(f"/v1/data/{name}").status == 401,
                "a data file is given out without a credential",
                "do not cache /v1/data/ in the proxy without asking the server (auth_request)",
            ),
            (
                self._get(f"/v1/data/{'0' * 64}", authorization=authorisation).status == 404,
                "a data file that there is not is not answered with 404",
                "pass the server's answers on as they are",
            ),
        ):
            if not holds:
                wrong += 1
                yield Diagnosis("data files", "problem", text, todo)
        if not wrong:
            yield Diagnosis("data files", "ok", "ranges, caching and credentials are as they should be")

    @contextlib.contextmanager
    def _connected(self) -> Iterator[socket.socket]:
        with socket.create_connection((self._host, self._port), WAIT) as plain:
            if not self._https:
                yield plain
                return
            context = ssl.create_default_context(cafile=self._ca_file)
            with context.wrap_socket(plain, server_hostname=self._host) as connection:
                yield connection


_TLS: Final = "use a certificate that clients trust, for this name, with its whole chain"
