"""TLS of the server itself: the certificate, and the door that callers come through.

A connection counts from its first packet on, not from the end of its handshake, so that the limits hold for
those that never finish one.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable, Coroutine, Generator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from cryptography import x509

from contactsync.foundation.errors import BadInput
from contactsync.serving.limits import Connections

NOTICE: Final = timedelta(days=14)
"""So long before a certificate expires, the log says so when it is read."""

_HINT: Final = "give --tls-cert the certificate with its chain and --tls-key its key, both in PEM"

log = logging.getLogger("contactsync.server")


class Certificate:
    """A certificate and its key, read from files now and at each `reload`."""

    def __init__(self, certificate: Path, key: Path) -> None:
        """Raises BadInput for what cannot be served: no PEM, another key, expired, not readable."""
        self._certificate = certificate
        self._key = key
        self.context = self._load()

    def reload(self) -> None:
        """Read the files again; new connections get what is in them. Raises BadInput, and nothing changes."""
        self.context = self._load()

    def _load(self) -> ssl.SSLContext:
        chain, key = _read(self._certificate), _read(self._key)
        if self._key.stat().st_mode & 0o007:
            raise BadInput(f"all users can read {self._key}", hint=f"chmod o= {self._key}")
        if b"-----BEGIN ENCRYPTED" in key or b"Proc-Type: 4,ENCRYPTED" in key:
            hint = "give a key without one, readable by you alone"
            raise BadInput(f"{self._key} has a passphrase", hint=hint)
        try:
            leaf = x509.load_pem_x509_certificates(chain)[0]
        except ValueError:
            raise BadInput(f"{self._certificate} contains no certificate", hint=_HINT) from None
        self._check_dates(leaf)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        try:
            context.load_cert_chain(self._certificate, self._key)
        except ssl.SSLError as error:
            if error.reason == "KEY_VALUES_MISMATCH":
                reason = f"{self._key} is not the key of {self._certificate}"
            else:
                reason = f"{self._certificate} and {self._key} cannot be used: {error.reason or 'no PEM'}"
            raise BadInput(reason, hint=_HINT) from None
        return context

    def _check_dates(self, leaf: x509.Certificate) -> None:
        now, begin, end = datetime.now(UTC), leaf.not_valid_before_utc, leaf.not_valid_after_utc
        if end < now:
            raise BadInput(f"{self._certificate} expired on {end:%Y-%m-%d}", hint="renew it first")
        if begin > now:
            hint = "check the clock, or wait"
            raise BadInput(f"{self._certificate} is valid from {begin:%Y-%m-%d %H:%M} UTC on", hint=hint)
        if end < now + NOTICE:
            log.warning("the certificate %s expires on %s", self._certificate, end.date())


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadInput(f"cannot read {path}: {error.strerror}", hint=_HINT) from error


class _Begun:
    """A coroutine that has run as far as it can: a task would begin it when data has come already."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._coroutine = coroutine
        self._first = coroutine.send(None)

    def __await__(self) -> Generator[Any, Any, Any]:
        waiting = self._first
        try:
            while True:
                try:
                    value = yield waiting
                except BaseException as error:  # noqa: BLE001 - the coroutine deals with it
                    waiting = self._coroutine.throw(error)
                else:
                    waiting = self._coroutine.send(value)
        except StopIteration as end:
            return end.value


class Door(asyncio.Protocol):
    """A connection until its handshake is over. Then a protocol of `make` takes its place."""

    def __init__(
        self,
        make: Callable[[], asyncio.Protocol],
        certificate: Certificate,
        connections: Connections,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._make = make
        self._certificate = certificate
        self._connections = connections
        self._loop = loop
        self._early: list[bytes] = []
        self._is_lost = False
        self._task: asyncio.Task[None] | None = None
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A caller has connected."""
        self.transport = transport
        if not self._connections.admit(self):
            self.transport.abort()
            return
        shaking = self._loop.start_tls(
            self.transport,
            self,
            self._certificate.context,
            server_side=True,
            ssl_handshake_timeout=self._connections.limits.head,
        )
        self._task = self._loop.create_task(self._shake_hands(_Begun(shaking)))

    def data_received(self, data: bytes) -> None:
        """What came together with the end of the handshake."""
        self._early.append(data)

    def connection_lost(self, _exc: Exception | None) -> None:
        """It is over."""
        self._is_lost = True
        self._connections.release(self)

    async def _shake_hands(self, shaking: _Begun) -> None:
        raw = self.transport
        try:
            inner = await shaking
        except Exception:  # noqa: BLE001 - whatever a caller did, it is the end of their connection alone
            raw.abort()
            inner = None
        self._connections.release(self)
        if inner is None or self._is_lost:
            return
        protocol = self._make()
        inner.set_protocol(protocol)
        protocol.connection_made(inner)
        for data in self._early:
            protocol.data_received(data)
