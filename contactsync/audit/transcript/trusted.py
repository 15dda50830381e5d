"""What the received metadata leads to: the client's own walk, from what it trusted, over recorded replies.

The requests have to be those of this walk, in its order, and no others.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from tuf.api.exceptions import DownloadHTTPError
from tuf.ngclient import FetcherInterface

from contactsync.audit.report import AuditReport
from contactsync.audit.transcript.kinds import Named
from contactsync.audit.transcript.wire import HttpExchange
from contactsync.client.transcript import Opening
from contactsync.foundation.errors import BadInput, NetworkError
from contactsync.publication.manifest import Manifest
from contactsync.publication.tuf.follower import Follower, check_root

PINNED = "root.json"
_NAMES = ("metadata", "manifests", "log")
_DEEPEST = 8


class _Recorded(FetcherInterface):
    """Gives the follower what was received, if it asks for what was requested."""

    def __init__(self, exchanges: Sequence[HttpExchange], base_url: str) -> None:
        self._left = deque(one for one in exchanges if not one.repeated)
        self._base_url = base_url
        self.place = ""
        self.unexpected = ""

    @property
    def left(self) -> Sequence[HttpExchange]:
        return list(self._left)

    def _fetch(self, url: str) -> Iterator[bytes]:
        path = url.removeprefix(self._base_url)
        if not self._left:
            raise NetworkError(f"nothing was requested any more where {path} is next")
        one = self._left.popleft()
        if one.target.removeprefix(self._base_url) != path:
            self.unexpected = f"it is for another file than {path}, which is next"
            self.place = one.place
            raise NetworkError(self.unexpected)
        reply = one.reply
        if reply is None or not reply.whole:
            raise NetworkError(f"no whole reply came to {one.place}")
        if reply.status != 200:
            if reply.status in {403, 404} or b"problem:not-published" in reply.body:
                raise DownloadHTTPError(f"{path} is not there", reply.status)
            raise NetworkError(f"{one.place} was answered with status {reply.status}")
        return iter([reply.body])


class Walk:
    """Follows the metadata of a transcript in an empty folder, segment by segment."""

    def __init__(self, opening: Opening, folder: Path) -> None:
        """Raises BadInput, BadSignature if what it says of the client's state is not metadata."""
        self._opening = opening
        self._folder = folder / "followed"
        self.root = opening.trusted.get(PINNED, b"")
        check_root(self.root)
        for name, data in opening.trusted.items():
            path = PurePosixPath(name)
            if name == PINNED:
                continue
            if (
                path.is_absolute()
                or ".." in path.parts
                or path.parts[0] not in _NAMES
                or len(path.parts) > _DEEPEST
            ):
                raise BadInput(f"the transcript names a file of the state that there is not ({name[:60]!a})")
            target = self._folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)

    def follow(self, report: AuditReport, requests: Sequence[Named]) -> Manifest | None:
        """The manifest that these requests lead to; None if there is none, which is then in the report."""
        began = datetime.fromtimestamp(self._opening.began, UTC)
        fetcher = _Recorded([one.exchange for one in requests], self._opening.server)
        follower = Follower(self._folder, self._opening.server, fetcher, self.root, now=began)
        manifest = None
        place = requests[0].exchange.place if requests else "the first request"
        with report.guard("metadata", place):
            manifest = follower.manifest(str(self._opening.options.get("audience")))
        if fetcher.unexpected:
            report.disprove("metadata", fetcher.place, fetcher.unexpected)
            return None
        for one in fetcher.left:
            report.disprove("metadata", one.place, "the metadata does not lead to this file")
        if manifest is not None:
            report.prove("metadata", len(requests))
        return manifest
