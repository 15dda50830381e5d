"""HTTP to one CardDAV server.

A connection belongs to one origin (scheme, host, port) and never leaves it: a redirect or an address of a
reply that leads elsewhere is an error that names the other address, so credentials go nowhere else, and never
down to http. All replies are bounded and timed, and no compressed body is accepted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urljoin

import urllib3

from contactsync import __version__
from contactsync.carddav.address import Address, origin_of, path_within
from contactsync.carddav.authentication import Authenticator, Scheme
from contactsync.carddav.multistatus import MAX_CARD, MultistatusReader, Response
from contactsync.client.meter import CONNECT_SECONDS, READ_SECONDS, Meter, meter_pools
from contactsync.client.patience import Patience
from contactsync.client.replies import explained, retry_after
from contactsync.client.transport import HEAD_LIMIT, PIECE_LIMIT
from contactsync.foundation.errors import BadReply, NetworkError, Refused, ServerFailed
from contactsync.foundation.route import Route

MAX_REPLY: Final = 64 << 20
"""Octets of one reply. A batch of cards that is larger is asked for in halves."""

MAX_OCTETS: Final = 4 << 30
"""Octets of all replies of one account in a run."""

_PIECE: Final = 1 << 16
_REDIRECTS: Final = 5
_CHALLENGES: Final = 3  # for one request; a nonce may have become stale
_FAILURES: Final = {500, 502, 503, 504}
_MOVED: Final = {301, 302, 307, 308}
_CA_HINT: Final = "if the server has an authority of its own, give --ca-file FILE"
_ERROR_BODY: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class DavAccount:
    """An account and how to reach it. `secret` is called once, when the server asks for a password."""

    address: Address
    secret: Callable[[], str] = field(repr=False)
    scheme: Scheme = "auto"
    ca_file: Path | None = None
    proxy: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply to PROPFIND or REPORT: the path that answered, after redirects, its status, and what it holds.

    `is_cut` says that it was larger than one reply may be; what came before was handed on.
    """

    path: str
    status: int
    token: str | None
    conditions: frozenset[str]
    is_cut: bool = False


