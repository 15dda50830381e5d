"""Which rows look-ups are answered from: those of the newest editions, each verified before it serves.

It knows no publication: what should be served is handed in, by the main server or by a second one.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from contactsync.foundation.errors import ContactSyncError
from contactsync.lookup.answer import RowLayout
from contactsync.server.lookups import OpenRows

log = logging.getLogger("contactsync.server")


@dataclass(frozen=True, slots=True)
class RowSet:
    """Rows that are to be served. `open` maps and verifies them: the blocks of their layout.

    It may take long, and raises ContactSyncError or OSError.
    """

    audience: str
    root: bytes
    layout: RowLayout
    open: Callable[[], NDArray[np.uint8]] = field(repr=False)


_KEPT_WITHOUT_THE_NEWEST: Final = 2
"""Rows of earlier editions, for each audience, while those of the newest one cannot be served."""


class RowSets:
    """The rows that are open. `find` is for any thread, `take_up` for one at a time."""

    def __init__(self) -> None:
        self._open: Mapping[tuple[str, bytes], OpenRows] = {}
        self._said: set[str] = set()

    def __len__(self) -> int:
        return len(self._open)

    def roots(self) -> list[bytes]:
        """The roots of all rows that are served."""
        return [root for _, root in self._open]

    def find(self, audience: str, root: bytes) -> OpenRows | None:
        """The rows of a root, if they are served."""
        return self._open.get((audience, root))

    def take_up(self, wanted: Sequence[RowSet]) -> bool:
        """Serve these, each from when it is verified on. Whether all could be.

        The newest of an audience comes first. Others of it are let go as soon as that one is served. Until
        then the last two are kept. What runs over them goes on. What cannot be served is logged, once for
        each reason.
        """
        whole = True
        for one in wanted:
            which = one.audience, one.root
            if which in self._open:
                continue
            begun = time.monotonic()
            try:
                rows = OpenRows(one.open(), one.layout)
            except (ContactSyncError, OSError) as error:
                whole = False
                self._complain(f"look-ups of {one.audience}: rows of an edition are not served: {error}")
                continue
            self._open = {**self._open, which: rows}
            seconds = time.monotonic() - begun
            log.info(
                "look-ups of %s: %d rows of root %s verified in %.1f s",
                one.audience,
                rows.rows,
                one.root.hex()[:16],
                seconds,
            )
        newest = {one.audience: one.root for one in reversed(wanted)}
        kept = {(one.audience, one.root) for one in wanted}
        for audience, root in newest.items():
            if (audience, root) not in self._open:
                others = [which for which in self._open if which[0] == audience and which not in kept]
                kept.update(others[-_KEPT_WITHOUT_THE_NEWEST:])
        self._open = {which: rows for which, rows in self._open.items() if which in kept}
        if whole:
            self._said.clear()
        return whole

    def _complain(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            log.error("%s", text)
