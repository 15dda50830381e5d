"""`audit publication`: everything that can be rebuilt from public files is rebuilt, and compared bit by bit.

Nothing is believed but what was derived here: the chain of roots, the manifests under it and their history,
each file by its hashes, each structure, each screen from its base. A delta is undone: from the base that it
leads to, the base that it started from is built, whose hash it names.

What public files cannot show is who the tokens are of. `audit rebuild` does, on the operator's side.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import xxhash
from tuf.api.exceptions import DownloadError, DownloadHTTPError
from tuf.api.metadata import Metadata, Root

from contactsync.audit import looked_up, patched, sidecars
from contactsync.audit.logged import LogAudit
from contactsync.audit.report import AuditReport
from contactsync.audit.sources import PublicationSource
from contactsync.audit.uniformity import MOST_DEVIATIONS, Spread, deviation
from contactsync.directory import Directory, DirectoryInfo, RangeReader, match, open_directory
from contactsync.directory.bounds import ERROR_RATE
from contactsync.directory.delta import Delta, apply_to_directory, read_delta
from contactsync.directory.screen import build_screen, open_screen
from contactsync.foundation.audiences import AUDIENCES
from contactsync.foundation.errors import BadDirectory, BadReply, BadSignature, ContactSyncError, NetworkError
from contactsync.identifiers import title_of
from contactsync.publication.history import MANIFESTS_KEPT, Link, another_history, walk
from contactsync.publication.logged import logged_link
from contactsync.publication.manifest import MAX_BYTES, DataFile, Manifest
from contactsync.publication.partition import Partition
from contactsync.publication.rows import source_files
from contactsync.publication.tuf.follower import (
    MAX_ROOT_BYTES,
    METADATA_PATH,
    TARGETS_PATH,
    Follower,
    check_root,
    grouped,
    newest_root,
    root_fingerprint,
)
from contactsync.tokens import TOKEN_BYTES, Tokens

RULES: Final = {
    "metadata": "the TUF metadata is signed, current and leads from the first root to the newest",
    "manifest": "each manifest is the one that was signed, and states only what a builder can produce",
    "history": "the manifests before it form one chain, as far back as they must be kept",
    "log": "all that is served is a leaf of the log, each once, and the log is cosigned as the root asks",
    "file": "each data file has the length and both hashes that its manifest names",
    "base": "each base is well-formed, in order, and has as many tokens as stated",
    "delta": "each delta, undone from the base that it leads to, gives the base that it started from",
    "screen": "each screen is the one that its base gives, bit by bit",
    "distribution": "tokens are spread as those of a pseudorandom function are",
    "false-positives": "strangers match as rarely as stated, and at most 1.08 % of them pass a screen",
    **patched.RULES,
    **sidecars.RULES,
    **looked_up.RULES,
}
PROBES: Final = 1 << 18
"""Random tokens that are tried against each base and screen."""

MOST_PASSING: Final = 0.0108
_BUCKETS_AT_ONCE: Final = 256


def audit_publication(
    source: PublicationSource, work: Path, *, fingerprint: str | None = None
) -> AuditReport:
    """Audit what a server publishes. `work` is an empty folder for it.

    `fingerprint` (64 hex digits) is that of any root of the server that is known from elsewhere. Raises
    nothing of the error tree: it is in the report.
    """
    report = AuditReport(source.name, RULES)
    _Audit(source, work, report).run(fingerprint)
    report.close()
    return report


class _Audit:
    def __init__(self, source: PublicationSource, work: Path, report: AuditReport) -> None:
        self._source = source
        self._work = work
        self._report = report
        self._log: LogAudit | None = None
        self._is_logged = False
        self._named: set[str] = set()
        self._absent = {
            "delta": "no partition has a delta yet",
            "screen": "no partition is so large that it has one",
            "patches": patched.ABSENT,
            "labels": "no partition has labels",
            "labels-delta": "no sidecar has a delta yet",
            "labels-distribution": "no partition has labels",
            "rows": looked_up.ABSENT,
        }
        self._kept: dict[str, Path] = {}
        self._labels = sidecars.LabelsAudit(report)
        self._audiences: list[dict[str, object]] = []
        self._tally = Spread()

    def run(self, fingerprint: str | None) -> None:
        report = self._report
        report.facts["audiences"] = self._audiences
        follower = None
        with report.guard("metadata", "metadata"):
            follower = self._metadata(fingerprint)
        if follower is None or self._log is None:
            return
        self._is_logged = self._log.read()
        for audience in AUDIENCES:
            with report.guard("manifest", f"manifest of {audience}"):
                try:
                    manifest = follower.manifest(audience)
                except NetworkError:
                    if self._is_published(audience):
                        raise
                    continue
                report.prove("manifest")
                self._audience(manifest)
        for name in self._source.others():
            if name not in self._named:
                report.note("file", name, "no manifest that is kept names this file; nobody is led to it")
        if self._audiences:
            for rule, why in self._absent.items():
                report.note(rule, self._source.name, why)
        self._spread()
        self._labels.close()

    def _metadata(self, fingerprint: str | None) -> Follower:
        first = self._fetch(f"{METADATA_PATH}1.root.json", MAX_ROOT_BYTES)
        check_root(first)
        folder = self._work / "followed"
        # Of the log more is read below than clients do.
        follower = Follower(folder, self._source.base_url, self._source.fetcher, first, logged=False)
        follower.refresh()
        newest = newest_root(folder) or first
        roots = [path.read_bytes() for path in (folder / "metadata" / "root_history").glob("*.root.json")]
        shown = root_fingerprint(newest)
        self._report.facts["fingerprint"] = shown
        if fingerprint is None:
            self._report.note(
                "metadata",
                "root",
                f"the fingerprint is {grouped(shown)}",
                "compare it with the one that the operator gives over another channel, or give --fingerprint",
            )
        elif fingerprint not in {root_fingerprint(root) for root in [*roots, first]}:
            self._report.disprove(
                "metadata", "root", f"no root has the given fingerprint; the newest has {grouped(shown)}"
            )
        self._report.prove("metadata", len(roots))
        by_version = {Metadata[Root].from_bytes(root).signed.version: root for root in [first, *roots]}
        self._log = LogAudit(self._report, self._source.fetcher, self._source.base_url, by_version)
        return follower

    def _is_published(self, audience: str) -> bool:
        """Whether the verified targets name a manifest of an audience."""
        path = self._work / "followed" / "metadata" / "targets.json"
        return path.exists() and f'"{audience}.json"'.encode() in path.read_bytes()

    # One audience

    def _audience(self, manifest: Manifest) -> None:
        of = f"{manifest.audience}, epoch {manifest.epoch}, edition {manifest.edition}"
        self._audiences.append(
            {
                "audience": manifest.audience,
                "epoch": manifest.epoch,
                "edition": manifest.edition,
                "manifest": manifest.sha256(),
                "members": manifest.count,
                "partitions": len(manifest.partitions),
            }
        )
        for name, unknown in manifest.unknown.items():
            self._report.leave("base", f"{of}, partition {name}", unknown.reason, "update contactsync")
        with self._report.guard("history", of):
            self._history(manifest)
        partitions = [(of, one) for one in manifest.partitions.values()]
        if manifest.next is not None:
            announced = f"{manifest.audience}, announced epoch {manifest.next.epoch}"
            partitions += [(announced, one) for one in manifest.next.partitions.values()]
        has_rows = manifest.rows is not None  # which need all these files together
        for place, partition in partitions:
            self._partition(f"{place}, {title_of(partition.name)}", partition, kept=place == of and has_rows)
        if manifest.rows is not None:
            self._absent.pop("rows", None)
            self._rows(f"{of}, rows", manifest)
        for path in self._kept.values():
            path.unlink(missing_ok=True)
        self._kept.clear()

    def _history(self, manifest: Manifest) -> None:
        """Walk back as far as there are manifests, and remember which files they name."""
        newer, steps = Link.from_bytes(manifest.to_bytes()), 0
        links = [newer]
        if newer.sha256 != manifest.sha256():
            raise BadReply("the manifest is not in its canonical form")
        self._named |= set(manifest.files())
        while newer.previous is not None:
            try:
                octets = self._fetch(f"{TARGETS_PATH}{newer.previous}.{manifest.audience}.json", MAX_BYTES)
            except NetworkError:
                if steps < MANIFESTS_KEPT - 1:
                    raise another_history("it lacks manifests that must be kept") from None
                break
            older = Link.from_bytes(octets)
            if older.sha256 != newer.previous:
                raise another_history(f"what is served before {newer.position} has another hash")
            for _ in walk(newer, older):
                raise another_history(f"{newer.position} does not continue {older.position}")
            # An older program's manifest continues the history, and may name files of older formats.
            self._named |= set(Manifest.from_bytes(octets, earlier=True).files())
            newer, steps = older, steps + 1
            links.append(older)
        self._report.prove("history", steps + 1)
        if self._log is not None and self._is_logged:
            self._log.check([logged_link(link) for link in links])

    def _rows(self, place: str, manifest: Manifest) -> None:
        """Make them again from bases and sidecars, which are kept until then."""
        assert manifest.rows is not None
        path = self._file(place, manifest.rows.level)
        needed = source_files(manifest.partitions, labelled=manifest.rows.labelled)
        if path is None or not needed <= self._kept.keys():
            self._report.leave("rows", place, "a file of theirs is not there, or is another one")
            return
        with self._report.guard("rows", place):
            looked_up.check_rows(manifest, path.read_bytes(), self._kept.__getitem__, self._work)
            self._report.prove("rows")
        path.unlink()

    def _partition(self, place: str, partition: Partition, *, kept: bool) -> None:
        """All files of a partition. Base and sidecar are `kept` for what is made of those of an edition."""
        report = self._report
        labels = partition.labels
        for rule, there in (
            ("delta", partition.deltas),
            ("screen", partition.screen),
            ("patches", partition.patches),
            ("labels", labels),
            ("labels-distribution", labels),
            ("labels-delta", labels and labels.deltas),
        ):
            if there:
                self._absent.pop(rule, None)
        files = {file.sha256: self._file(place, file) for file in partition.files()}
        path = files[partition.base.sha256]
        if path is None:
            return
        try:
            with report.guard("base", place), open_directory(path, expect=partition.directory) as directory:
                self._base(place, directory)
                _check_each_bucket(path, directory.info)
                report.prove("base")
                self._deltas(place, partition, directory, files)
                self._tally += patched.audit_patches(report, place, partition, directory, files)
                self._screen(place, partition, directory, files)
                self._labels.partition(place, partition, directory, files)
        finally:
            for sha256 in source_files({partition.name: partition}, labelled=True) if kept else ():
                if (one := files[sha256]) is not None:
                    self._kept[sha256] = one.rename(self._work / f"kept.{sha256}")
            for one in files.values():
                if one is not None:
                    one.unlink(missing_ok=True)

    def _file(self, place: str, file: DataFile) -> Path | None:
        """The file, if it is the one that was named."""
        where = f"{place}, {file.sha256}"
        with self._report.guard("file", where):
            path = self._source.data(file, self._work)
            if path is None:
                raise BadDirectory("the manifest names it, and it is not there")
            octets = path.read_bytes()
            if len(octets) != file.length:
                raise BadDirectory(f"it has {len(octets):,} octets instead of {file.length:,}")
            if hashlib.sha256(octets).hexdigest() != file.sha256:
                raise BadDirectory("its SHA-256 is another one")
            if xxhash.xxh3_64_hexdigest(octets) != file.xxh3_64:
                raise BadDirectory("its xxh3 is another one")
            self._report.prove("file")
            return path
        return None

    def _base(self, place: str, directory: Directory) -> None:
        """Decode all of it, and look at how it is spread."""
        own, count, last = Spread(), 0, None
        for values in directory.values():
            keys = values.key
            if len(keys):
                follows = bool((keys[1:] >= keys[:-1]).all()) and (last is None or keys[0] >= last)
                if not follows:
                    raise BadDirectory("its values are not in order")
                last = keys[-1]
            count += len(keys)
            own.add(keys, directory.info.slot_bits + 32)
        if count != directory.info.count:
            raise BadDirectory(f"it has {count:,} tokens instead of {directory.info.count:,}")
        self._uniform(place, own)
        self._tally += own
        found = int(match(_random_tokens(), directory).sum())
        expected = PROBES * directory.info.false_positive_rate
        if found > expected + 6 * expected**0.5 + 3:
            self._report.disprove(
                "false-positives", place, f"{found:,} of {PROBES:,} random tokens match, not {expected:.2g}"
            )
        else:
            self._report.prove("false-positives")

    def _deltas(
        self, place: str, partition: Partition, directory: Directory, files: dict[str, Path | None]
    ) -> None:
        """Undo them, the last one first: each gives the base of the edition before it."""
        newer = directory
        with contextlib.ExitStack() as stack:
            for number, one in enumerate(reversed(partition.deltas)):
                where = f"{place}, delta from edition {one.from_edition} to {one.to_edition}"
                older = self._work / f"undone.{number}"
                stack.callback(older.unlink, missing_ok=True)
                undone = False
                with self._report.guard("delta", where):
                    path = files[one.file.sha256]
                    if path is None:
                        raise NetworkError("the file is not there, so what came before it cannot be built")
                    delta = read_delta(path, expect=one.file)
                    if (delta.from_edition, delta.to_edition) != (one.from_edition, one.to_edition):
                        raise BadDirectory("it is between other editions than its manifest says")
                    info = apply_to_directory(older, newer, [_inverse(delta)])
                    newer = stack.enter_context(open_directory(older, expect=info))
                    undone = True
                if not undone:
                    return
                self._report.prove("delta")

    def _screen(
        self, place: str, partition: Partition, directory: Directory, files: dict[str, Path | None]
    ) -> None:
        if partition.screen is None:
            return
        path = files[partition.screen.sha256]
        if path is None:
            self._report.leave("screen", place, "the file is not there")
            return
        with self._report.guard("screen", place):
            rebuilt = self._work / "screen"
            made = build_screen(rebuilt, directory)
            rebuilt.unlink()
            if made != partition.screen:
                raise BadDirectory(
                    "the base gives another screen", hint="non-members may have been added to it"
                )
            self._report.prove("screen")
            passing = float(open_screen(path, directory.info, expect=made).test(_random_tokens()).mean())
            if passing > MOST_PASSING + 6 * (MOST_PASSING / PROBES) ** 0.5:
                self._report.disprove(
                    "false-positives",
                    place,
                    f"{passing:.2%} of strangers pass the screen, not {ERROR_RATE:.2%}",
                )
            else:
                self._report.prove("false-positives")

    def _uniform(self, place: str, tally: Spread) -> None:
        for what, seen in tally.histograms():
            away = deviation(seen)
            if away is not None and away > MOST_DEVIATIONS:
                self._report.disprove(
                    "distribution",
                    place,
                    f"the {what} of its tokens are {away:.1f} standard deviations from uniform",
                    "tokens of a pseudorandom function are uniform: these were chosen",
                )
                return

    def _spread(self) -> None:
        """The same over all partitions, which are too small one by one if there are many."""
        if not self._tally.count:
            return
        if all(deviation(seen) is None for _, seen in self._tally.histograms()):
            self._report.note("distribution", "all partitions", "too few tokens for a statistical test")
            return
        self._uniform("all partitions", self._tally)
        if not any(one.rule == "distribution" for one in self._report.findings):
            self._report.prove("distribution")

    def _fetch(self, path: str, limit: int) -> bytes:
        """A file of the metadata or an older manifest. Raises NetworkError if it is not there."""
        try:
            octets: bytes = self._source.fetcher.download_bytes(self._source.base_url + path, limit)
        except DownloadHTTPError as error:
            raise NetworkError(
                f"{path} is not there", hint="is this a publication of contactsync?"
            ) from error
        except DownloadError as error:
            if isinstance(error.__cause__, ContactSyncError):
                raise error.__cause__ from error
            raise BadSignature(f"{path} is longer than it may be") from error
        return octets


def _inverse(delta: Delta) -> Delta:
    """The delta that leads back."""
    return replace(
        delta,
        from_edition=delta.to_edition,
        to_edition=delta.from_edition,
        old_count=delta.new_count,
        new_count=delta.old_count,
        old_sha256=delta.new_sha256,
        new_sha256=delta.old_sha256,
        removed=delta.added,
        added=delta.removed,
    )


def _check_each_bucket(path: Path, info: DirectoryInfo) -> None:
    """Check each bucket of a base as who fetches it alone does. Raises BadDirectory.

    Who has the whole file does not need the hashes in its index. If one was wrong, only they would see it who
    have a contact there, or drew that bucket as a decoy.
    """
    with path.open("rb") as file:

        def fetch(places: list[range]) -> list[bytes]:
            return [os.pread(file.fileno(), len(place), place.start) for place in places]

        for first in range(0, info.layout.buckets, _BUCKETS_AT_ONCE):
            numbers = range(first, min(first + _BUCKETS_AT_ONCE, info.layout.buckets))
            RangeReader(info, fetch, name="it").match(Tokens.concatenate([]), numbers)


def _random_tokens() -> Tokens:
    """Tokens of nobody, which no publisher can foresee."""
    rows = np.frombuffer(secrets.token_bytes(PROBES * TOKEN_BYTES), np.uint8).reshape(-1, TOKEN_BYTES)
    return Tokens.from_bytes(rows)
