"""The data files of one run: fetched, counted, and checked before anything is asked."""

from __future__ import annotations

from collections.abc import Iterable

from contactsync.client.cache import Cache
from contactsync.client.core.matching import inspect, retrace
from contactsync.client.core.planner import Plan
from contactsync.client.core.row_lookups import check_rows
from contactsync.client.download import fetch_file, octets_held
from contactsync.client.files import FolderFiles
from contactsync.client.state import ServerState
from contactsync.client.transport import Transport
from contactsync.foundation.errors import BadDirectory
from contactsync.foundation.progress import DOWNLOADING, Progress
from contactsync.publication.manifest import DataFile, Manifest


class FileFetcher:
    """Brings the data files of a run to the disk. `downloaded` counts octets, those there before included."""

    def __init__(
        self, server: ServerState, cache: Cache, transport: Transport, audience: str, progress: Progress
    ) -> None:
        self._folder = server.data
        self._cache = cache
        self._transport = transport
        self._audience = audience
        self._progress = progress
        self.downloaded = 0

    def fetch(self, files: Iterable[DataFile]) -> None:
        """Fetch these files, unless they are on the disk."""
        files = list(files)
        total = sum(file.length for file in files)
        done = sum(octets_held(self._folder, file) for file in files)

        def advance(count: int) -> None:
            nonlocal done
            done += count
            self._progress(DOWNLOADING, done, total)

        if files:
            advance(0)
        for file in files:
            fetch_file(self._transport, self._folder, file, advance)
        self.downloaded += total

    def fetch_plan(self, files: Iterable[DataFile], plan: Plan, manifest: Manifest) -> None:
        """Fetch the files of a plan for a manifest, and check them before anything is asked.

        Raises BadDirectory: what is damaged is fetched whole next time.
        """
        self.fetch(files)
        held = FolderFiles(self._folder)
        if plan.level is not None:
            check_rows(manifest, held.level(plan.level))
        for part in plan.parts:
            try:
                if part.fetch:
                    inspect(held, part)
                else:  # the manifest may be another one: that must not be found by who is in the book alone
                    retrace(held, part)
            except BadDirectory:
                self._cache.drop_holdings(self._audience, part.partition.name)
                raise
