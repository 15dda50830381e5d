"""What one caller can hold: how many connections, for how long, and how much memory.

A connection is either busy with a request, or the server waits for its caller: for a head, for the next
request, or until it reads what was sent. Waiting has an end. When the process has as many connections as it
can serve, a new one takes the place of the one that has waited longest: so nobody is locked out by those
that send nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import resource
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from starlette.types import ASGIApp, Receive, Scope, Send

from contactsync.foundation.errors import BadInput

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

WRITE_BUFFER: Final = 48 << 10
"""Octets that may wait in a connection's buffer before its response pauses."""

_KEPT_FILES: Final = 64  # descriptors that are no connection, nor the data file of one
_SWEEP_SECONDS: Final = 1.0
_SITE_BITS: Final = 64  # of an IPv6 address: what is behind them belongs to one caller
_UNKNOWN: Final = "unknown"


@dataclass(frozen=True, slots=True)
class Limits:
    """Times in seconds; `trusted` are proxies, whose field X-Forwarded-For is believed."""

    head: float = 10
    idle: float = 30
    stall: float = 30
    per_address: int = 0
    trusted: Sequence[Network] = ()


class Held(Protocol):
    """A connection, as far as it is looked at here."""

    transport: Any


def networks(texts: Sequence[str]) -> tuple[Network, ...]:
    """Addresses and networks, as `--trusted-proxy` gives them. Raises BadInput."""
    found = []
    for text in texts:
        try:
            found.append(ipaddress.ip_network(text.strip(), strict=False))
        except ValueError:
            raise BadInput(
                f"{text!r} is not an address or a network",
                hint="write 192.0.2.1, 192.0.2.0/24 or 2001:db8::/32",
            ) from None
    return tuple(found)


def raise_file_limit() -> int:
    """Let this process open as many files as it may; how many those are."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):  # the kernel's own limit may be lower
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


class Connections:
    """The connections of one process."""

    def __init__(self, limits: Limits, most: int | None = None) -> None:
        """`most` connections at a time; None: as many as there can be files for, each with a data file."""
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self.limits = limits
        self.is_retiring = False  # no connection gets more than one more answer
        self._most = max((files - _KEPT_FILES) // 2, 1) if most is None else most
        self._sites: dict[Held, str] = {}
        self._held: Counter[str] = Counter()
        # By when the wait ends. The order of the end is that of the beginning, as all wait equally long.
        self._heads: dict[Held, float] = {}
        self._idle: dict[Held, float] = {}
        self._stalled: dict[Held, float] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._sites)

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to look after the connections of an event loop."""
        self._loop = loop
        self._sweep()

    def stop(self) -> None:
        """Stop looking after them."""
        if self._timer is not None:
            self._timer.cancel()

    def admit(self, one: Held) -> bool:
        """Take a new connection, which is expected to send a head; False if it has to go."""
        site = self._site(one)
        if site and self.limits.per_address and self._held[site] >= self.limits.per_address:
            return False
        if len(self._sites) >= self._most and not self._make_room():
            return False
        self._sites[one] = site
        if site:
            self._held[site] += 1
        self.expect_head(one)
        return True

    def release(self, one: Held) -> None:
        """A connection has ended, or another object takes its place. Unknown ones are ignored."""
        site = self._sites.pop(one, None)
        if site:
            self._held[site] -= 1
            if not self._held[site]:
                del self._held[site]
        for waiting in (self._heads, self._idle, self._stalled):
            waiting.pop(one, None)

    def expect_head(self, one: Held) -> None:
        """A head has begun, or must come now."""
        self._idle.pop(one, None)
        if one in self._sites and one not in self._heads:
            self._heads[one] = self._now() + self.limits.head

    def expect_nothing(self, one: Held) -> None:
        """The request before is over: the next one may come."""
        self._heads.pop(one, None)
        if one in self._sites:
            self._idle[one] = self._now() + self.limits.idle

    def is_busy(self, one: Held) -> None:
        """A head is complete."""
        self._heads.pop(one, None)
        self._idle.pop(one, None)

    def has_stalled(self, one: Held) -> None:
        """Its caller does not read as fast as we write."""
        if one in self._sites and one not in self._stalled:
            self._stalled[one] = self._now() + self.limits.stall

    def flows(self, one: Held) -> None:
        """Its caller has read enough for us to write on."""
        self._stalled.pop(one, None)

    def _now(self) -> float:
        assert self._loop is not None
        return self._loop.time()

    def _site(self, one: Held) -> str:
        """What a connection is counted under; "" for this machine, and for a proxy that is trusted."""
        peer = one.transport.get_extra_info("peername")
        if not isinstance(peer, tuple) or not self.limits.per_address:
            return ""
        address = _address(peer[0])
        if address is None or address.is_loopback or _is_in(address, self.limits.trusted):
            return ""
        return site_of(address)

    def _make_room(self) -> bool:
        """End the connection that has waited longest for its caller; False if there is none."""
        found = None
        for waiting, seconds in ((self._heads, self.limits.head), (self._idle, self.limits.idle)):
            if waiting:
                one, end = next(iter(waiting.items()))
                if found is None or end - seconds < found[0]:
                    found = end - seconds, one
        if found is None:
            return False
        self._abort(found[1])
        return True

    def _sweep(self) -> None:
        now = self._now()
        for waiting in (self._heads, self._idle, self._stalled):
            while waiting:
                one, end = next(iter(waiting.items()))
                if end > now:
                    break
                self._abort(one)
        assert self._loop is not None
        self._timer = self._loop.call_later(_SWEEP_SECONDS, self._sweep)

    def _abort(self, one: Held) -> None:
        """End a connection at once: to close it would wait until its caller has read everything."""
        self.release(one)
        one.transport.abort()


