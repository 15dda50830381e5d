"""Follows the publications, so that look-ups are answered from the rows of the newest editions."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from contactsync.foundation.audiences import AUDIENCES
from contactsync.foundation.errors import ContactSyncError
from contactsync.server.admission import Overloaded
from contactsync.server.http.threads import Threads
from contactsync.server.lookups import LookupRoom, OpenRows
from contactsync.server.row_files import in_service, open_rows, with_rows
from contactsync.server.row_sets import RowSet, RowSets
from contactsync.server.settings import EDITIONS_SERVED, DataFolder
from contactsync.server.storage.publications import PublicationStore

LOOK_SECONDS: Final = 0.5
"""Between looks at whether something was published: a look is one at the stamp."""

RETRY_SECONDS: Final = 30.0
"""Between attempts to open what could not be opened, such as rows that are made anew after a restore."""

START_SECONDS: Final = 20.0
"""The start waits so long for rows to be verified. Then all else is answered without them."""

log = logging.getLogger("contactsync.server")


def published_rows(folder: DataFolder, publications: PublicationStore) -> Sequence[RowSet]:
    """The rows that are to be served of what is published now: of the last editions that have some.

    Not those of an edition that was taken out of service: its level is gone, and its manifest is not.
    """
    found: dict[tuple[str, bytes], RowSet] = {}
    for audience in AUDIENCES:
        served = publications.history(audience, EDITIONS_SERVED)
        held = (one for one in served if one.rows and in_service(folder.data, one.rows.root))
        for manifest in with_rows(held):
            if (rows := manifest.rows) is not None:
                opened = partial(open_rows, folder.rows, manifest, folder.public)
                layout = rows.table(manifest.partitions).layout
                found[audience, rows.root] = RowSet(audience, rows.root, layout, opened)
    return list(found.values())


class RowsServed:
    """The room, and the rows that it has. `wanted` reads what is published, in a thread.

    `has` says whether an edition of a root is still in service. That may end without another `stamp`.
    """

    def __init__(
        self,
        room: LookupRoom,
        wanted: Callable[[], Sequence[RowSet]],
        stamp: Callable[[], object],
        has: Callable[[bytes], bool] = lambda _root: True,
    ) -> None:
        self.room = room
        self._wanted = wanted
        self._stamp = stamp
        self._has = has
        self._sets = RowSets()
        self._threads = Threads("rows", 1)
        self._task: asyncio.Task[None] | None = None
        self._first = asyncio.Event()
        self._whole = False

    def find(self, audience: str, root: bytes) -> OpenRows | None:
        """The rows of a root, if they are verified and served."""
        return self._sets.find(audience, root)

    def tables(self) -> int:
        """How many tables of rows are served."""
        return len(self._sets)

    async def begin(self) -> None:
        """Follow from now on. Returns when the first rows are served, or after some time."""
        self._task = asyncio.create_task(self._follow())
        try:
            async with asyncio.timeout(START_SECONDS):
                await self._first.wait()
        except TimeoutError:
            log.warning("rows are still being verified: until then look-ups find no rows here")
        else:
            if not len(self._sets) and self._whole:
                log.warning("no edition has rows that could be served: see `publish --private-lookup`")
            elif not self._whole:  # what could not be opened was said by then
                log.warning("rows could not be opened: another attempt follows in %g s", RETRY_SECONDS)

    def close(self) -> None:
        """Follow no more, and answer nobody who waits."""
        if self._task is not None:
            self._task.cancel()
        self._threads.close()
        self.room.close()

    async def _follow(self) -> None:
        served = stamp = object()
        while True:
            with contextlib.suppress(OSError):  # the next look may succeed
                stamp = self._look()
            if stamp != served or not self._first.is_set():
                # Read before the load: if it changes meanwhile, the next turn loads again.
                self._whole = await self._load()
                if self._whole:
                    served = stamp
                self._first.set()
            await asyncio.sleep(LOOK_SECONDS if stamp == served else RETRY_SECONDS)

    def _look(self) -> object:
        return self._stamp(), frozenset(root for root in self._sets.roots() if not self._has(root))

    async def _load(self) -> bool:
        try:
            return await self._threads.run(self._take_up)
        except (ContactSyncError, OSError, Overloaded) as error:
            log.error("the rows of what is published cannot be read: %s", error)  # noqa: TRY400
        except Exception as error:  # noqa: BLE001 - a fault must not end what follows the publications
            place = traceback.extract_tb(error.__traceback__)[-1]
            log.error("%s in %s, line %d", type(error).__name__, place.filename, place.lineno)  # noqa: TRY400
        return False

    def _take_up(self) -> bool:
        return self._sets.take_up(self._wanted())
