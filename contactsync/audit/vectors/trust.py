"""What operations on signed metadata and on the history of manifests mean here."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from tuf.api import exceptions
from tuf.ngclient import FetcherInterface

from contactsync.publication.history import Gap, Link, Position, walk
from contactsync.publication.tuf.follower import METADATA_PATH, TARGETS_PATH, Follower

Case = dict[str, Any]

_URL: Final = "https://contacts.invalid"


def walk_back(given: Case) -> Case:
    """A walk from the newest manifest to the one seen last, among those that the server kept."""
    kept = {hashlib.sha256(octets).hexdigest(): octets for octets in given["kept"]}
    seen = None if given["seen"] is None else Link.from_bytes(given["seen"])
    steps = walk(Link.from_bytes(given["newest"]), seen)
    fetched: list[str] = []
    gap = None
    try:
        wanted = next(steps)
        while True:
            fetched.append(wanted)
            wanted = steps.send(kept.get(wanted, b""))
    except StopIteration as end:
        gap = end.value
    return {"fetched": fetched, "gap": _gap(gap)}


def follow(given: Case) -> Case:
    """From a pinned root to the manifest of an audience, once for each state that the server was in."""
    at = datetime.fromtimestamp(given["now"], UTC)
    with tempfile.TemporaryDirectory(prefix="contactsync-audit-") as folder:
        for number, served in enumerate(given["states"], 1):
            last = number == len(given["states"])
            fetcher = _Shelf({one["name"]: one["octets"] for one in served})
            follower = Follower(Path(folder), _URL, fetcher, given["root"], now=at)
            manifest = follower.manifest(given["audience"])
            gap = follower.unchecked(given["audience"])
            if not last:
                follower.told(given["audience"])
        roots = [path.name for path in Path(folder, "metadata", "root_history").glob("*.root.json")]
    return {
        "root_version": max(int(name.partition(".")[0]) for name in roots),
        "epoch": manifest.epoch,
        "edition": manifest.edition,
        "sha256": manifest.sha256(),
        "gap": _gap(gap),
    }


class _Shelf(FetcherInterface):
    """Answers with the files of a vector: `N.targets.json`, or `SHA256.people.json`."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._files = files

    def _fetch(self, url: str) -> Iterator[bytes]:
        path = url.removeprefix(_URL)
        octets = self._files.get(path.removeprefix(METADATA_PATH).removeprefix(TARGETS_PATH))
        if octets is None:
            raise exceptions.DownloadHTTPError("not found", 404)
        return iter([octets])


def _gap(gap: Gap | None) -> list[list[int]] | None:
    return None if gap is None else [_position(gap.since), _position(gap.until)]


def _position(position: Position) -> list[int]:
    return [position.epoch, position.edition]


OPERATIONS: dict[str, Callable[[Case], Case]] = {"walk": walk_back, "follow": follow}
"""By their names in the vector files. Each raises the error that refuses what must be refused."""