_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def _address(text: str) -> _Address | None:
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return address if mapped is None else mapped


def _is_in(address: _Address, where: Sequence[Network]) -> bool:
    return any(address in network for network in where)


def site_of(address: _Address) -> str:
    """The address, or the network that belongs to one caller: a /64 of IPv6."""
    if address.version == 4:
        return str(address)
    return str(ipaddress.ip_network((address, _SITE_BITS), strict=False))


def caller_behind(fields: Sequence[bytes], trusted: Sequence[Network]) -> str:
    """Who a trusted proxy forwards for: of X-Forwarded-For, the last one that is not itself trusted.

    What stands before that one was written by nobody whom we trust.
    """
    for text in reversed(b",".join(fields).decode("latin-1").split(",")):
        name = text.strip()
        if name.startswith("["):
            name = name[1:].partition("]")[0]
        elif name.count(":") == 1:
            name = name.partition(":")[0]
        address = _address(name)
        if address is None:
            return _UNKNOWN
        if not _is_in(address, trusted):
            return site_of(address)
    return _UNKNOWN


def caller_of(peer: str, fields: Sequence[bytes], trusted: Sequence[Network]) -> str:
    """Who sends a request: the other end of the connection, or whom a trusted proxy there forwards for."""
    address = _address(peer)
    if address is None:
        return _UNKNOWN
    return caller_behind(fields, trusted) if _is_in(address, trusted) else site_of(address)


class Forwarded:
    """Wraps an application behind trusted proxies: bounds the requests at a time of each caller."""

    def __init__(self, app: ASGIApp, limits: Limits, refuse: ASGIApp) -> None:
        """`refuse` answers what is too much."""
        self._app = app
        self._limits = limits
        self._refuse = refuse
        self._running: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        peer = scope.get("client")
        address = _address(peer[0]) if scope["type"] == "http" and peer else None
        if address is None or not _is_in(address, self._limits.trusted):
            await self._app(scope, receive, send)
            return
        said = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
        caller = caller_behind(said, self._limits.trusted)
        if self._running[caller] >= self._limits.per_address:
            await self._refuse(scope, receive, send)
            return
        self._running[caller] += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._running[caller] -= 1
            if not self._running[caller]:
                del self._running[caller]
