"""From which edition on a change is published."""

from __future__ import annotations

from contactsync.foundation.audiences import AUDIENCES
from contactsync.server.settings import Busy, DataFolder
from contactsync.server.storage.publications import PublicationStore


class NextEditions:
    """Tells the first edition that is sure to have what is on the disk now. An object is for one thread.

    A publish takes what the registry holds after it has taken the lock. So if the lock is free, the edition
    after the current one will have it. If it is held, a publish may be at work that began earlier, and it is
    the one after that.
    """

    def __init__(self, folder: DataFolder, publications: PublicationStore) -> None:
        self._folder = folder
        self._publications = publications
        self._stamp: object = None
        self._current: dict[str, tuple[int, int]] = {}

    def next(self) -> dict[str, dict[str, int]]:
        """By audience, `epoch` and `edition`. A later epoch begins with edition 1. Raises OurError."""
        # In this order. The other way round, a publish that began before the change could end in between.
        further = 2 if self._is_publishing() else 1
        stamp = self._publications.stamp()
        if stamp != self._stamp or stamp is None:
            self._current = {audience: self._newest(audience) for audience in AUDIENCES}
            self._stamp = stamp
        return {
            audience: {"epoch": epoch, "edition": edition + further}
            for audience, (epoch, edition) in self._current.items()
        }

    def _newest(self, audience: str) -> tuple[int, int]:
        for manifest in self._publications.history(audience, 1):
            return manifest.epoch, manifest.edition
        return 1, 0

    def _is_publishing(self) -> bool:
        try:
            with self._folder.lock():
                return False
        except Busy:
            return True
