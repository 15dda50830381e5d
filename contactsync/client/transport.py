"""HTTP: the only way in which the client talks to a server.

A transport belongs to one server. It sends the credential only to that server, accepts no compressed body,
and limits every reply before it is read. It follows one kind of redirect, once, and without the credential:
that of a data file to the server's object store (stores.py).
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import urllib3
from tuf.api.exceptions import DownloadHTTPError
from tuf.ngclient import FetcherInterface

from contactsync import __version__
from contactsync.client.meter import CONNECT_SECONDS, READ_SECONDS, Closed, Meter, Record, meter_pools
from contactsync.client.patience import Patience
from contactsync.client.quota import Quota
from contactsync.client.replies import error_of, explained, retry_after
from contactsync.client.stores import ACCEPT, REDIRECTS, host_of, store_url
from contactsync.foundation.errors import (
    BadReply,
    ChoiceNeeded,
    ContactSyncError,
    NetworkError,
    Refused,
    ServerFailed,
)
from contactsync.foundation.route import Route

CHUNK = 1 << 16
PACE_SECONDS = 0.25
STORE_CHANCES = 2
_READABLE = frozenset({200, 206, 416})
METADATA_LIMIT = 8 << 20
USUAL_METADATA = 256 << 10  # may come whatever the allowed download: without it nothing can be priced
ACCOUNT_LIMIT = 4096
# Octets of a reply's head, including all 1xx replies before it, and what is read ahead. http.client takes
# time in the square of a Content-Type's length: a second for this.
HEAD_LIMIT = 32 << 10
PIECE_LIMIT = 4 * CHUNK  # octets on the wire for CHUNK of a body, the framing of chunks included


class Transport:
    """Requests to one server.

    `sent` and `received` count the bytes of whole HTTP messages, heads included, TLS framing excluded.
    """

    def __init__(
        self,
        base_url: str,
        *,
        credential: str | None = None,
        record: Record | None = None,
        closed: Closed | None = None,
        read_seconds: float = READ_SECONDS,
        patience: Patience | None = None,
        route: Route | None = None,
        max_data: int | None = None,
    ) -> None:
        """`patience` is the time of a whole run. Without it, this transport is a run by itself.

        `max_data`, in octets, is what metadata and data files may bring in all, whatever the server repeats.
        """
        self.base_url = base_url.rstrip("/")
        self.patience = patience or Patience()
        self._max_data = max_data
        self._data = 0
        self._credential = credential
        self._quota: Quota | None = None
        # A transcript accounts for every octet to the server: with one, no other host is asked. A server that
        # redirects sees that, and no other does.
        self._is_recorded = record is not None
        self._goes_to_stores = True
        self._stores: dict[str, None] = {}
        self._store_chances = STORE_CHANCES
        self._meter = Meter(self.base_url, self.patience, record, read_seconds, closed)
        self._pool = (route or Route()).manager(urllib3.Timeout(connect=CONNECT_SECONDS, read=read_seconds))
        meter_pools(self._pool, self._meter)

    @property
    def sent(self) -> int:
        """Octets of whole HTTP messages sent, heads included, TLS framing excluded."""
        return self._meter.sent

    @property
    def received(self) -> int:
        """Octets of whole HTTP messages received."""
        return self._meter.received

    @property
    def quota(self) -> Quota | None:
        """The account's budget, as the server last stated it; None if it has not, or there is none."""
        return self._quota

    def check_account(self) -> None:
        """Ask what is left of the account's budget. Raises Refused if the credential is not valid.

        A server without budgets has no such page. Its reply to the first evaluation tells as much.
        """
        try:
            with self.get("/v1/account", authorised=True) as reply:
                data = b"".join(self.chunks(reply, ACCOUNT_LIMIT + 1))
        except Refused as error:
            if error.status == 404:
                return
            raise
        try:
            self._quota = Quota.from_json(json.loads(data)["quota"])
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise BadReply(f"{self.base_url} sent a malformed reply", hint="tell the operator") from error

    @contextmanager
    def get(
        self, path: str, *, headers: Mapping[str, str] | None = None, authorised: bool = False
    ) -> Iterator[urllib3.BaseHTTPResponse]:
        """An unread reply of status 200, 206 or 416, to be read by `chunks`. Other replies are raised.

        Raises Refused (with the server's own hint), BadReply for a redirect, NetworkError.
        """
        reply = self._open("GET", path, headers=headers or {}, body=None, authorised=authorised)
        try:
            if reply.status not in _READABLE:
                raise error_of(reply)
            yield reply
        finally:
            _let_go(reply)

    @property
    def stores(self) -> tuple[str, ...]:
        """The hosts that the server sent this client to for data files."""
        return tuple(self._stores)

    @contextmanager
    def get_file(
        self, path: str, *, headers: Mapping[str, str] | None = None
    ) -> Iterator[urllib3.BaseHTTPResponse]:
        """The same for a data file, which may come from an object store that the server names.

        If anything is wrong there, NetworkError is raised, and from then on the server is asked alone: so
        whoever tries again gets the file from it. One connection may break before that.
        """
        if not self._goes_to_stores:
            with self.get(path, headers=headers, authorised=True) as reply:
                yield reply
            return
        reply = self._open("GET", path, headers={**(headers or {}), **ACCEPT}, body=None, authorised=True)
        try:
            if reply.status not in REDIRECTS:
                if reply.status not in _READABLE:
                    raise error_of(reply)
                yield reply
                return
            url = self._place_in(reply)
        finally:
            _let_go(reply)
        host = host_of(url)
        self._stores[host] = None
        try:
            reply = self._open_at_store(url, headers or {})
        except ContactSyncError as error:
            raise self._leave_stores(f"{host}, the store of {self.base_url}: {error}") from error
        try:
            if reply.status not in _READABLE:
                raise self._leave_stores(f"{host} answered with status {reply.status}")
            yield reply
        except ChoiceNeeded:
            raise
        except ContactSyncError as error:
            self._store_chances -= 1
            if isinstance(error, NetworkError) and self._store_chances > 0:
                raise  # it may be the network, which does not spare the server either
            raise self._leave_stores(f"{host}, the store of {self.base_url}: {error}") from error
        finally:
            _let_go(reply)

    def _place_in(self, reply: urllib3.BaseHTTPResponse) -> str:
        if self._is_recorded:
            raise self._leave_stores(f"{self.base_url} sent a redirect, which a transcript does not follow")
        try:
            return store_url(reply, self.base_url)
        except BadReply as error:
            raise self._leave_stores(str(error)) from error

    def leave_stores(self) -> bool:
        """Ask the server alone from now on; whether it was otherwise, and a store was asked."""
        left = self._goes_to_stores and bool(self._stores)
        self._goes_to_stores = False
        return left

    def _leave_stores(self, why: str) -> NetworkError:
        self._goes_to_stores = False
        return NetworkError(why, hint="try again; the server itself is asked then")

    def _open_at_store(self, url: str, headers: Mapping[str, str]) -> urllib3.BaseHTTPResponse:
        """Ask another host for a file: with nothing of the account, and without following anything."""
        head = {"User-Agent": f"contactsync/{__version__}", "Accept-Encoding": "identity"}
        if "Range" in headers:  # and no If-Range: the name of the file is its hash
            head["Range"] = headers["Range"]
        self.patience.left_of_run()
        self._meter.expect(HEAD_LIMIT)
        with explained(host_of(url)):
            return self._pool.urlopen(
                "GET",
                url,
                headers=head,
                retries=False,
                redirect=False,
                preload_content=False,
                decode_content=False,
            )

    def post(self, path: str, body: bytes, *, reply_length: int, authorised: bool = True) -> bytes:
        """POST octets and return the reply, which must have exactly `reply_length` octets.

        The request is repeated with the same body if nothing comes back. Use it only where this is allowed.
        It has the credential unless `authorised` is false.
        Raises Refused, BadReply, NetworkError.
        """
        headers = {"Content-Type": "application/octet-stream"}
        attempts = self.patience.attempts()
        while True:
            try:
                reply = self._open("POST", path, headers=headers, body=body, authorised=authorised)
                try:
                    if reply.status != 200:
                        raise error_of(reply)
                    data = b"".join(self.chunks(reply, reply_length + 1))
                    if len(data) != reply_length:
                        raise BadReply(
                            f"{self.base_url} answered {path} with a reply of the wrong length",
                            hint="nothing was stored; if this happens again, tell the operator",
                        )
                    return data
                finally:
                    reply.close() if reply.length_remaining else reply.release_conn()
            except NetworkError as error:
                attempts.failed(error)

    @property
    def downloaded(self) -> int:
        """Octets of metadata and data files that came, repetitions included: what `max_data` bounds."""
        return self._data

    def data_chunks(self, reply: urllib3.BaseHTTPResponse, limit: int, *, least: int = 0) -> Iterator[bytes]:
        """`chunks` of a file. Raises ChoiceNeeded if all files together are beyond what may come.

        At least `least` octets may.
        """
        for piece in self.chunks(reply, limit):
            self._data += len(piece)
            if self._max_data is not None and self._data > max(self._max_data, least):
                raise ChoiceNeeded(
                    f"{self.base_url} sent more than --max-download allows",
                    hint="what was verified is kept; try again later, or allow more with --max-download",
                )
            yield piece

    def chunks(self, reply: urllib3.BaseHTTPResponse, limit: int) -> Iterator[bytes]:
        """The body in pieces as they come, at most `limit` octets. Raises NetworkError if it stops early."""
        taken = CHUNK
        while limit > 0:
            if taken == CHUNK:
                self._meter.expect_more(PIECE_LIMIT)
                taken = 0
            with explained(self.base_url):
                piece = reply.read1(min(CHUNK - taken, limit))
            if not piece:
                return
            taken += len(piece)
            limit -= len(piece)
            yield piece

    def pace(self, beats: int = 1) -> None:
        """Wait until the time since the last reply is a multiple of so many quarters of a second.

        It hides how long the work between a reply and the next request took.
        """
        since, beat = time.monotonic() - self._meter.last, beats * PACE_SECONDS
        time.sleep(math.ceil(since / beat) * beat - since)

    def hang_up(self) -> None:
        """Close the connections now; a later request opens another."""
        self._close_pools()

    def close(self) -> None:
        """Close the connections."""
        self._close_pools()

    def _close_pools(self) -> None:
        # `clear` alone leaves it to the garbage collector: an error that is on its way still holds a reply,
        # and with it the pool.
        for key in self._pool.pools.keys():  # noqa: SIM118 - it is no dict, and has no other way
            pool = self._pool.pools.get(key)
            if pool is not None:
                pool.close()
        self._pool.clear()

    def _open(
        self, method: str, path: str, *, headers: Mapping[str, str], body: bytes | None, authorised: bool
    ) -> urllib3.BaseHTTPResponse:
        """Send a request and read the head of its reply. Wait and repeat while the server is overloaded."""
        head = {"User-Agent": f"contactsync/{__version__}", "Accept-Encoding": "identity", **headers}
        if authorised:
            if self._credential is None:
                raise Refused(
                    f"{self.base_url} requires a credential for this",
                    hint="give --credential-file, or set CONTACTSYNC_CREDENTIAL_FILE",
                )
            head["Authorization"] = f"Bearer {self._credential}"
        while True:
            self.patience.left_of_run()
            self._meter.expect(HEAD_LIMIT)
            with explained(self.base_url):
                reply = self._pool.urlopen(
                    method,
                    self.base_url + path,
                    body=body,
                    headers=head,
                    retries=False,
                    redirect=False,
                    preload_content=False,
                    decode_content=False,
                )
            if authorised:
                self._quota = Quota.from_fields(reply.headers) or self._quota
            pause = retry_after(reply)
            if pause is None or not self.patience.wait(pause, "the server is busy"):
                return reply
            reply.close()


def _let_go(reply: urllib3.BaseHTTPResponse) -> None:
    """Unread octets would be taken for the next reply: close the connection then."""
    if reply.length_remaining == 0:
        reply.release_conn()
    else:
        reply.close()


class MetadataFetcher(FetcherInterface):
    """Lets python-tuf fetch through a transport."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def _fetch(self, url: str) -> Iterator[bytes]:
        assert url.startswith(self._transport.base_url + "/"), "metadata is fetched from its own server only"
        path = url.removeprefix(self._transport.base_url)
        attempts = self._transport.patience.attempts()
        while True:
            try:
                with self._transport.get(path) as reply:
                    # Metadata is small and tuf bounds it; hold it, so that a cut one can be asked for again.
                    return iter(
                        list(self._transport.data_chunks(reply, METADATA_LIMIT, least=USUAL_METADATA))
                    )
            except (Refused, ServerFailed) as error:
                if error.status in {403, 404} or error.kind == "not-published":
                    raise DownloadHTTPError(str(error), error.status) from error
                if isinstance(error, Refused):
                    raise
                attempts.failed(error)
            except NetworkError as error:
                attempts.failed(error)
