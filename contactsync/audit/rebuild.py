"""`audit rebuild`: with key and members, what was published is built again and compared byte for byte.

Every member is evaluated anew: tokens that the registry has are compared, not used. A token that was planted,
left out or made with another key shows as a base that differs; the report counts how many tokens do.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from contactsync.audit import looked_up
from contactsync.audit.report import AuditReport
from contactsync.directory import DataFile, build, match, open_directory
from contactsync.directory.amending import Changes, amend
from contactsync.directory.delta import Delta, check_against, compose, read_delta
from contactsync.directory.files import hash_file
from contactsync.directory.sidecar_build import build_sidecar
from contactsync.foundation.audiences import AUDIENCES
from contactsync.foundation.errors import BadDirectory, BadInput
from contactsync.identifiers.kinds import KINDS, partition_of, title_of
from contactsync.labels import KEYED_BYTES, context, seal
from contactsync.lookup.table_file import open_table
from contactsync.publication.manifest import Manifest, PublishedRows
from contactsync.publication.partition import Partition
from contactsync.publication.tuf.repository import Repository
from contactsync.server.keyring import Keyring
from contactsync.server.row_files import row_file
from contactsync.server.settings import DataFolder
from contactsync.server.storage.ports import MemberStore
from contactsync.tokens import TOKEN_BYTES, Tokens
from contactsync.voprf.server import KeyPair, evaluate

RULES: Final = {
    "key": "the seed in keys/ gives the public key of the manifest",
    "base": "each base is, byte for byte, what key and members give, after its patches if it has some",
    "token": "each token that the registry keeps is the one that the key gives",
    "labels": "each sidecar is, byte for byte, what key, members and labels give",
    "rows": "the rows for private look-up, and their level, are those that its files give, byte for byte",
}
_AT_ONCE: Final = 8192


def audit_rebuild(folder: DataFolder, registry: MemberStore, keyring: Keyring, work: Path) -> AuditReport:
    """Audit what a data folder publishes against what it is made of. `work` is an empty folder for it."""
    report = AuditReport(str(folder.path), RULES)
    repository = Repository(folder.public)
    audiences: list[dict[str, object]] = []
    report.facts["audiences"] = audiences
    with registry.snapshot():
        pending = set(registry.touched(registry.serial()))
        for audience in AUDIENCES:
            manifest = repository.current(audience)
            if manifest is None:
                continue
            audiences.append({"audience": audience, "epoch": manifest.epoch, "edition": manifest.edition})
            for one in (manifest, manifest.ahead()):
                if one is not None:
                    _Rebuild(folder, registry, one, report, work).run(keyring, pending)
    if "labels" not in report.proven and not any(one.rule == "labels" for one in report.findings):
        report.note("labels", str(folder.path), "no partition has labels")
    if "rows" not in report.proven and not any(one.rule == "rows" for one in report.findings):
        report.note("rows", str(folder.path), looked_up.ABSENT)
    report.close()
    return report


class _Rebuild:
    """One epoch of one audience."""

    def __init__(
        self, folder: DataFolder, registry: MemberStore, manifest: Manifest, report: AuditReport, work: Path
    ) -> None:
        self._folder = folder
        self._registry = registry
        self._manifest = manifest
        self._report = report
        self._work = work
        self._of = f"{manifest.audience}, epoch {manifest.epoch}"

    def run(self, keyring: Keyring, pending: set[str]) -> None:
        manifest, report = self._manifest, self._report
        key = None
        with report.guard("key", self._of):
            key = keyring.key_pair(manifest.audience, manifest.epoch)
            if key.public != manifest.public_key:
                raise BadInput("the seed gives another public key than the one that is published")
            report.prove("key")
        if key is None:
            return
        members = self._members()
        for name in sorted(members.keys() | manifest.partitions.keys()):
            place = f"{self._of}, {title_of(name)}"
            if name in pending:
                report.leave(
                    "base", place, "members have changed since it was published", "publish, then audit again"
                )
                continue
            self._partition(place, name, members.get(name, []), key)
        if manifest.rows is not None:
            self._rows(manifest.rows)

    def _members(self) -> Mapping[str, list[bytes]]:
        """The identifiers of the audience by partition."""
        found: dict[str, list[bytes]] = {}
        for kind in KINDS:
            after = None
            while page := self._registry.entries(kind, after, _AT_ONCE, self._manifest.audience):
                for entry in page:
                    found.setdefault(partition_of(entry.identifier), []).append(entry.identifier)
                after = page[-1].key
        return found

    def _partition(self, place: str, name: str, identifiers: list[bytes], key: KeyPair) -> None:
        published = self._manifest.partitions.get(name)
        with self._report.guard("base", place):
            if published is None:
                raise BadDirectory(f"it has {len(identifiers):,} members, and none is published")
            tokens = [
                self._evaluated(identifiers[i : i + _AT_ONCE], key)
                for i in range(0, len(identifiers), _AT_ONCE)
            ]
            outputs = np.concatenate([np.empty((0, KEYED_BYTES), np.uint8), *tokens])
            labels = self._compare_kept(place, name, outputs)
            self._compare_base(published, Tokens.from_bytes(outputs))
            self._report.prove("base")
            if published.labels is not None:
                self._compare_labels(place, published, outputs, labels)

    def _evaluated(self, identifiers: list[bytes], key: KeyPair) -> NDArray[np.uint8]:
        return evaluate(key, identifiers)[:, :KEYED_BYTES]

    def _compare_kept(self, place: str, name: str, outputs: NDArray[np.uint8]) -> dict[bytes, bytes]:
        """Compare what the registry keeps with what the key gives; the labels in it, by token."""
        of, labels = (self._manifest.audience, self._manifest.epoch, name), dict[bytes, bytes]()
        there = []
        if self._manifest.partitions[name].labels is None:
            width = TOKEN_BYTES
            with contextlib.closing(self._registry.tokens(*of)) as kept:
                there = [chunk.to_bytes() for chunk in kept]
        else:
            width = KEYED_BYTES
            with contextlib.closing(self._registry.outputs(*of)) as labelled:
                for tokens, keys, texts in labelled:
                    rows = tokens.to_bytes()
                    there.append(np.hstack([rows, keys]))
                    labels.update((row.tobytes(), text) for row, text in zip(rows, texts, strict=True))
        ours = np.concatenate([np.empty((0, width), np.uint8), *there])
        if _in_order(ours) == _in_order(outputs[:, :width]):
            self._report.prove("token", len(outputs))
        else:
            self._report.disprove(
                "token",
                place,
                "the registry keeps tokens that the key does not give",
                "server publish --new-epoch",
            )
        return labels

    def _compare_base(self, published: Partition, tokens: Tokens) -> None:
        path, mine = self._folder.data / published.base.sha256, self._work / "base"
        if not len(tokens):
            raise BadDirectory(f"it has no member, and {published.members:,} tokens are published")
        info = build(mine, [tokens], remainder_bits=published.remainder_bits)
        try:
            if published.patches is None and info.file == published.base:
                _check_served(path, published.base)
                return
            with open_directory(path, expect=published.directory) as base:
                changes = self._patched(published)
                there = match(tokens, base)
                if changes is not None:
                    check_against([changes], base)
                    there = changes.apply_to_mask(tokens, there)
                    now = amend(mine, base, Changes.between(changes.removed, changes.added))
                    if info.file == now.file:
                        return
            missing = len(tokens) - int(there.sum())
            planted = published.members - int(there.sum())
            raise BadDirectory(
                f"{planted:,} published tokens belong to no member, {missing:,} members are not published",
                hint="find out who changed the publication; `server publish` makes it right",
            )
        finally:
            mine.unlink(missing_ok=True)

    def _patched(self, published: Partition) -> Delta | None:
        """What all patches of a partition change in its base; None if it has none."""
        files = published.patch_files
        for one in files:
            _check_served(self._folder.data / one.file.sha256, one.file)
        patches = [read_delta(self._folder.data / one.file.sha256, expect=one.file) for one in files]
        if not patches:
            return None
        whole = compose(patches)
        whole.check_follows(published.directory)
        if (whole.new_sha256, whole.new_count) != (published.state, published.members):
            raise BadDirectory("its patches do not lead to what the manifest states")
        return whole

    def _compare_labels(
        self, place: str, published: Partition, outputs: NDArray[np.uint8], labels: Mapping[bytes, bytes]
    ) -> None:
        said, base = published.labels, self._folder.data / published.base.sha256
        assert said is not None
        with (
            self._report.guard("labels", place),
            open_directory(base, expect=published.directory) as directory,
        ):
            texts = [labels.get(row.tobytes(), b"") for row in outputs[:, :TOKEN_BYTES]]
            bound = context(self._manifest.audience, self._manifest.epoch)
            entries = seal(np.ascontiguousarray(outputs[:, TOKEN_BYTES:]), texts, said.size, bound)
            mine = self._work / "sidecar"
            info = build_sidecar(mine, directory, [(Tokens.from_bytes(outputs), entries)], size=said.size)
            mine.unlink()
            if info.file != said.file:
                raise BadDirectory(
                    "labels that are published are not those of the registry",
                    hint="find out who changed the publication; `server publish` makes it right",
                )
            _check_served(self._folder.data / said.file.sha256, said.file)
            self._report.prove("labels")

    def _rows(self, rows: PublishedRows) -> None:
        """Make them from the published files, which were compared before."""
        folder, manifest = self._folder, self._manifest
        with self._report.guard("rows", f"{self._of}, rows"):
            try:
                level = (folder.data / rows.level.sha256).read_bytes()
            except FileNotFoundError as error:
                raise BadDirectory(
                    "their level is not there", hint="`server publish` makes it again"
                ) from error
            looked_up.check_rows(manifest, level, lambda sha256: folder.data / sha256, self._work)
            path = row_file(folder.rows, manifest.audience, rows.root)
            if path.exists():  # else whoever serves them makes it
                open_table(path, rows.table(manifest.partitions), rows.root)
            self._report.prove("rows")


def _check_served(path: Path, stated: DataFile) -> None:
    """Check that a data file of the folder is the one that the manifest states. Raises BadDirectory."""
    wrong = ""
    try:
        with path.open("rb") as file:
            if hash_file(file) != stated:
                wrong = "is damaged"
    except FileNotFoundError:
        wrong = "is not there"
    if wrong:
        raise BadDirectory(
            f"the manifest is right, but {path.name} in the data folder {wrong}",
            hint="delete it if it is there; `server publish` makes it again",
        )


def _in_order(rows: NDArray[np.uint8]) -> bytes:
    """Rows of octets, uint8[n, w], ascending, as octets."""
    return b"".join(sorted(row.tobytes() for row in rows))
