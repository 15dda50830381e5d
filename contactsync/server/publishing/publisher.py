"""From the registry to a published edition.

Members without a token of the epoch are evaluated and their tokens stored, a chunk at a time, so that the
next publish goes on where a killed one was. Then the directories of the partitions that may have changed are
built and named by their hashes, then the manifests, and one switch of the TUF repository makes it all visible
(writer.py). Whatever happens before the switch, the old edition stays served; what is left to do after it is
cleaning up, which the next publish does as well.

The same members, keys and history give the same files and the same manifest, byte for byte.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import shutil
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from contactsync.directory import Directory, build, open_directory
from contactsync.directory.delta import write_delta
from contactsync.directory.screen import build_screen
from contactsync.foundation import durable
from contactsync.foundation.errors import BadDirectory, BadInput, OurError
from contactsync.foundation.progress import Progress, silent
from contactsync.identifiers import PROFILE
from contactsync.publication.manifest import AUDIENCES, MAX_DELTAS, DataFile, DeltaFile, Manifest, Partition
from contactsync.publication.tuf.repository import PUBLISHING, Repository
from contactsync.server.evaluation import Evaluator
from contactsync.server.keyring import Keyring
from contactsync.server.settings import EDITIONS_SERVED, DataFolder
from contactsync.server.storage.ports import MemberStore
from contactsync.tokens import Tokens
from contactsync.voprf.server import KeyPair

MANIFESTS_KEPT: Final = 33
"""The current manifest, and those before it back to the beginning of the longest chain of deltas."""

LOCK_WAIT: Final = 3.0
"""Seconds: longer than the server's own renewal of the metadata, shorter than another publish."""

