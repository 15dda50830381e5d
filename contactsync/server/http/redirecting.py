"""Sends clients to the object store for whole data files: `serve --redirect-data`.

Only who asks for it is sent there (`Prefer: redirect`, RFC 7240), after its credential was checked, and only
to a file that the last copy has put there. Lists of ranges are answered here: which buckets somebody reads is
nobody else's business, and stores answer one range at most.
"""

from __future__ import annotations

import logging
import re
import time
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from contactsync.foundation.errors import ContactSyncError
from contactsync.server.http.threads import Threads
from contactsync.server.objects.address import check_can_sign
from contactsync.server.objects.files import DATA
from contactsync.server.objects.opening import open_objects
from contactsync.server.objects.record import NAME, StoreRecord
from contactsync.server.settings import DataFolder

URL_SECONDS: Final = 120
"""How long a URL is valid in which a download has to begin."""

_PREFERENCE: Final = re.compile(r"(?:^|,)\s*redirect\s*(?:$|,|;)", re.IGNORECASE)
_ONE_RANGE: Final = re.compile(r"\s*bytes\s*=\s*\d+\s*-\s*\d*\s*")
_QUIET_SECONDS: Final = 60.0

log = logging.getLogger("contactsync.server")


class Redirects:
    """Where data files are besides here."""

    def __init__(self, folder: DataFolder, threads: Threads) -> None:
        """Raises BadInput if the folder names no store, or one that has no signed URLs."""
        store = folder.settings().store
        check_can_sign(store)
        self._objects = open_objects(store)
        self._store = store
        self._path: Path = folder.path
        self._threads = threads
        self._stamp: object = None
        self._there: frozenset[str] = frozenset()
        self._quiet_until = 0.0

    async def response(self, request: Request, sha256: str) -> Response | None:
        """The redirect for a request that may have one; None: answer it here."""
        if request.method != "GET" or not _PREFERENCE.search(request.headers.get("prefer", "")):
            return None
        wanted = request.headers.get("range")
        if wanted is not None and not _ONE_RANGE.fullmatch(wanted):
            return None
        try:
            url = await self._threads.run(self._url, sha256)
        except (ContactSyncError, OSError) as error:
            if time.monotonic() >= self._quiet_until:
                self._quiet_until = time.monotonic() + _QUIET_SECONDS
                log.warning("data files are served here, not by the store: %s", error)
            return None
        if url is None:
            return None
        headers = {"location": url, "cache-control": "no-store", "vary": "Prefer"}
        return Response(status_code=307, headers=headers)

    def _url(self, sha256: str) -> str | None:
        """A signed URL of a file that is in the store. Raises what `Objects` raises."""
        status = (self._path / NAME).stat()
        if (stamp := (status.st_ino, status.st_mtime_ns)) != self._stamp:
            self._there = frozenset(StoreRecord.read(self._path, self._store).data)
            self._stamp = stamp
        return self._objects.signed_url(f"{DATA}/{sha256}", URL_SECONDS) if sha256 in self._there else None
