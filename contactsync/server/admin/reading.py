"""What requests name, and threads to look it up: identifiers, and those that cannot be used."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from contactsync.foundation.audiences import AUDIENCES
from contactsync.identifiers import KINDS, Rejected
from contactsync.server.admin.calls import ERRORS_SHOWN, Call
from contactsync.server.admin.problems import AdminProblem
from contactsync.server.http.threads import Threads
from contactsync.server.settings import DataFolder
from contactsync.server.storage.opening import open_members
from contactsync.server.storage.ports import MemberStore

T = TypeVar("T")

READERS: Final = 2
"""Threads that read."""


class Readers:
    """Threads that read, each with the register open for itself."""

    def __init__(self, folder: DataFolder) -> None:
        self._folder = folder
        self._threads = Threads("readers", READERS)
        self._mine = threading.local()
        self._opened: list[MemberStore] = []

    async def run(self, question: Callable[[MemberStore], T]) -> T:
        """Ask the register. Raises what the question raises, OurError, Overloaded."""
        return await self._threads.run(lambda: question(self._register()))

    async def apart(self, work: Callable[[], T]) -> T:
        """Do some work that would hold up the event loop."""
        return await self._threads.run(work)

    async def close(self) -> None:
        """End the threads, and close what they have opened. Nothing may be running."""
        self._threads.close()
        while self._opened:
            self._opened.pop().close()

    def _register(self) -> MemberStore:
        store: MemberStore | None = getattr(self._mine, "store", None)
        if store is None:
            store = self._mine.store = open_members(self._folder)
            self._opened.append(store)
        return store


IN_A_BATCH: Final = 10_000
"""Members of one request."""


def identifier_of(text: str) -> bytes:
    """The identifier that a text stands for. Raises Rejected, in which there is nothing of the text."""
    for kind in KINDS.values():
        prefix = kind.prefix.decode()
        if text.startswith(prefix):
            with contextlib.suppress(Rejected):
                found = kind.normalise(text, None)
                if found == text.encode("utf-8", "replace"):  # escapes in it are those of an identifier
                    return found
            return kind.normalise(text[len(prefix) :], None)
    raise Rejected("not an identifier", "write tel:+ and the digits of a number, or mailto: and an address")


def identifier_in(path: str) -> bytes:
    """The identifier that a path ends in. Raises AdminProblem."""
    try:
        return identifier_of(path)
    except Rejected as error:
        raise AdminProblem("identifier-refused", error.reason, error.hint) from None


def audience_in(call: Call) -> str | None:
    """The audience in a query; None if there is none. Raises AdminProblem."""
    audience = call.query("audience").get("audience")
    if audience is not None and audience not in AUDIENCES:
        words = ", ".join(AUDIENCES)
        raise AdminProblem("not-valid", "there is no such audience", f"the audiences are {words}")
    return audience


def read_identifiers(texts: Sequence[str], at: str) -> tuple[list[bytes], list[dict[str, Any]]]:
    """Those that can be used, each once, and of each of the others where it stood and why. 10 µs each."""
    found: dict[bytes, None] = {}
    refused: list[dict[str, Any]] = []
    for index, text in enumerate(texts):
        try:
            found[identifier_of(text)] = None
        except Rejected as error:
            hint = {"hint": error.hint} if error.hint else {}
            refused.append({"pointer": f"{at}/{index}", "index": index, "detail": error.reason, **hint})
    return list(found), refused


def refusal(refused: Sequence[dict[str, Any]]) -> AdminProblem:
    """A batch of which nothing was done, since it names members who cannot be used."""
    one = len(refused) == 1
    return AdminProblem(
        "identifier-refused",
        f"{len(refused)} identifier{'' if one else 's'} cannot be used, and nothing was changed",
        'see `errors`; with "partial": true the others are taken',
        errors=list(refused[:ERRORS_SHOWN]),
    )