_UNNAMED: Final = ".building"  # a data file whose hash is not known yet
_CHUNK: Final = 1 << 15  # members evaluated between two commits


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a publish did for one audience."""

    audience: str
    epoch: int
    edition: int
    members: int
    evaluated: int
    partitions: int
    changed: tuple[str, ...] | None
    """Calling codes whose files are new or gone; None if nothing at all changed and the edition stays."""


class Publisher:
    """Publishes one data folder. One object serves one publish at a time."""

    def __init__(
        self,
        folder: DataFolder,
        registry: MemberStore,
        keyring: Keyring,
        progress: Progress = silent,
        *,
        memory: int = 512 << 20,
    ) -> None:
        """`memory` is about what the build of one partition may use, in octets."""
        self._folder = folder
        self._registry = registry
        self._keyring = keyring
        self._progress = progress
        self._memory = memory
        self._settings = folder.settings()
        self._repository = Repository(folder.public)
        self._evaluated = self._unevaluated = 0

    def publish(self, *, new_epoch: bool = False) -> list[Outcome]:
        """Publish what the registry holds now; `new_epoch` draws new keys and evaluates everybody again.

        Raises Busy (another publish is running), OurError (keys, damaged files, a full disk).
        """
        with self._folder.lock(wait=LOCK_WAIT), _errors_of_disk():
            signers = self._keyring.signers()
            self._repository.check_signers(signers, PUBLISHING)
            # What changes from here on is for the next publish, whether or not this one happens to see it.
            serial = self._registry.serial()
            before = {audience: self._repository.current(audience) for audience in AUDIENCES}
            after, outcomes = [], []
            for audience, current in before.items():
                if audience == AUDIENCES[0] or current is not None or self._registry.count(audience):
                    manifest, outcome = self._prepare(audience, current, serial, new_epoch=new_epoch)
                    after.append(manifest)
                    outcomes.append(outcome)
            now = datetime.now(UTC)
            durable.sync_folder(self._folder.data)  # even if all that changed is that lost files are back
            if all(manifest == before[manifest.audience] for manifest in after):
                self._repository.refresh(signers, now, force=True)
            else:
                self._repository.publish(after, signers, now)
                self._repository.refresh(signers, now)  # the root, if it is getting old
            self._clean_up(after, serial)
        return outcomes

    def _prepare(
        self, audience: str, current: Manifest | None, serial: int, *, new_epoch: bool
    ) -> tuple[Manifest, Outcome]:
        """The next manifest of an audience, its files in place; `current` itself if nothing changed."""
        epoch = 1 if current is None else current.epoch + new_epoch
        old = current if current is not None and current.epoch == epoch else None
        key = self._key(audience, epoch, old)
        edition = 1 if old is None else old.edition + 1
        codes = self._registry.partitions(audience) if old is None else self._suspects(old, serial)
        self._evaluated = self._unevaluated = 0
        with contextlib.closing(Evaluator(self._settings.evaluator_threads)) as evaluator:
            for code in codes:
                self._evaluate(evaluator, key, audience, epoch, code)
        partitions = {} if old is None else dict(old.partitions)
        changed = []
        with self._registry.snapshot():
            for done, name in enumerate(codes):
                self._progress(f"partitions of {audience}", done, len(codes))
                partition = self._build(audience, epoch, name, edition, partitions.get(name))
                if partition == partitions.get(name):
                    continue
                changed.append(name)
                if partition is None:
                    del partitions[name]
                else:
                    partitions[name] = partition
        stays = old is not None and not changed and old.normalisation == PROFILE
        manifest = (
            old
            if old is not None and stays
            else Manifest(
                audience=audience,
                epoch=epoch,
                edition=edition,
                public_key=key.public,
                normalisation=PROFILE,
                partitions=partitions,
                previous=None if current is None else current.sha256(),
            )
        )
        return manifest, Outcome(
            audience=audience,
            epoch=epoch,
            edition=manifest.edition,
            members=self._registry.count(audience),
            evaluated=self._evaluated,
            partitions=len(partitions),
            changed=None if stays else tuple(changed),
        )

    def _key(self, audience: str, epoch: int, old: Manifest | None) -> KeyPair:
        """The key of an epoch; drawn now if the epoch has never been published."""
        if old is None and not self._keyring.has_seed(audience, epoch):
            # Tokens of another seed, in a registry that comes from elsewhere, would match nobody.
            self._registry.drop_tokens(audience, range(epoch, epoch + 1))
            self._keyring.new_seed(audience, epoch)
        key = self._keyring.key_pair(audience, epoch)
        if old is not None and key.public != old.public_key:
            raise OurError(
                f"the key of {audience} in keys/ is not the one that epoch {epoch} was published with",
                hint="restore keys/ from the backup that belongs to public/",
            )
        return key

    def _is_whole(self, partition: Partition) -> bool:
        """Whether all files of a partition are there, with their lengths."""
        try:
            return all(
                (self._folder.data / file.sha256).stat().st_size == file.length for file in partition.files()
            )
        except FileNotFoundError:
            return False

    def _suspects(self, old: Manifest, serial: int) -> list[str]:
        """Calling codes whose partition may have to be another one than in `old`."""
        damaged = {
            code
            for code, partition in old.partitions.items()
            if partition.remainder_bits != self._settings.remainder_bits or not self._is_whole(partition)
        }
        return sorted(damaged.union(self._registry.touched(serial)))

    def _evaluate(self, evaluator: Evaluator, key: KeyPair, audience: str, epoch: int, code: str) -> None:
        """Give a token to each member of a calling code who has none."""
        after = None
        while members := self._registry.unevaluated(audience, epoch, code, after, _CHUNK):
            if len(members) == _CHUNK and not self._unevaluated:  # worth counting: this takes a while
                missing = self._registry.count_unevaluated(audience, epoch)
                self._unevaluated = self._evaluated + missing
            tokens = Tokens.from_outputs(evaluator.evaluate(key, members.identifiers()).result())
            self._registry.store_tokens(audience, epoch, members, tokens.to_bytes())
            after = members.last
            self._evaluated += len(members)
            self._progress(f"evaluating {audience}", self._evaluated, self._unevaluated)

    def _build(
        self, audience: str, epoch: int, code: str, edition: int, old: Partition | None
    ) -> Partition | None:
        """A partition as it is now: `old` if its content is the same, None if it is empty."""

        def report(phase: str, done: int, total: int) -> None:
            self._progress(f"{phase} {audience} {code}", done, total)

        path = self._folder.data / _UNNAMED
        with contextlib.closing(self._registry.tokens(audience, epoch, code)) as chunks:
            first = next(chunks, None)
            if first is None:
                return None
            tokens = itertools.chain([first], chunks)
            bits = self._settings.remainder_bits
            info = build(path, tokens, remainder_bits=bits, memory=self._memory, progress=report)
        path.replace(self._folder.data / info.file.sha256)
        if old is not None and old.base.sha256 == info.file.sha256:
            if self._is_whole(old):
                return old
            # A file was lost. The screen comes out as it was; the chain of deltas begins anew.
            edition, old = old.edition, None
        with open_directory(self._folder.data / info.file.sha256, expect=info) as directory:
            return Partition(
                name=code,
                edition=edition,
                count=info.count,
                slot_bits=info.slot_bits,
                remainder_bits=info.remainder_bits,
                top_sha256=info.top_sha256,
                base=info.file,
                deltas=() if old is None else self._deltas(old, directory, edition),
                screen=self._named(build_screen(path, directory)),
            )

    def _deltas(self, old: Partition, new: Directory, edition: int) -> tuple[DeltaFile, ...]:
        """The chain of deltas that leads to `new`; none where a client does better to fetch it whole."""
        try:
            with open_directory(self._folder.data / old.base.sha256, expect=old.directory) as before:
                written = write_delta(
                    self._folder.data / _UNNAMED, before, new, from_edition=old.edition, to_edition=edition
                )
        except (BadDirectory, BadInput):
            return ()  # the old file is damaged or gone: the chain begins anew
        if written is None:
            return ()
        last = DeltaFile(old.edition, edition, self._named(written))
        return (*old.deltas, last)[-MAX_DELTAS:]

    def _named(self, file: DataFile) -> DataFile:
        """Give the file that was just written its name."""
        (self._folder.data / _UNNAMED).replace(self._folder.data / file.sha256)
        return file

    def _clean_up(self, published: Collection[Manifest], serial: int) -> None:
        """Delete what no client can be asking for any more; nothing of it decides what is served."""
        self._registry.settle(serial)
        manifests: list[Manifest] = []
        files: set[str] = set()
        for manifest in published:
            self._registry.drop_tokens(manifest.audience, range(manifest.epoch))
            self._keyring.destroy_seeds(manifest.audience, manifest.epoch)
            history = list(self._repository.history(manifest.audience, MANIFESTS_KEPT))
            manifests += history
            files.update(*(old.files() for old in history[:EDITIONS_SERVED]))
        self._repository.prune(manifests)
        for path in self._folder.data.iterdir():
            if path.is_dir():  # of a build that was killed
                shutil.rmtree(path)
            elif path.name not in files:
                path.unlink()


@contextlib.contextmanager
def _errors_of_disk() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = "the disk is full" if error.errno in {errno.ENOSPC, errno.EDQUOT} else error.strerror
        raise OurError(
            f"publishing stopped: {reason} ({error.filename or 'data folder'})",
            hint="the edition published before is still served; put that right and publish again",
        ) from error
