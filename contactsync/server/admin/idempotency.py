"""Requests that may be sent again: the header Idempotency-Key (draft-ietf-httpapi-idempotency-key-header).

What a request with a key was answered with is kept for 24 hours, in the transaction of the change itself. So
a request whose answer was lost can be sent again, and is not carried out twice, whoever was killed meanwhile.

The key is the caller's own secret. Of it the register holds a hash, which is the name of what is kept; the
request is kept as a hash, and the answer encrypted, both under keys derived from it. So who reads the disk
finds no identifier and no credential there, nor a hash that could be guessed at.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import secrets
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final

from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from contactsync.foundation.errors import OurError
from contactsync.server.admin.calls import AdminAnswer, Call
from contactsync.server.admin.problems import AdminProblem
from contactsync.server.admin.writer import CommitGroup, Done, Fate, Single, Work, Writer, editions_of
from contactsync.server.quota import DAY_MS, Clock
from contactsync.server.storage.answers import KeptAnswer
from contactsync.server.storage.ports import MemberStore

KEPT_MS: Final = DAY_MS
"""For so long the same request gives the same answer."""

_KEY: Final = re.compile(rb'"([ !#-\[\]-~]{16,255})"|([!#-+.-:<-~-]{16,255})')
_NONCE: Final = 12

Change = Callable[[MemberStore], AdminAnswer]
"""Carries a request out in a transaction of the register."""


class IdempotencyKey:
    """The key of one request, and what it opens."""

    __slots__ = ("_secret", "name")

    def __init__(self, text: bytes) -> None:
        self.name = hashlib.blake2b(text, digest_size=16, person=b"cs-answer-name").digest()
        self._secret = hashlib.blake2b(text, digest_size=32, person=b"cs-answer-key").digest()

    @classmethod
    def of(cls, call: Call) -> IdempotencyKey | None:
        """The key of a request; None if it has none. Raises AdminProblem."""
        header = call.headers.get(b"idempotency-key")
        if header is None:
            return None
        found = _KEY.fullmatch(header.strip())
        if found is None:
            raise AdminProblem(
                "bad-idempotency-key",
                "an Idempotency-Key is a string of 16 to 255 printable ASCII characters",
                'send a new UUID for each request, in quotation marks: "6f0c1c9e-…"',
            )
        return cls(found[1] or found[2])

    def fingerprint(self, call: Call) -> bytes:
        """Stands for a request: the same for the same route and body alone."""
        mac = hashlib.blake2b(call.target, digest_size=16, key=self._secret, person=b"cs-request")
        mac.update(b"\0" + call.data)
        return mac.digest()

    def seal(self, answer: AdminAnswer, group: bytes) -> bytes:
        """An answer, to be kept, and the name of the group of its change, if it is one of the register."""
        nonce = secrets.token_bytes(_NONCE)
        data = json.dumps([answer.status, answer.members, answer.location, group.hex()]).encode()
        return nonce + ChaCha20Poly1305(self._secret).encrypt(nonce, data, self.name)

    def open(self, sealed: bytes) -> tuple[AdminAnswer, bytes]:
        """The inverse. The name is of this key, so it fails only if the storage is damaged."""
        nonce, data = sealed[:_NONCE], sealed[_NONCE:]
        # An earlier version kept no group: then the answer has its editions.
        opened = json.loads(ChaCha20Poly1305(self._secret).decrypt(nonce, data, self.name))
        return AdminAnswer(*opened[:3]), bytes.fromhex("".join(opened[3:]))


class _Once:
    """One request with its key: what is kept of it, in the transaction that carries it out."""

    __slots__ = ("_mark", "_now", "_told", "key", "name")

    def __init__(
        self, key: IdempotencyKey, mark: bytes, now: int, told: Callable[[Fate], AdminAnswer] | None = None
    ) -> None:
        self.key = key
        self.name = key.name
        self._mark = mark
        self._now = now
        self._told = told

    def before(self, store: MemberStore, kept: KeptAnswer | None) -> AdminAnswer | None:
        """What was answered before. Raises AdminProblem if that cannot be answered again."""
        if kept is None or kept.at <= self._now - KEPT_MS:
            return None
        if kept.request != self._mark:
            raise AdminProblem(
                "key-reused",
                "this Idempotency-Key came with another request within 24 hours",
                "send a new key with each request",
            )
        if kept.answer is None:
            raise AdminProblem(
                "outcome-unknown",
                "this request was begun, and the process ended before it had an answer",
                "look at what there is, then send what is missing with a new key",
            )
        answer, group = self.key.open(kept.answer)
        editions = editions_of(store, group) if group else None
        # If that was lost, or the answer has none, the caller finds a later edition, which is as true.
        return answer if editions is None else _with(answer, edition=editions)

    def asked(self, store: MemberStore) -> AdminAnswer | None:
        """The same, for a change that is not one of many."""
        return self.before(store, store.answers().find([self.name]).get(self.name))

    def after(self, fate: Fate, serial: int, group: CommitGroup) -> tuple[AdminAnswer, KeptAnswer]:
        """The answer to a single change, and what is to be kept of it."""
        assert self._told is not None
        answer = _with(self._told(fate), serial=serial)
        return answer, self.kept(answer, group.name)

    def keep(self, store: MemberStore, answer: AdminAnswer, group: CommitGroup) -> AdminAnswer:
        """Keep the answer to a change of the register, with its serial."""
        answer = _with(answer, serial=store.serial())
        store.answers().keep({self.name: self.kept(answer, group.name)})
        return answer

    def kept(self, answer: AdminAnswer | None, group: bytes = b"") -> KeptAnswer:
        """What a store keeps; None: it is not known yet what came of it."""
        sealed = None if answer is None else self.key.seal(answer, group)
        return KeptAnswer(self._mark, sealed, self._now)


class Repeats:
    """Carries out each request once."""

    def __init__(self, writer: Writer, clock: Clock) -> None:
        self._writer = writer
        self._clock = clock
        self._running: set[bytes] = set()

    async def change(self, call: Call, change: Change) -> AdminAnswer:
        """Carry out a request that changes the register; the answer names the serial and the editions.

        The body must have been read. Raises what the change raises, OurError, Overloaded.
        """
        key = IdempotencyKey.of(call)
        if key is None:
            return finished(await self._writer.write(change))
        once = _Once(key, key.fingerprint(call), self._clock())

        def keyed(store: MemberStore) -> AdminAnswer:
            return once.asked(store) or once.keep(store, change(store), self._writer.group)

        return await self._carry_out(once, keyed)

    async def single(self, call: Call, single: Single, told: Callable[[Fate], AdminAnswer]) -> AdminAnswer:
        """The same for a single change, which is grouped with its like; `told` makes the answer."""
        key = IdempotencyKey.of(call)
        if key is None:
            done = await self._writer.write(single)
            return finished(Done(told(done.result), done.serial, done.editions))
        once = _Once(key, key.fingerprint(call), self._clock(), told)
        guarded = Single(single.put, single.kind, single.key, single.audience, once)
        return await self._carry_out(once, guarded)

    async def _carry_out(self, once: _Once, change: Single | Work) -> AdminAnswer:
        with self._alone(once.key):
            done = await self._writer.write(change)
            return finished(done)

    async def elsewhere(self, call: Call, work: Callable[[], Awaitable[AdminAnswer]]) -> AdminAnswer:
        """Carry out a request that changes something else than the register.

        If the process is killed meanwhile, it is not known what came of it: the same request is refused then.
        """
        key = IdempotencyKey.of(call)
        if key is None:
            return await work()
        once = _Once(key, key.fingerprint(call), self._clock())

        def begin(store: MemberStore) -> AdminAnswer | None:
            found = once.asked(store)
            if found is None:
                store.answers().keep({once.name: once.kept(None)})
            return found

        with self._alone(key):
            begun: AdminAnswer | None = (await self._writer.write(begin)).result
            if begun is not None:
                return begun
            try:
                answer = await work()
            except (AdminProblem, OurError):  # nothing was changed
                await self._writer.write(lambda store: store.answers().drop(key.name))
                raise
            await self._writer.write(lambda store: store.answers().keep({once.name: once.kept(answer)}))
            return answer

    async def sweep(self) -> None:
        """Forget what is older than a day. Raises OurError, Overloaded."""
        await self._writer.write(lambda store: store.answers().sweep(self._clock() - KEPT_MS))

    @contextlib.contextmanager
    def _alone(self, key: IdempotencyKey) -> Iterator[None]:
        if key.name in self._running:
            raise AdminProblem(
                "request-in-progress",
                "a request with this Idempotency-Key is being worked on",
                "wait, and send it again",
                headers={"retry-after": "1"},
            )
        self._running.add(key.name)
        try:
            yield
        finally:
            self._running.discard(key.name)


def finished(done: Done) -> AdminAnswer:
    """The answer to a change that is on the disk, whose result is an AdminAnswer; as it is if it was kept."""
    answer: AdminAnswer = done.result
    members = {"serial": done.serial, "edition": done.editions, **(answer.members or {})}
    return answer._replace(members=members)


def _with(answer: AdminAnswer, **members: Any) -> AdminAnswer:
    return answer._replace(members={**(answer.members or {}), **members})
