"""The mirror's own work: it looks at the publication again and again, and keeps its newest editions served.

Whatever goes wrong in a look, what was served before still is: a look changes nothing of it until all of a
new edition is verified and on the disk.
"""

from __future__ import annotations

import logging
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Final

from contactsync.client.patience import Patience
from contactsync.client.state import ServerState
from contactsync.client.transport import Transport
from contactsync.foundation.errors import CallerError, ContactSyncError, OurError, PeerError
from contactsync.mirror.editions import (
    MirroredEdition,
    NoRows,
    RowsDiffer,
    make_edition,
    open_edition,
    rows_of,
)
from contactsync.mirror.folder import MirrorFolder
from contactsync.mirror.following import PublicationFollower
from contactsync.publication.manifest import Manifest
from contactsync.publication.rows import sources_of
from contactsync.server.row_files import ROWS_SERVED

RETRY_SECONDS: Final = 60.0
"""After a look that failed, the next one comes this soon."""

OUR_FAULT: Final = "the mirror's own machine has a fault; the log there says which"

log = logging.getLogger("contactsync.mirror")

Connect = Callable[[Patience], Transport]
"""A transport to the operator's server, with the credential. Raises ContactSyncError."""


class MirrorKeeper:
    """Keeps the editions of a mirror. The caller holds the lock of `server`.

    `editions`, newest first, is replaced as a whole and never changed, so any thread may read it; so is
    `problem`, what the last look met with (None: nothing), as strangers may read it.
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
        self._said = ""

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
            try:
                if not self.editions or self.editions[0].manifest != manifest:
                    self._serve(follower, manifest)
            finally:  # whatever the new edition is, those that were taken out are out
                self._take_out(follower, manifest)
            follower.show()
            self._folder.sweep([one.manifest for one in self.editions], follower.history(manifest))
        finally:
            transport.close()

    def _serve(self, follower: PublicationFollower, manifest: Manifest) -> None:
        rows_of(manifest)
        sha256, before = manifest.sha256(), self.editions
        if self._refused is not None and self._refused[0] == sha256:
            raise self._refused[1]
        history = follower.history(manifest)
        # First, so that there is room: what a look that failed has left.
        held = [one.manifest for one in before]
        self._folder.sweep([manifest, *held], history)
        follower.bring(manifest, held[0] if held else None)
        try:
            new = self._made(manifest)
        except RowsDiffer as error:
            self._refused = sha256, error  # so that they are not made again and again
            self._folder.sweep(held, history)
            raise
        editions = (new, *before)[:ROWS_SERVED]
        self._folder.keep([one.manifest for one in editions])
        self.editions = editions
        log.info("serving %s", _name(manifest))

    def _take_out(self, follower: PublicationFollower, newest: Manifest) -> None:
        """Drop an edition before the newest whose level the operator has taken out of service.

        (`publish --expunge`.) Somebody has left who may be in its rows.
        """
        earlier = [one for one in self.editions if one.manifest != newest]
        gone = [one for one in earlier if not follower.is_served(one.stated.level)]
        if not gone:
            return
        self.editions = tuple(one for one in self.editions if one not in gone)
        manifests = [one.manifest for one in self.editions]
        self._folder.keep(manifests)
        self._folder.sweep(manifests, follower.history(newest))
        log.info("the operator has taken an earlier edition out of service: it is removed")

    def _made(self, manifest: Manifest) -> MirroredEdition:
        stated = rows_of(manifest)
        for one in self.editions:
            # What has changed is in no row: labels, if the rows have none.
            if one.stated == stated and _sources(one.manifest) == _sources(manifest):
                return MirroredEdition(manifest, stated, one.rows)
        return make_edition(self._folder, manifest)

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
            self._complain(error)
            return min(every, RETRY_SECONDS)
        except Exception as error:  # noqa: BLE001 - a look that nobody foresaw must not be the last one
            place = traceback.extract_tb(error.__traceback__)[-1]
            said = f"{type(error).__name__} in {place.filename}, line {place.lineno}"
            self._say(said, OUR_FAULT, logging.ERROR)
            return min(every, RETRY_SECONDS)
        if self.problem is not None:
            log.warning("the publication is followed again")
            self.problem, self._said = None, ""
        return every

    def _complain(self, error: ContactSyncError | OSError) -> None:
        if isinstance(error, OSError):
            error = of_disk(error, self._folder.path)
        said = f"{error}: {error.hint}" if error.hint else str(error)
        ours = isinstance(error, OurError | CallerError) and not isinstance(error, NoRows)
        grave = ours or isinstance(error, PeerError)
        # What is said of this machine may name its files.
        self._say(said, OUR_FAULT if ours else said, logging.ERROR if grave else logging.WARNING)

    def _say(self, said: str, shown: str, level: int) -> None:
        if self._stopped.is_set():  # what was cut short by that is no fault
            return
        if said != self._said:
            log.log(
                level, "the publication cannot be followed, and what was served before still is: %s", said
            )
        self._said, self.problem = said, shown


def _sources(manifest: Manifest) -> object:
    return sources_of(manifest.partitions, labelled=manifest.has_labelled_rows)


def of_disk(error: OSError, folder: Path) -> OurError:
    """What the system says of the mirror's folder, as an error of ours."""
    return OurError(
        f"{error.filename or folder}: {error.strerror or error}",
        hint="check the free space and the permissions",
    )


def _name(manifest: Manifest) -> str:
    return f"{manifest.audience}: epoch {manifest.epoch}, edition {manifest.edition}"
