"""`POST /v1/evaluate/AUDIENCE/EPOCH`, straight on ASGI: the request that a server sees most.

Routing, request and response objects of a framework cost more than the cryptography of a small batch.
"""

from __future__ import annotations

import asyncio
import re
from typing import Final

from starlette.types import Receive, Scope, Send

from contactsync.foundation.audiences import AUDIENCES
from contactsync.foundation.errors import InvalidElement, OurError
from contactsync.server.company import SMALL
from contactsync.server.evaluation import Evaluator, Overloaded
from contactsync.server.http.callers import Callers, bad_credential
from contactsync.server.http.charging import Charging, StoreGuard, fields
from contactsync.server.http.data import MEDIA_TYPE
from contactsync.server.http.problems import Problem, fault, not_published, overload
from contactsync.server.http.served import Served
from contactsync.server.http.together import SmallBatch, SmallBatches
from contactsync.server.quota import Standing
from contactsync.server.storage.ports import Account, Charge
from contactsync.voprf import wire
from contactsync.voprf.server import KeyPair
from contactsync.voprf.suite import NE, Rows

BODY_TIMEOUT: Final = 30.0
"""Seconds for a whole batch to arrive."""

PATH: Final = re.compile(r"/v1/evaluate/([^/]+)/([^/]+)")
_EPOCH = re.compile(r"[1-9][0-9]{0,15}")  # epochs count from 1


class Evaluating:
    """An ASGI application for requests whose path is `PATH` and whose method is POST."""

    def __init__(
        self, callers: Callers, charging: Charging, served: Served, evaluator: Evaluator, guard: StoreGuard
    ) -> None:
        self._callers = callers
        self._charging = charging
        self._served = served
        self._evaluator = evaluator
        self._guard = guard
        self._small = SmallBatches(evaluator, charging)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. What is unforeseen is answered with 500, and raised."""
        try:
            body, headers = await self._answer(scope, receive)
        except Problem as problem:
            await problem.response()(scope, receive, send)
        except Overloaded:
            await overload().response()(scope, receive, send)
        except OurError as error:
            await self._guard.problem(error).response()(scope, receive, send)
        except _Disconnected:
            pass
        except Exception:
            await fault().response()(scope, receive, send)
            raise
        else:
            raw = [(b"content-length", b"%d" % len(body)), (b"content-type", MEDIA_TYPE.encode()), *headers]
            await send({"type": "http.response.start", "status": 200, "headers": raw})
            await send({"type": "http.response.body", "body": body})

    async def _answer(self, scope: Scope, receive: Receive) -> tuple[bytes, list[tuple[bytes, bytes]]]:
        """Evaluated elements and their proof, and the headers that go with them.

        Raises Problem, Overloaded, OurError (the store).
        """
        match = PATH.fullmatch(scope["path"])
        audience, epoch = match.groups() if match else ("", "")
        if audience not in AUDIENCES or not _EPOCH.fullmatch(epoch):
            raise Problem("not-found", "there is no such audience or epoch")
        head = dict(reversed(scope["headers"]))  # the first of a name counts
        account = await self._callers.authenticate(head.get(b"authorization", b"").decode("latin-1"))
        key = await self._key(account, audience, int(epoch))
        allowance = self._charging.allowance(account)
        data = await _read_batch(head, receive, allowance.largest_batch)
        charge = self._charging.bill(account, len(data) // NE, int(epoch), data)
        try:
            standing, reply = await self._charged(charge, key, wire.parse_request(data))
        except InvalidElement as error:
            raise Problem("invalid-element", str(error), error.hint, index=error.index) from None
        said = fields(standing, allowance)
        headers = [(name.encode(), value.encode()) for name, value in said.items()]
        return reply, [(b"cache-control", b"no-store"), *headers]

    async def _key(self, account: Account, audience: str, epoch: int) -> KeyPair:
        """The key of the epoch that is asked for, if the account may."""
        if account.audience != audience:
            raise Problem(
                "wrong-audience",
                f"this credential is for the audience {account.audience}",
                "ask the operator for a credential for the other audience",
            )
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

    async def _charged(self, charge: Charge, key: KeyPair, blinded: Rows) -> tuple[Standing, bytes]:
        """Decode, charge, evaluate: nothing can be wrong with a batch that is charged.

        If no answer is given after the charge, the caller gets it for nothing by sending the same batch
        again. Raises Problem, InvalidElement, OurError (the store), Overloaded.
        """
        if charge.points <= SMALL:
            standing, evaluation = await self._small.run(SmallBatch(blinded, charge, key))
        else:
            batch = await asyncio.wrap_future(self._evaluator.decode(blinded))
            standing, evaluation = await self._charging.charge(charge), None
        if standing is None:
            raise bad_credential()
        await self._charging.check(charge, standing)
        if evaluation is None:
            evaluation = await asyncio.wrap_future(self._evaluator.evaluate_decoded(key, batch))
        return standing, wire.make_reply(*evaluation)


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
        detail = f"the body did not arrive within {BODY_TIMEOUT:.0f} seconds"
        raise Problem("too-slow", detail, "try again", headers=close) from None
    if not body or len(body) % NE:
        raise Problem(
            "bad-batch",
            f"the body is empty or not a multiple of {NE} octets",
            f"send 1 to {most} elements of {NE} octets each",
        )
    return bytes(body)
