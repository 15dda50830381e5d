"""What is published now, as seen by the running server."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from contactsync.foundation.audiences import AUDIENCES
from contactsync.foundation.errors import ContactSyncError
from contactsync.publication.manifest import Manifest
from contactsync.server.http.fresh import Fresh
from contactsync.server.http.problems import Problem
from contactsync.server.http.threads import Threads
from contactsync.server.keyring import Keyring
from contactsync.server.settings import EDITIONS_SERVED
from contactsync.server.storage.publications import PublicationStore
from contactsync.voprf.server import KeyPair

RETRY_SECONDS = 10.0
"""Time between attempts to read something that could not be read, such as a key that is restored later."""

log = logging.getLogger("contactsync.server")


@dataclass(frozen=True, slots=True)
class Editions:
    """By audience: the current manifest, and the data files that may be fetched.

    `keys` are those that could be read, by audience and epoch: of the current one, and of the one announced.
    """

    manifests: Mapping[str, Manifest] = field(default_factory=dict)
    files: Mapping[str, frozenset[str]] = field(default_factory=dict)
    keys: Mapping[tuple[str, int], KeyPair] = field(default_factory=dict)

    def key(self, audience: str, epoch: int) -> KeyPair:
        """The key of an epoch of `epochs`. Raises Problem if the server could not read it."""
        if (audience, epoch) not in self.keys:
            raise Problem("key-unavailable", f"the key of {audience} cannot be used", "tell the operator")
        return self.keys[audience, epoch]

    def epochs(self) -> dict[tuple[str, int], bytes]:
        """The public keys of the epochs that are evaluated for, by audience and epoch."""
        return {
            (audience, one.epoch): one.public_key
            for audience, manifest in self.manifests.items()
            for one in (manifest, manifest.next)
            if one is not None
        }


class Served:
    """Follows the publications. Unless something was published, `current` only checks their stamp."""

    def __init__(self, publications: PublicationStore, keyring: Keyring, threads: Threads) -> None:
        self._publications = publications
        self._threads = threads
        self._keyring = keyring
        self._stamp: object = None
        self._retry = math.inf
        self._editions = Editions()
        self._loading = asyncio.Lock()
        self._look = Fresh(publications.stamp)

    async def current(self) -> Editions:
        """The current editions. If they are damaged, the last good ones continue to be served."""
        if self._is_due(self._look()):
            async with self._loading:
                stamp = self._publications.stamp()
                if self._is_due(stamp):
                    try:
                        self._editions = await self._threads.run(self._load)
                        whole = self._editions.keys.keys() == self._editions.epochs().keys()
                    except (ContactSyncError, OSError) as error:
                        whole = False
                        log.error("cannot read what is published: %s", error)  # noqa: TRY400
                    self._retry = math.inf if whole else time.monotonic() + RETRY_SECONDS
                    # Read before the load: if it changes meanwhile, the next request loads again.
                    self._stamp = stamp
        return self._editions

    def recall(self) -> Editions | None:
        """The same if they have been read; None says nothing."""
        return None if self._is_due(self._look()) else self._editions

    def _is_due(self, stamp: object) -> bool:
        return stamp != self._stamp or time.monotonic() >= self._retry

    def _load(self) -> Editions:
        manifests: dict[str, Manifest] = {}
        files: dict[str, frozenset[str]] = {}
        for audience in AUDIENCES:
            history = self._publications.history(audience, EDITIONS_SERVED)
            if not history:
                continue
            manifests[audience] = history[0]
            files[audience] = frozenset().union(*(manifest.files() for manifest in history))
        keys: dict[tuple[str, int], KeyPair] = {}
        for (audience, epoch), public_key in Editions(manifests).epochs().items():
            try:
                key = self._keyring.key_pair(audience, epoch)
            except ContactSyncError as error:
                log.error("%s", error)  # noqa: TRY400
                continue
            if key.public != public_key:
                log.error("the key of %s in keys/ is not the published one", audience)
                continue
            keys[audience, epoch] = key
            current = manifests[audience]
            if epoch == current.epoch:
                log.info("serving %s: epoch %d, edition %d", audience, epoch, current.edition)
            elif current.next is not None:
                end = f"{current.next.end:%Y-%m-%d %H:%M} UTC"
                log.info("serving %s: epoch %d beside it, until %s", audience, epoch, end)
        return Editions(manifests, files, keys)
