"""The whole log of a publication, read and rebuilt: each leaf, the root hash, and what each leaf is of.

Clients look at one leaf at a time. Whoever reads all of them sees what they cannot: an edition that has two
leaves, one that is logged and not served, roots that nobody was led to.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Final

from tuf.api.exceptions import DownloadError, DownloadHTTPError
from tuf.ngclient import FetcherInterface

from contactsync.audit.report import AuditReport
from contactsync.foundation.errors import BadReply, BadSignature, ContactSyncError
from contactsync.publication.history import Position
from contactsync.publication.log.checkpoint import Checkpoint
from contactsync.publication.log.entries import Logged, LoggedManifest, LoggedRoot, read_entry
from contactsync.publication.log.merkle import leaf_hash, root_of
from contactsync.publication.log.notes import MAX_NOTE
from contactsync.publication.log.policy import LogPolicy
from contactsync.publication.log.tiles import MAX_BUNDLE, WIDTH, Tile, read_bundle, tiles_of
from contactsync.publication.logged import (
    CHECKPOINT,
    LOG_PATH,
    MAX_INDEX_BYTES,
    leaf_path,
    policy_in,
    root_path,
)

LOG: Final = "log"
_MOST_ENTRIES: Final = 1 << 22
"""Longer logs are not read whole: at an edition an hour that is for five hundred years."""


class LogAudit:
    """One audit of a log. `roots` are all that lead from the first to the newest: octets by version."""

    def __init__(
        self, report: AuditReport, fetcher: FetcherInterface, base_url: str, roots: Mapping[int, bytes]
    ) -> None:
        self._report = report
        self._fetcher = fetcher
        self._base_url = base_url
        self._roots = roots
        self._policies = {version: policy_in(octets) for version, octets in sorted(roots.items())}
        self._places: dict[Logged, int] = {}
        self._leaves: list[bytes] = []
        self._editions: dict[str, list[LoggedManifest]] = defaultdict(list)

    @property
    def policy(self) -> LogPolicy | None:
        """The policy that is in force: that of the newest root that names one."""
        named = [policy for _, policy in sorted(self._policies.items()) if policy is not None]
        return named[-1] if named else None

    def read(self) -> bool:
        """Read all of it; whether it could be. What is wrong is in the report."""
        policy = self.policy
        if policy is None:
            self._report.note(
                LOG,
                "root",
                "no log shows that all are shown the same",
                "the operator begins one with `server log enable`",
            )
            return False
        self._report.facts["log"] = {
            "name": policy.log.name,
            "witnesses": [one.name for one in policy.witnesses],
            "quorum": policy.quorum,
        }
        done = False
        with self._report.guard(LOG, "checkpoint"):
            checkpoint = policy.accept(self._file(CHECKPOINT, MAX_NOTE))
            self._report.prove(LOG)
            self._entries(checkpoint)
            self._roots_are_there(checkpoint)
            done = True
        if done and not policy.quorum:
            self._report.note(
                LOG,
                "root",
                "no witness must cosign the log: a fork is seen only by who compares checkpoints",
            )
        return done

    def check(self, manifests: Sequence[LoggedManifest]) -> None:
        """What is served of an audience, newest first, and what its history holds, are leaves.

        There are no others that are newer.
        """
        for one in manifests:
            with self._report.guard(LOG, _said(one)):
                self._is_there(one)
        if not manifests:
            return
        newest = manifests[0]
        later = [one for one in self._editions[newest.audience] if _place(one) > _place(newest)]
        for one in later:
            self._report.leave(
                LOG,
                _said(one),
                "it is in the log and is not served to you",
                "it may be about to be published; if this stays, it is withheld from you",
            )

    def _entries(self, checkpoint: Checkpoint) -> None:
        """Each entry, each tile of hashes, and the root hash that they make."""
        if checkpoint.size > _MOST_ENTRIES:
            raise BadReply(f"it has {checkpoint.size:,} entries, which is more than can be audited")
        for tile in tiles_of(checkpoint.size):
            if tile.level < 0:
                octets = self._file(tile.path, MAX_BUNDLE)
                for entry in read_bundle(octets, tile.width):
                    self._take(read_entry(entry), len(self._leaves))
                    self._leaves.append(leaf_hash(entry))
        rows = {0: self._leaves}
        if root_of(self._leaves) != checkpoint.root:
            raise BadSignature("its entries do not have the root hash of its checkpoint")
        for tile in tiles_of(checkpoint.size):
            if tile.level >= 0:
                self._hashes(tile, rows)
        self._report.prove(LOG, checkpoint.size)
        self._report.facts["log"] |= {"entries": checkpoint.size, "root_hash": checkpoint.root.hex()}

    def _hashes(self, tile: Tile, rows: dict[int, list[bytes]]) -> None:
        if tile.level not in rows:
            below = rows[tile.level - 1]
            rows[tile.level] = [
                root_of(below[start : start + WIDTH]) for start in range(0, len(below) - WIDTH + 1, WIDTH)
            ]
        first = tile.index * WIDTH
        wanted = b"".join(rows[tile.level][first : first + tile.width])
        if self._file(tile.path, len(wanted) + 1) != wanted:
            raise BadSignature(f"{tile.path} does not hold the hashes of its entries")

    def _take(self, one: Logged, place: int) -> None:
        if one in self._places:
            raise BadSignature(f"{_said(one)} is in it twice")
        self._places[one] = place
        if isinstance(one, LoggedRoot):
            octets = self._roots.get(one.version)
            last = max((r.version for r in self._places if isinstance(r, LoggedRoot) and r != one), default=0)
            if one.version <= last:
                raise BadSignature(f"{_said(one)} comes after root version {last}")
            if octets is not None and _hash_of(octets) != one.sha256:
                raise BadSignature(f"{_said(one)} in it is another root than the one that is served")
            return
        before = self._editions[one.audience]
        if before and _place(before[-1]) >= _place(one):
            same = _place(before[-1]) == _place(one)
            raise BadSignature(
                f"{_said(one)} was logged with two contents"
                if same
                else f"{_said(one)} comes after {_place(before[-1])}"
            )
        before.append(one)

    def _roots_are_there(self, checkpoint: Checkpoint) -> None:
        """Each root of the log's time is a leaf, under a checkpoint that the policy before it accepts."""
        first = self._first()
        last = max(self._roots)
        for one in self._places:
            if isinstance(one, LoggedRoot) and one.version > last:
                self._report.leave(
                    LOG, _said(one), "it is in the log and is not served to you", "ask the operator why"
                )
        before = self._policies[first]
        for version, octets in sorted(self._roots.items()):
            with self._report.guard(LOG, f"root version {version}"):
                place = self._is_there(LoggedRoot(version, _hash_of(octets)))
                if version < first:
                    continue
                assert before is not None
                under = before.accept(self._file(root_path(version), MAX_NOTE))
                root = root_of(self._leaves[: under.size])
                if under.size > checkpoint.size or root != under.root or place >= under.size:
                    raise BadSignature("the checkpoint under which it was witnessed is not of this log")
                self._report.prove(LOG)
            before = (self._policies[version] if version >= first else None) or before

    def _first(self) -> int:
        """The first root that names the log that is in force now."""
        assert self.policy is not None
        return min(v for v, one in self._policies.items() if one is not None and one.log == self.policy.log)

    def _is_there(self, one: Logged) -> int:
        if one not in self._places:
            raise BadSignature("it is served, and is not in the log")
        place = self._places[one]
        if self._file(leaf_path(one.sha256), MAX_INDEX_BYTES) != b"%d\n" % place:
            raise BadReply("the log states another place for it than the one that it has")
        self._report.prove(LOG)
        return place

    def _at(self, path: str) -> str:
        return f"{self._base_url}{LOG_PATH}{path}"

    def _file(self, path: str, most: int) -> bytes:
        try:
            octets: bytes = self._fetcher.download_bytes(self._at(path), most)
        except DownloadHTTPError as error:
            raise BadSignature(f"{path} of the log is not there") from error
        except DownloadError as error:
            if isinstance(error.__cause__, ContactSyncError):
                raise error.__cause__ from error
            raise BadSignature(f"{path} of the log is longer than it may be") from error
        return octets


def _hash_of(octets: bytes) -> str:
    return hashlib.sha256(octets).hexdigest()


def _place(one: LoggedManifest) -> Position:
    return Position(one.epoch, one.edition)


def _said(one: Logged) -> str:
    if isinstance(one, LoggedRoot):
        return f"root version {one.version}"
    return f"{one.audience}, {_place(one)}"
