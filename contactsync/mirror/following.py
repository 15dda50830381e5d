"""Follows a publication as a client does, and brings what it names to the disk: verified, or not at all.

From the pinned root to the manifest, by the clients' own follower (and so under the log's policy, if there is
a log); from the manifest to each base by its SHA-256 and its structure, by deltas where the base before it is
here; to each sidecar likewise, if the rows have labels. Nothing that a client can see is changed here but by
`show`, once all is verified.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from tuf.api.exceptions import RepositoryError

from contactsync.client.core.holdings import Holding, SidecarHolding
from contactsync.client.core.plan import PartitionPlan, carry_on, whole_base, with_labels
from contactsync.client.download import fetch_file, is_held
from contactsync.client.state import ServerState
from contactsync.client.transport import MetadataFetcher, Transport
from contactsync.directory import open_directory
from contactsync.directory.delta import apply_to_directory, read_delta
from contactsync.directory.sidecar import open_sidecar
from contactsync.directory.sidecar_apply import apply_to_sidecar
from contactsync.directory.sidecar_delta import read_sidecar_delta
from contactsync.foundation import durable
from contactsync.foundation.errors import BadDirectory, BadReply, OurError, Refused
from contactsync.mirror.folder import MirrorFolder
from contactsync.publication.history import MANIFESTS_KEPT, Link, another_history
from contactsync.publication.manifest import MAX_BYTES, DataFile, Manifest
from contactsync.publication.partition import Labels, Partition
from contactsync.publication.tuf.follower import TARGETS_PATH, Follower, served_files

VERSIONS_SHOWN: Final = 10
"""Snapshots and targets that are kept for who is in the middle of a refresh."""

LABEL_DELTAS_AT_ONCE: Final = 256 << 20
"""Octets of deltas to a sidecar: they are in memory together. Where there are more, it is fetched whole."""

log = logging.getLogger("contactsync.mirror")


class PublicationFollower:
    """One look at a publication. The caller holds the lock of `server`; one object for each look."""

    def __init__(self, folder: MirrorFolder, server: ServerState, transport: Transport) -> None:
        self._folder = folder
        self._server = server
        self._transport = transport
        fetcher = MetadataFetcher(transport)
        self._follower = Follower(server.tuf, transport.base_url, fetcher, server.root, log=server.log)

    def manifest(self) -> Manifest:
        """The current manifest, verified from the pinned root down. Raises as `Follower.manifest`."""
        manifest = self._follower.manifest(self._folder.audience)
        gap = self._follower.unchecked(manifest.audience)
        if gap is not None:
            log.warning(
                "so many editions were published unseen that the history between %s and %s is not checked",
                *(gap.since, gap.until),
            )
            self._follower.told(manifest.audience)
        if manifest.unknown:
            raise BadReply(
                f"this program does not know {len(manifest.unknown)} of the partitions",
                hint="update contactsync",
            )
        return manifest

    def history(self, manifest: Manifest) -> list[str]:
        """The hashes of the manifest and of those before it, as far back as servers keep them; all kept.

        Raises BadSignature (another history), BadReply, NetworkError, OSError.
        """
        octets, found = manifest.to_bytes(), list[str]()
        while True:
            link = Link.from_bytes(octets)
            found.append(link.sha256)
            if self._folder.manifest_bytes(link.sha256) is None:
                durable.write(self._folder.manifest_path(link.sha256), octets)
            if link.previous is None or len(found) == MANIFESTS_KEPT:
                return found
            older = self._folder.manifest_bytes(link.previous)
            if older is None:
                older = self._older(link.previous)
            if older is None:
                return found
            octets = older

    def _older(self, sha256: str) -> bytes | None:
        path = f"{TARGETS_PATH}{sha256}.{self._folder.audience}.json"
        try:
            with self._transport.get(path) as reply:
                octets = b"".join(self._transport.chunks(reply, MAX_BYTES + 1))
        except Refused as error:
            if error.status == 404:
                return None
            raise
        if hashlib.sha256(octets).hexdigest() != sha256:
            raise another_history("an older manifest has another hash")
        return octets

    def is_served(self, file: DataFile) -> bool:
        """Whether the server still gives a data file to accounts. Raises NetworkError, Refused."""
        path, first = f"/v1/data/{file.sha256}", {"Range": "bytes=0-0"}
        try:
            with self._transport.get(path, headers=first, authorised=True):
                return True
        except Refused as error:
            if error.status == 404:
                return False
            raise

    def bring(self, manifest: Manifest, before: Manifest | None) -> None:
        """Have what the rows of a manifest are made from in `data`: bases, and sidecars if they have labels.

        `before` is an edition of which these may be there.
        Raises NetworkError (what came is kept), Refused, BadDirectory, OSError.
        """
        held: Mapping[str, Partition] = {}
        if before is not None and before.epoch == manifest.epoch:  # editions count anew in each epoch
            held = before.partitions
        for name, partition in manifest.partitions.items():
            try:
                self._bring(partition, held.get(name))
                if manifest.has_labelled_rows and partition.labels is not None:
                    self._bring_labels(partition, partition.labels, held.get(name))
            except Refused as error:
                if error.kind == "not-found":
                    error.hint = "check that the credential is for this --audience; if so, tell the operator"
                raise

    def _bring(self, partition: Partition, held: Partition | None) -> None:
        data = self._folder.data
        if is_held(data, partition.base, thorough=True):
            return
        if held is not None and is_held(data, held.base, thorough=True):
            holding = Holding(held.edition, held.base, held.directory)
            plan = carry_on(partition, "base", partition.base, holding)
            if plan.holding.deltas:
                try:
                    self._carry_on(plan, held)
                except BadDirectory as error:
                    log.warning("partition %s is fetched whole: %s", partition.name, error)
                else:
                    return
        fetch_file(self._transport, data, partition.base)

    def _carry_on(self, plan: PartitionPlan, held: Partition) -> None:
        data, work, wanted = self._folder.data, self._folder.work, plan.partition.directory
        files = [file for _, _, file in plan.holding.deltas]
        deltas = [read_delta(fetch_file(self._transport, work, file), expect=file) for file in files]
        made = work / "base"
        with open_directory(data / held.base.sha256, expect=held.directory, check="xxh3") as base:
            if apply_to_directory(made, base, deltas) != wanted:
                raise BadDirectory("its deltas do not lead to the base that the manifest names")
        durable.rename(made, data / wanted.file.sha256)
        for file in files:
            (work / file.sha256).unlink()

    def _bring_labels(self, partition: Partition, labels: Labels, held: Partition | None) -> None:
        data = self._folder.data
        if is_held(data, labels.file, thorough=True):
            return
        if held is not None and held.labels is not None and is_held(data, held.labels.file, thorough=True):
            holding = SidecarHolding(held.labels.edition, held.labels.info(held))
            sidecar = with_labels(whole_base(partition), holding, buckets=0).sidecar
            files = [file for _, _, file in sidecar.deltas] if sidecar is not None else []
            if files and sum(file.length for file in files) <= LABEL_DELTAS_AT_ONCE:
                try:
                    self._carry_on_labels(partition, labels, holding, files)
                except BadDirectory as error:
                    log.warning("the labels of partition %s are fetched whole: %s", partition.name, error)
                else:
                    return
        fetch_file(self._transport, data, labels.file)

    def _carry_on_labels(
        self, partition: Partition, labels: Labels, held: SidecarHolding, files: Sequence[DataFile]
    ) -> None:
        data, work = self._folder.data, self._folder.work
        deltas = [read_sidecar_delta(fetch_file(self._transport, work, file), expect=file) for file in files]
        with (
            open_sidecar(data / held.sidecar.file.sha256, expect=held.sidecar, check="xxh3") as sidecar,
            open_directory(data / partition.base.sha256, expect=partition.directory, check="xxh3") as base,
        ):
            reaches = labels.info(partition)
            apply_to_sidecar(data / labels.file.sha256, sidecar, deltas, base, reaches)
        for file in files:
            (work / file.sha256).unlink()

    def show(self) -> None:
        """Serve the metadata that was verified; its timestamp is the last to change. Raises OurError."""
        folder = self._folder.public / "metadata"
        try:
            files = served_files(self._server.tuf)
        except (RepositoryError, OSError) as error:
            raise OurError("the metadata that is kept is damaged", hint="it is fetched again soon") from error
        for name, octets in files.items():
            path = folder / name
            if not path.exists() or path.read_bytes() != octets:
                durable.write(path, octets)
        for role in ("snapshot", "targets"):
            _keep_newest(folder, role)


def _keep_newest(folder: Path, role: str) -> None:
    found = [(int(path.name.partition(".")[0]), path) for path in folder.glob(f"*.{role}.json")]
    for _, path in sorted(found)[:-VERSIONS_SHOWN]:
        with contextlib.suppress(OSError):
            path.unlink()
