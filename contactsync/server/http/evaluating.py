"""`POST /v1/evaluate/AUDIENCE/EPOCH`, straight on ASGI: the request that a server sees most.

Routing, request and response objects of a framework cost more than the cryptography of a small batch.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import traceback
from collections.abc import Iterator
from concurrent.futures import CancelledError
from dataclasses import dataclass
from typing import Final

from starlette.types import Receive, Scope, Send

from contactsync.foundation.audiences import AUDIENCES
from contactsync.foundation.errors import InvalidElement, OurError
from contactsync.server.admission import SHARES, Admission, Overloaded
from contactsync.server.company import SMALL
from contactsync.server.evaluation import Evaluator
from contactsync.server.http.callers import Callers, bad_credential
from contactsync.server.http.charging import Charging, StoreGuard, fields
from contactsync.server.http.data import MEDIA_TYPE
from contactsync.server.http.problems import (
    Problem,
    fault,
    not_published,
    overload,
    too_slow,
    wrong_audience,
)
from contactsync.server.http.served import Served
from contactsync.server.http.threads import result_of
from contactsync.server.http.together import Answer, Receiver, SmallBatch, SmallBatches
from contactsync.server.quota import PointQuota, Standing
from contactsync.server.storage.ports import Account, Charge
from contactsync.voprf import wire
from contactsync.voprf.server import KeyPair
from contactsync.voprf.suite import NE

BODY_TIMEOUT: Final = 30.0
"""Seconds for a whole batch to arrive."""

PATH: Final = re.compile(r"/v1/evaluate/([^/]+)/([^/]+)")
_EPOCH = re.compile(r"[1-9][0-9]{0,15}")  # epochs count from 1


log = logging.getLogger("contactsync.server")


@dataclass(frozen=True, slots=True)
class Asked:
    """Who asks, for the key of which epoch."""

    account: Account
    key: KeyPair
    epoch: int
    allowance: PointQuota


class Evaluating:
    """An ASGI application for requests whose path is `PATH` and whose method is POST.

    Small batches of callers that are known need no coroutine: direct.py calls `recall`, `begin` and `end`.
    """

    def __init__(
        self, callers: Callers, charging: Charging, served: Served, evaluator: Evaluator, guard: StoreGuard
    ) -> None:
        self._callers = callers
        self._charging = charging
        self._served = served
        self._evaluator = evaluator
        self._guard = guard
        self._small = SmallBatches(evaluator, charging)
        self.admission = Admission(SHARES * evaluator.room)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. What is unforeseen is answered with 500, and logged."""
        try:
            body, headers = await self._answer(scope, receive)
        except _Disconnected:
            pass
        except Exception as error:  # noqa: BLE001 - the caller is told
            await self.problem(error).response()(scope, receive, send)
        else:
            raw = [(name.encode(), value.encode()) for name, value in headers.items()]
            await send({"type": "http.response.start", "status": 200, "headers": raw})
            await send({"type": "http.response.body", "body": body})

    def problem(self, error: BaseException) -> Problem:
        """What a caller is told of an error. What is unforeseen is logged, without its text."""
        match error:
            case Problem():
                return error
            case Overloaded() | CancelledError():  # cancelled: the server ends
                return overload()
            case InvalidElement():
                return Problem("invalid-element", str(error), error.hint, index=error.index)
            case OurError():
                return self._guard.problem(error)
        place = traceback.extract_tb(error.__traceback__)[-1]
        log.error("%s in %s, line %d", type(error).__name__, place.filename, place.lineno)
        return fault()

    # A small batch, without a coroutine

    def recall(self, path: str, authorization: str) -> Asked | None:
        """What is known of a request; None says nothing."""
        match = PATH.fullmatch(path)
        scheme, _, credential = authorization.partition(" ")
        served = self._served.recall()
        if match is None or scheme.lower() != "bearer" or served is None:
            return None
        account, (audience, epoch) = self._callers.recall(credential.strip()), match.groups()
        if account is None or account.audience != audience or not _EPOCH.fullmatch(epoch):
            return None
        key = served.keys.get((audience, int(epoch)))
        return None if key is None else self._asked(account, key, int(epoch))

    def begin(self, asked: Asked, data: bytes, future: Receiver) -> None:
        """Have a batch of at most `SMALL` elements charged and evaluated. It must have been admitted."""
        charge = self._bill(asked, data)
        self._small.add(SmallBatch(wire.parse_request(data), charge, asked.key), future)

    def end(self, asked: Asked, answer: Answer) -> tuple[bytes, dict[str, str]] | None:
        """The reply and its headers; None: `refusal` says why there is none."""
        standing, evaluation = answer
        if standing is None or evaluation is None:
            return None
        reply = wire.make_reply(*evaluation)
        return reply, _headers(reply, standing, asked.allowance)

    async def refusal(self, asked: Asked, points: int, standing: Standing | None) -> Problem:
        """Why a batch was not charged."""
        try:
            await self._check(asked, points, standing)
        except Exception as error:  # noqa: BLE001 - the caller is told
            return self.problem(error)
        return fault()

    # Any batch

    async def _answer(self, scope: Scope, receive: Receive) -> tuple[bytes, dict[str, str]]:
        """Evaluated elements and their proof, and the headers that go with them.

        Raises Problem, Overloaded, OurError (the store), InvalidElement.
        """
        match = PATH.fullmatch(scope["path"])
        audience, epoch = match.groups() if match else ("", "")
        if audience not in AUDIENCES or not _EPOCH.fullmatch(epoch):
            raise Problem("not-found", "there is no such audience or epoch")
        if self.admission.is_full():
            raise Overloaded
        head = dict(reversed(scope["headers"]))  # the first of a name counts
        account = await self._callers.authenticate(head.get(b"authorization", b"").decode("latin-1"))
        self.admission.check(account.id)
        key = await self._key(account, audience, int(epoch))
        asked = self._asked(account, key, int(epoch))
        data = await _read_batch(head, receive, asked.allowance.largest_batch)
        with self._admitted(account, len(data) // NE):
            standing, reply = await self._charged(asked, data)
        return reply, _headers(reply, standing, asked.allowance)

    def _asked(self, account: Account, key: KeyPair, epoch: int) -> Asked:
        return Asked(account, key, epoch, self._charging.allowance(account))

    def _bill(self, asked: Asked, data: bytes) -> Charge:
        return self._charging.bill(asked.account, asked.allowance, len(data) // NE, asked.epoch, data)

    @contextlib.contextmanager
    def _admitted(self, account: Account, points: int) -> Iterator[None]:
        self.admission.enter(account.id, points)
        try:
            yield
        finally:
            self.admission.leave(account.id, points)

    async def _key(self, account: Account, audience: str, epoch: int) -> KeyPair:
        """The key of the epoch that is asked for, if the account may."""
        if account.audience != audience:
            raise wrong_audience(account.audience)
        served = await self._served.current()
        manifest = served.manifests.get(audience)
        if manifest is None:
            raise not_published(audience)
        if epoch != manifest.epoch and (manifest.next is None or epoch != manifest.next.epoch):
            raise Problem(
                "epoch-changed",
                f"epoch {epoch} of {audience} is not current; the current epoch is {manifest.epoch}",
                "fetch the manifest again",
                epoch=manifest.epoch,
            )
        return served.key(audience, epoch)

    async def _charged(self, asked: Asked, data: bytes) -> tuple[Standing, bytes]:
        """Decode, charge, evaluate: nothing can be wrong with a batch that is charged.

        If no answer is given after the charge, the caller gets it for nothing by sending the same batch
        again. Raises Problem, InvalidElement, OurError (the store), Overloaded.
        """
        charge = self._bill(asked, data)
        blinded = wire.parse_request(data)
        if charge.points <= SMALL:
            standing, evaluation = await self._small.run(SmallBatch(blinded, charge, asked.key))
        else:
            batch = await result_of(self._evaluator.decode(blinded, asked.account.id))
            standing, evaluation = await self._charging.charge(charge), None
        standing = await self._check(asked, charge.points, standing)
        if evaluation is None:
            evaluation = await result_of(self._evaluator.evaluate_decoded(asked.key, batch))
        return standing, wire.make_reply(*evaluation)

    async def _check(self, asked: Asked, points: int, standing: Standing | None) -> Standing:
        """Raise Problem if a charge was not let through."""
        if standing is None:
            raise bad_credential()
        await self._charging.check(points, asked.allowance, standing)
        return standing


def _headers(reply: bytes, standing: Standing, allowance: PointQuota) -> dict[str, str]:
    return {
        "content-length": str(len(reply)),
        "content-type": MEDIA_TYPE,
        "cache-control": "no-store",
        **fields(standing, allowance),
    }


class _Disconnected(Exception):
    """The caller went away in the middle of a body."""


async def _read_batch(head: dict[bytes, bytes], receive: Receive, most: int) -> bytes:
    """The body, if it can be a batch of at most `most` elements; it is never held beyond the limit."""
    media_type = head.get(b"content-type", b"").partition(b";")[0].strip().lower()
    if media_type != MEDIA_TYPE.encode():
        raise Problem("wrong-media-type", f"the body must be {MEDIA_TYPE}", "set Content-Type")
    limit = most * NE
    close = {"connection": "close"}  # the rest of the body is not worth reading
    if int(head.get(b"content-length", b"0")) > limit:
        raise Problem(
            "batch-too-large",
            f"a batch of this account has at most {most} elements",
            "split it",
            headers=close,
            limit=most,
        )
    body, more = bytearray(), True
    try:
        async with asyncio.timeout(BODY_TIMEOUT):
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise _Disconnected
                body += message.get("body", b"")
                more = message.get("more_body", False)
                if len(body) > limit:
                    hint = f"send at most {most} elements"
                    detail = f"the body has more than {limit} octets"
                    raise Problem("body-too-large", detail, hint, headers=close, limit=limit)
    except TimeoutError:
        raise too_slow(BODY_TIMEOUT) from None
    if not body or len(body) % NE:
        raise Problem(
            "bad-batch",
            f"the body is empty or not a multiple of {NE} octets",
            f"send 1 to {most} elements of {NE} octets each",
        )
    return bytes(body)