class DavConnection:
    """Requests to the server of one account, one after the other."""

    def __init__(
        self, account: DavAccount, *, patience: Patience | None = None, read_seconds: float = READ_SECONDS
    ) -> None:
        self.origin = account.address.origin
        self.patience = patience or Patience()
        self.requests = 0
        self._route = Route.to(self.origin, proxy=account.proxy, ca_file=account.ca_file)
        self.authenticator = Authenticator(
            account.address.user, account.secret, account.scheme, account.address.account
        )
        self._left = MAX_OCTETS
        self._meter = Meter(self.origin, self.patience, None, read_seconds)
        self._pool = self._route.manager(urllib3.Timeout(connect=CONNECT_SECONDS, read=read_seconds))
        meter_pools(self._pool, self._meter)

    def close(self) -> None:
        """Close the connections."""
        self._pool.clear()

    def ask(
        self,
        method: str,
        path: str,
        body: bytes,
        on_response: Callable[[Response], None],
        *,
        depth: str | None = None,
    ) -> Answer:
        """PROPFIND or REPORT. Calls `on_response` for each response of a multistatus, as it comes.

        Other replies are returned with their status and the conditions that a DAV:error names. If the
        connection breaks or the server fails, it is tried again; responses of a try that broke off were
        handed on. Raises NetworkError, BadReply (malformed, a redirect elsewhere), Refused (credentials).
        """
        headers = {"Content-Type": "application/xml; charset=utf-8"}
        if depth is not None:
            headers["Depth"] = depth
        attempts = self.patience.attempts()
        while True:
            try:
                answer = self._ask(method, path, headers, body, on_response)
                if answer.status in _FAILURES:
                    raise self.unexpected(answer.status, method)
            except NetworkError as error:
                attempts.failed(error)
            else:
                return answer

    def _ask(
        self,
        method: str,
        path: str,
        headers: dict[str, str],
        body: bytes,
        on_response: Callable[[Response], None],
    ) -> Answer:
        with self._open(method, path, headers, body) as (reply, final):
            reader = MultistatusReader(self.origin, on_response)
            if reply.status != 207:
                return Answer(final, reply.status, None, frozenset(self._conditions(reply, reader)))
            came = 0
            for piece in self._chunks(reply, MAX_REPLY + 1):
                came += len(piece)
                if came > MAX_REPLY:
                    return Answer(final, 207, None, frozenset(), is_cut=True)
                reader.feed(piece)
            reader.feed(b"", last=True)
            return Answer(final, 207, reader.token, frozenset())

    def get(self, path: str) -> tuple[bytes, str] | None:
        """The octets of a card and its ETag; None if it is gone. Raises as `ask` does."""
        with self._open("GET", path, {"Accept": "text/vcard"}, b"") as (reply, _):
            if reply.status in {404, 410}:
                return None
            if reply.status != 200:
                raise self.unexpected(reply.status, "GET")
            data = b"".join(self._chunks(reply, MAX_CARD + 1))
            if len(data) > MAX_CARD:
                raise BadReply(f"{self.origin} sent a card of more than {MAX_CARD >> 20} MiB")
            return data, reply.headers.get("ETag", "")

    def put(self, path: str, data: bytes, etag: str) -> tuple[int, str]:
        """Replace a card if it still has this ETag. Returns the status, and the new ETag if it is stated."""
        headers = {"Content-Type": "text/vcard; charset=utf-8", "If-Match": etag}
        with self._open("PUT", path, headers, data) as (reply, _):
            list(self._chunks(reply, _ERROR_BODY))
            return reply.status, reply.headers.get("ETag", "")

    def unexpected(self, status: int, method: str) -> Refused | ServerFailed | BadReply:
        """The error for a status that leads nowhere."""
        said = f"{self.origin} answered {method} with status {status}"
        if status >= 500:
            return ServerFailed(said, hint="try again later", status=status)
        if status in {403, 404, 405, 410, 501}:
            hint = "check the address: `contactsync docs address-books` says what to enter for which provider"
            return Refused(said, hint=hint, status=status)
        return BadReply(said, hint="check that this is the address of a CardDAV server")

    def inside(self, base: str, href: str) -> str:
        """The path that an address in a reply means. Raises BadReply if it is on another server."""
        path = path_within(self.origin, base, href)
        if path is None:
            raise self._elsewhere(urljoin(self.origin + base, href), "sent the address of")
        return path

    def _elsewhere(self, url: str, how: str) -> BadReply:
        shown = "".join(c for c in url if c.isprintable())[:200]
        other = origin_of(url)
        if other is None or "@" in url.partition("://")[2].partition("/")[0]:
            return BadReply(f"{self.origin} {how} something that is no address", hint="give another address")
        rest = shown.partition("://")[2]
        hint = f"if you trust that server with this password, give carddav://USER@{rest}"
        if other.startswith("http://"):
            hint = f"it is not encrypted; try carddav://USER@{rest}"
        return BadReply(
            f"{self.origin} {how} another server, {other}: the password was not sent there", hint=hint
        )

    @contextmanager
    def _open(
        self, method: str, path: str, headers: dict[str, str], body: bytes
    ) -> Iterator[tuple[urllib3.BaseHTTPResponse, str]]:
        """Send a request, sign in, follow redirects inside the origin, wait while the server is busy."""
        redirects = challenges = 0
        while True:
            reply = self._send(method, path, headers, body)
            try:
                if reply.status == 401:
                    challenges += 1
                    if challenges > _CHALLENGES:
                        raise BadReply(f"{self.origin} asks for the password again and again")
                    self.authenticator.challenged(reply.headers.getlist("WWW-Authenticate"))
                    continue
                if reply.status == 407:
                    raise NetworkError(
                        "the proxy refused: it requires a user name and a password, or did not accept yours",
                        hint="put them into the proxy's URL: http://USER:PASSWORD@HOST:PORT",
                    )
                if reply.status in _MOVED:
                    path, redirects = self._redirected(method, path, reply), redirects + 1
                    if redirects > _REDIRECTS:
                        raise BadReply(f"{self.origin} redirects in a circle", hint="check the address")
                    continue
                pause = retry_after(reply)
                if pause is not None and self.patience.wait(pause, "the CardDAV server is busy"):
                    continue
                yield reply, path
                return
            finally:
                self._let_go(reply)

    def _send(self, method: str, path: str, headers: dict[str, str], body: bytes) -> urllib3.BaseHTTPResponse:
        head = {"User-Agent": f"contactsync/{__version__}", "Accept-Encoding": "identity", **headers}
        authorization = self.authenticator.header(method, path, body)
        if authorization is not None:
            head["Authorization"] = authorization
        self.patience.left_of_run()
        self._meter.expect(HEAD_LIMIT)
        self.requests += 1
        with explained(self.origin, own_authority=_CA_HINT):
            return self._pool.urlopen(
                method,
                self.origin + path,
                body=body or None,
                headers=head,
                retries=False,
                redirect=False,
                preload_content=False,
                decode_content=False,
            )

    def _let_go(self, reply: urllib3.BaseHTTPResponse) -> None:
        """Use the connection again if all of the reply was read, which http.client must notice by itself."""
        if reply.length_remaining == 0:
            with explained(self.origin):
                reply.read(1)
            reply.release_conn()
        else:
            reply.close()

    def _redirected(self, method: str, path: str, reply: urllib3.BaseHTTPResponse) -> str:
        location = reply.headers.get("Location", "")
        if method == "PUT" or not location:
            raise BadReply(f"{self.origin} redirects a request that must not go elsewhere")
        found = path_within(self.origin, path, location)
        if found is None:
            raise self._elsewhere(urljoin(self.origin + path, location), "redirects to")
        return found

    def _conditions(self, reply: urllib3.BaseHTTPResponse, reader: MultistatusReader) -> set[str]:
        """What a DAV:error in the body names. A body that is something else names nothing."""
        try:
            for piece in self._chunks(reply, _ERROR_BODY):
                reader.feed(piece)
            reader.feed(b"", last=True)
        except BadReply:
            return set()
        return reader.conditions

    def _chunks(self, reply: urllib3.BaseHTTPResponse, limit: int) -> Iterator[bytes]:
        """The body in pieces, at most `limit` octets of it."""
        while limit > 0:
            self._meter.expect_more(PIECE_LIMIT)
            with explained(self.origin, own_authority=_CA_HINT):
                piece = reply.read(min(_PIECE, limit))
            if not piece:
                return
            limit -= len(piece)
            self._left -= len(piece)
            if self._left < 0:
                raise BadReply(
                    f"{self.origin} sent more than {MAX_OCTETS >> 30} GiB in all",
                    hint="give the address of a single address book; what was received is kept",
                )
            yield piece
