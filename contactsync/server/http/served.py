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
from contactsync.server.http.problems import Problem
from contactsync.server.http.threads import Threads
from contactsync.server.keyring import Keyring
from contactsync.server.settings import EDITIONS_SERVED
from contactsync.server.storage.ports import PublicationStore
from contactsync.voprf.server import KeyPair

RETRY_SECONDS = 10.0
"""Time between attempts to read something that could not be read, such as a key that is restored later."""

log = logging.getLogger("contactsync.server")


@dataclass(frozen=True, slots=True)
class Editions:
    """By audience: the current manifest, the data files that may be fetched, the key if it could be read."""

    manifests: Mapping[str, Manifest] = field(default_factory=dict)
    files: Mapping[str, frozenset[str]] = field(default_factory=dict)
    keys: Mapping[str, KeyPair] = field(default_factory=dict)

    def key(self, audience: str) -> KeyPair:
        """The key of the audience's current epoch. Raises Problem if the server could not read it."""
        if audience not in self.keys:
            raise Problem("key-unavailable", f"the key of {audience} cannot be used", "tell the operator")
        return self.keys[audience]


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

    async def current(self) -> Editions:
        """The current editions. If they are damaged, the last good ones continue to be served."""
        if self._is_due(self._publications.stamp()):
            async with self._loading:
                stamp = self._publications.stamp()
                if self._is_due(stamp):
                    try:
                        self._editions = await self._threads.run(self._load)
                        whole = self._editions.keys.keys() == self._editions.manifests.keys()
                    except (ContactSyncError, OSError) as error:
                        whole = False
                        log.error("cannot read what is published: %s", error)  # noqa: TRY400
                    self._retry = math.inf if whole else time.monotonic() + RETRY_SECONDS
                    # Read before the load: if it changes meanwhile, the next request loads again.
                    self._stamp = stamp
        return self._editions

    def _is_due(self, stamp: object) -> bool:
        return stamp != self._stamp or time.monotonic() >= self._retry

    def _load(self) -> Editions:
        manifests: dict[str, Manifest] = {}
        files: dict[str, frozenset[str]] = {}
        keys: dict[str, KeyPair] = {}
        for audience in AUDIENCES:
            history = self._publications.history(audience, EDITIONS_SERVED)
            if not history:
                continue
            current = history[0]
            manifests[audience] = current
            files[audience] = frozenset().union(*(manifest.files() for manifest in history))
            try:
                key = self._keyring.key_pair(audience, current.epoch)
            except ContactSyncError as error:
                log.error("%s", error)  # noqa: TRY400
                continue
            if key.public == current.public_key:
                keys[audience] = key
            else:
                log.error("the key of %s in keys/ is not the published one", audience)
                continue
            log.info("serving %s: epoch %d, edition %d", audience, current.epoch, current.edition)
        return Editions(manifests, files, keys)
