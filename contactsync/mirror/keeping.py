"""The mirror's own work: it looks at the publication again and again, and keeps its newest editions served.

Whatever goes wrong in a look, what was served before still is: a look changes nothing of it until all of a
new edition is verified and on the disk.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Final

from contactsync.client.patience import Patience
from contactsync.client.state import ServerState
from contactsync.client.transport import Transport
from contactsync.foundation.errors import ContactSyncError, OurError, PeerError
from contactsync.mirror.editions import (
    MirroredEdition,
    RowsDiffer,
    bases_of,
    make_edition,
    names_of,
    open_edition,
    rows_of,
)
from contactsync.mirror.folder import EDITIONS, MirrorFolder
from contactsync.mirror.following import PublicationFollower
from contactsync.publication.manifest import Manifest

RETRY_SECONDS: Final = 60.0
"""After a look that failed, the next one comes this soon."""

log = logging.getLogger("contactsync.mirror")

Connect = Callable[[Patience], Transport]
"""A transport to the operator's server, with the credential. Raises ContactSyncError."""


class MirrorKeeper:
    """Keeps the editions of a mirror. The caller holds the lock of `server`.

    `editions`, newest first, is replaced as a whole and never changed, so any thread may read it; so is
    `problem`, what the last look met with (None: nothing).
    """

    def __init__(self, folder: MirrorFolder, server: ServerState, connect: Connect) -> None:
        self._folder = folder
        self._server = server
        self._connect = connect
        self._patience = Patience()
        self._stopped = threading.Event()
        self._refused: tuple[str, RowsDiffer] | None = None
        self.editions: tuple[MirroredEdition, ...] = ()
        self.problem: str | None = None

    def load(self) -> None:
        """Open what was served last: all of its rows are verified anew. Raises OurError, OSError."""
        self._folder.prepare()
        found = []
        for manifest in self._folder.kept():
            try:
                found.append(open_edition(self._folder, manifest))
            except (ContactSyncError, OSError) as error:
                log.warning("%s cannot be served from the disk: %s", _name(manifest), error)
        self.editions = tuple(found)

    def look(self) -> None:
        """Look at the publication once, and serve its newest edition. Raises ContactSyncError, OSError."""
        self._folder.prepare()
        self._patience = Patience()
        if self._stopped.is_set():
            self._patience.stop()
        transport = self._connect(self._patience)
        try:
            follower = PublicationFollower(self._folder, self._server, transport)
            manifest = follower.manifest()
            if not self.editions or self.editions[0].manifest != manifest:
                self._serve(follower, manifest)
            follower.show()
            self._take_out(follower)
        finally:
            transport.close()

    def _serve(self, follower: PublicationFollower, manifest: Manifest) -> None:
        rows_of(manifest)
        sha256, before = manifest.sha256(), self.editions
        if self._refused is not None and self._refused[0] == sha256:
            raise self._refused[1]
        history = follower.history(manifest)
        # First, so that there is room: what a look that failed has left.
        self._sweep([manifest, *(one.manifest for one in before)], history)
        follower.bring(manifest, before[0].manifest if before else None)
        try:
            new = self._made(manifest)
        except RowsDiffer as error:
            self._refused = sha256, error  # so that they are not made again and again
            raise
        editions = (new, *before)[:EDITIONS]
        self._folder.keep([one.manifest for one in editions])
        self.editions = editions
        log.info("serving %s", _name(manifest))
        self._sweep([one.manifest for one in editions], history)

    def _take_out(self, follower: PublicationFollower) -> None:
        """Drop an earlier edition whose level the operator has taken out of service (`publish --expunge`).

        Somebody has left who may be in its rows.
        """
        gone = [one for one in self.editions[1:] if not follower.is_served(one.stated.level)]
        if not gone:
            return
        self.editions = tuple(one for one in self.editions if one not in gone)
        manifests = [one.manifest for one in self.editions]
        self._folder.keep(manifests)
        self._sweep(manifests, follower.history(manifests[0]))
        log.info("the operator has taken an earlier edition out of service: it is removed")

    def _made(self, manifest: Manifest) -> MirroredEdition:
        stated = rows_of(manifest)
        for one in self.editions:
            if one.stated == stated and bases_of(one.manifest) == bases_of(manifest):  # labels have changed
                return MirroredEdition(manifest, stated, one.rows)
        return make_edition(self._folder, manifest)

    def _sweep(self, manifests: list[Manifest], history: list[str]) -> None:
        data, rows = names_of(manifests)
        self._folder.sweep(data, rows, {*history, *(one.sha256() for one in manifests)})

    def run(self, every: float) -> None:
        """Look every so many seconds, until `stop`. Faults are said once, and when they are over."""
        pause = self._attempt(every)
        while not self._stopped.wait(pause):
            pause = self._attempt(every)

    def stop(self) -> None:
        """End `run`, from another thread, at the next request that it makes or piece that it reads."""
        self._stopped.set()
        self._patience.stop()

    def _attempt(self, every: float) -> float:
        try:
            self.look()
        except (ContactSyncError, OSError) as error:
            if not self._stopped.is_set():
                self._complain(error)
            return min(every, RETRY_SECONDS)
        if self.problem is not None:
            log.warning("the publication is followed again")
            self.problem = None
        return every

    def _complain(self, error: ContactSyncError | OSError) -> None:
        if isinstance(error, OSError):
            error = OurError(
                f"{error.filename or self._folder.path}: {error.strerror or error}",
                hint="check the free space and the permissions",
            )
        said = f"{error}: {error.hint}" if error.hint else str(error)
        if said != self.problem:
            grave = isinstance(error, PeerError | OurError)
            log.log(
                logging.ERROR if grave else logging.WARNING,
                "the publication cannot be followed, and what was served before still is: %s",
                said,
            )
        self.problem = said


def _name(manifest: Manifest) -> str:
    return f"{manifest.audience}: epoch {manifest.epoch}, edition {manifest.edition}"
