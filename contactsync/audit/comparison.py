"""Whether two clients were shown the same, and where it forks: `audit compare`.

Each snapshot is verified by itself: the chain of roots, signatures, hashes. So what differs is not a mistake
of whoever sent it, but two statements that the operator has signed: evidence that others can check. A file
whose signatures do not fit says nothing of anybody: it is unchecked, and only signed statements disprove.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from tuf.api.exceptions import DownloadError, RepositoryError
from tuf.api.metadata import Metadata, Root, Targets

from contactsync.audit.report import AuditReport
from contactsync.audit.snapshots import ServerView, Snapshot, read_snapshot
from contactsync.audit.sources import PublicationSource
from contactsync.foundation.errors import BadReply, BadSignature, ContactSyncError, NetworkError
from contactsync.publication.history import Link, walk
from contactsync.publication.log.checkpoint import Checkpoint
from contactsync.publication.log.merkle import HASH_BYTES
from contactsync.publication.log.notes import MAX_NOTE, Verifier, open_note
from contactsync.publication.log.policy import LogPolicy
from contactsync.publication.log.tiles import WIDTH, HashReader, Read
from contactsync.publication.logged import LOG_PATH
from contactsync.publication.manifest import MAX_BYTES
from contactsync.publication.tuf.follower import TARGETS_PATH, check_root, root_fingerprint
from contactsync.publication.tuf.signed import is_signed

MAX_TILE: Final = WIDTH * HASH_BYTES

RULES: Final = {
    "snapshot": "each snapshot holds what its server has signed, under one chain of roots",
    "roots": "both were shown the same roots",
    "metadata": "what has the same version is the same",
    "manifests": "both were shown one history of manifests",
    "log": "both were shown one log, of which the shorter is the beginning of the longer",
}


class PublicationReader:
    """Reads from a publication what neither snapshot holds. Nothing of it is believed unchecked."""

    def __init__(self, source: PublicationSource) -> None:
        self._source = source
        self.name = source.name

    def manifest(self, audience: str, sha256: str) -> bytes:
        """The manifest of this hash. Raises NetworkError: it is not there."""
        return self._fetch(f"{TARGETS_PATH}{sha256}.{audience}.json", MAX_BYTES)

    def tile(self, path: str) -> bytes:
        """A tile of the log. Raises NetworkError: it is not there."""
        return self._fetch(f"{LOG_PATH}{path}", MAX_TILE)

    def checkpoint(self) -> bytes:
        """The note of the log's newest checkpoint. Raises NetworkError: it is not there."""
        return self._fetch(f"{LOG_PATH}checkpoint", MAX_NOTE)

    def _fetch(self, path: str, most: int) -> bytes:
        try:
            octets: bytes = self._source.fetcher.download_bytes(self._source.base_url + path, most)
        except DownloadError as error:
            if isinstance(error.__cause__, ContactSyncError):
                raise error.__cause__ from error
            raise NetworkError(f"{self._source.name} does not have {path}") from error
        return octets


def compare(
    one: Snapshot,
    other: Snapshot,
    *,
    names: tuple[str, str] = ("A", "B"),
    publication: PublicationReader | None = None,
) -> AuditReport:
    """Compare two snapshots. What neither of them holds is read from the publication, if there is one."""
    report = AuditReport(f"{names[0]} and {names[1]}", RULES)
    comparison = _Comparison(report, names, publication)
    servers: list[dict[str, Any]] = []
    report.facts["servers"] = servers
    for a, b in _pairs(one, other, report, names):
        servers.append({"url": a.url} | ({} if a.url == b.url else {"other_url": b.url}))
        comparison.of(a, b)
    report.close()
    return report


def compare_files(one: Path, other: Path, publication: PublicationReader | None = None) -> AuditReport:
    """Compare two files. One that is damaged, or of another version, is not proven. BadInput: not there."""
    names = (one.name, other.name) if one.name != other.name else (str(one), str(other))
    given: list[Snapshot] = []
    report = AuditReport(" and ".join(names), RULES)
    for path, name in zip((one, other), names, strict=True):
        try:
            given.append(read_snapshot(path))
        except BadReply as error:
            report.leave("snapshot", name, str(error), error.hint)
    if len(given) == 2:
        return compare(given[0], given[1], names=names, publication=publication)
    report.close()
    return report


def _pairs(
    one: Snapshot, other: Snapshot, report: AuditReport, names: tuple[str, str]
) -> list[tuple[ServerView, ServerView]]:
    """The servers to compare: those of one address, and the only ones whatever their addresses are."""
    if len(one.servers) == len(other.servers) == 1:
        return [(one.servers[0], other.servers[0])]
    by_url = {view.url: view for view in other.servers}
    pairs = [(view, by_url.pop(view.url)) for view in one.servers if view.url in by_url]
    alone = {view.url: names[0] for view in one.servers if view.url not in {a.url for a, _ in pairs}}
    for url, name in {**alone, **dict.fromkeys(by_url, names[1])}.items():
        report.note("snapshot", url, f"only {name} has this server: it was not compared")
    return pairs


class _Comparison:
    def __init__(
        self, report: AuditReport, names: tuple[str, str], publication: PublicationReader | None
    ) -> None:
        self._report = report
        self._names = names
        self._both = " and ".join(names)
        self._publication = publication

    def of(self, one: ServerView, other: ServerView) -> None:
        """Compare what both have of a server. One that was edited is compared with nothing: no evidence."""
        signed: list[tuple[list[Root], set[str]]] = []
        for name, view in zip(self._names, (one, other), strict=True):
            try:
                signed.append(self._verified(name, view))
            except ContactSyncError as error:
                hint = error.hint or "it is no evidence: ask for the file once more, over another channel"
                self._report.leave("snapshot", f"{name}, {view.url}", str(error), hint)
        if len(signed) < 2:
            return
        self._roots(one, other)
        self._metadata(one, other)
        audiences = sorted(signed[0][1] & signed[1][1])
        for audience in audiences:
            with self._report.guard("manifests", f"{one.url}, {audience}"):
                self._history(one, other, audience)
        if not audiences:
            self._report.leave(
                "manifests", one.url, "there is no audience of which both have a signed manifest"
            )
        with self._report.guard("log", one.url):
            self._log(one, other, [_logs(roots) for roots, _ in signed])

    # Each by itself

    def _verified(self, name: str, view: ServerView) -> tuple[list[Root], set[str]]:
        """The roots, and the audiences with a signed manifest. Raises BadReply, BadSignature: edited."""
        roots = _chain(view)
        for role, octets in view.metadata.items():
            with _as_tuf(f"the {role} metadata"):
                metadata: Metadata[Any] = Metadata.from_bytes(octets)
                if metadata.signed.type != role:
                    raise BadSignature(f"the {role} metadata is of another role")
                # A sync that was cut behind a new root keeps metadata that an older one vouches for.
                if not any(is_signed(metadata, role, root) for root in reversed(roots)):
                    raise BadSignature(f"the {role} metadata is not signed by the keys of any root")
        named = {}
        if "targets" in view.metadata:
            targets = Metadata[Targets].from_bytes(view.metadata["targets"]).signed.targets
            named = {target: info.hashes.get("sha256") for target, info in targets.items()}
        signed = set()
        for audience, octets in view.manifests.items():
            link = Link.from_bytes(octets)
            if link.audience != audience:
                raise BadReply(f"the manifest of {audience} is of another audience")
            if named.get(f"{audience}.json") != link.sha256:
                # A sync that was cut keeps newer metadata than manifests.
                self._report.leave(
                    "snapshot",
                    f"{name}, {view.url}, {audience}",
                    f"the manifest ({link.position}) is not the one that its signed metadata names",
                    "sync once more, and take the snapshot again",
                )
            else:
                signed.add(audience)
        if view.checkpoint is not None:
            _checkpoint(view.checkpoint, _logs(roots))
        self._report.prove("snapshot", len(view.roots) + len(view.metadata) + len(signed))
        return roots, signed

    # Both

    def _roots(self, one: ServerView, other: ServerView) -> None:
        common = sorted(one.roots.keys() & other.roots.keys())
        for version in common:
            if one.roots[version] == other.roots[version]:
                self._report.prove("roots")
                continue
            shown = [root_fingerprint(view.roots[version])[:16] for view in (one, other)]
            which = [f"{digits}… in {name}" for digits, name in zip(shown, self._names, strict=True)]
            self._forked("roots", one.url, f"root {version} is {' and '.join(which)}")
            return
        if not common:
            self._report.leave("roots", one.url, "there is no version of the root that both saw")

    def _metadata(self, one: ServerView, other: ServerView) -> None:
        compared = False
        for role in sorted(one.metadata.keys() & other.metadata.keys()):
            with self._report.guard("metadata", f"{one.url}, {role}"), _as_tuf(f"the {role} metadata"):
                signed = [Metadata[Any].from_bytes(view.metadata[role]) for view in (one, other)]
                version = signed[0].signed.version
                if version != signed[1].signed.version:
                    continue
                compared = True
                if signed[0].signed_bytes == signed[1].signed_bytes:
                    self._report.prove("metadata")
                else:
                    what = f"version {version} of the {role} metadata was signed twice, differently"
                    self._forked("metadata", one.url, f"{what}: {self._both} have one each")
        if not compared:
            why = "they saw different versions of all metadata: there is nothing to compare"
            self._report.note("metadata", one.url, why)

    def _history(self, one: ServerView, other: ServerView, audience: str) -> None:
        links = [Link.from_bytes(view.manifests[audience]) for view in (one, other)]
        place = f"{one.url}, {audience}"
        for name, view in zip(self._names, (one, other), strict=True):
            if gap := view.gaps.get(audience):
                why = f"nobody checked what lies between {gap.since} and {gap.until}"
                self._report.leave("manifests", f"{name}, {place}", why)
        older, newer = sorted(links, key=lambda link: link.position)
        names = self._names if links[0] is older else self._names[::-1]
        if older.sha256 == newer.sha256:
            self._report.prove("manifests")
        elif older.position == newer.position:
            same = older.previous == newer.previous
            before = "the one before it is the same" if same else "so are those before it"
            self._forked("manifests", place, f"{self._both} have two different {older.position}; {before}")
        else:
            self._walk(place, audience, (older, newer), names)

    def _walk(self, place: str, audience: str, ends: tuple[Link, Link], names: tuple[str, ...]) -> None:
        """Go back from the newer manifest to the older one."""
        older, newer = ends
        steps = walk(newer, older)
        try:
            wanted = next(steps)
            while True:
                wanted = steps.send(self._between(audience, wanted))
        except StopIteration as end:
            if end.value is None:
                self._report.prove("manifests")
            else:
                why = f"too much was published between {older.position} and {newer.position}"
                self._report.leave("manifests", place, why)
        except BadSignature as error:
            does_not = f"{newer.position} of {names[1]} does not continue {older.position} of {names[0]}"
            self._forked("manifests", place, f"{does_not} ({error})")
        except NetworkError as error:
            saw = f"{names[0]} saw {older.position}, {names[1]} {newer.position}"
            why = f"{saw}, and what lies between cannot be read: {error}"
            self._report.leave("manifests", place, why, error.hint)

    def _between(self, audience: str, sha256: str) -> bytes:
        """A manifest that neither of them saw last. Raises NetworkError: there is none of this hash."""
        if self._publication is None:
            raise NetworkError(
                "it is in neither snapshot",
                hint="give --publication, or take both snapshots after a sync on the same day",
            )
        octets = self._publication.manifest(audience, sha256)
        if hashlib.sha256(octets).hexdigest() != sha256:  # says nothing of what the two were shown
            raise NetworkError(f"{self._publication.name} has another manifest under its name")
        return octets

    def _log(self, one: ServerView, other: ServerView, logs: Sequence[list[Verifier]]) -> None:
        views = (one, other)
        lacking = [n for n, v in zip(self._names, views, strict=True) if v.checkpoint is None]
        if logs == [[], []]:
            self._report.note("log", one.url, "the roots name no log, so that no witness can have seen it")
            return
        if lacking:
            why = f"the root names a log, and {' and '.join(lacking)} did not see it yet"
            self._report.leave("log", one.url, why, "sync once more, and take the snapshot again")
            return
        found = [
            _checkpoint(v.checkpoint, known) for v, known in zip(views, logs, strict=True) if v.checkpoint
        ]
        if found[0][0] != found[1][0]:
            self._report.leave("log", one.url, "they follow logs of different keys")
            return
        older, newer = sorted((point for _, point in found), key=lambda point: point.size)
        if older.size == newer.size:
            same = older.root == newer.root
        else:
            try:
                same = self._is_one_log(one, other, (older, newer), found[0][0])
            except (BadReply, NetworkError) as error:
                self._report.leave("log", one.url, f"the log cannot be read: {error}", error.hint)
                return
        if same:
            self._report.prove("log", 2)
        else:
            shown = f"{self._both} were shown two logs"
            lengths = f"that of {older.size:,} entries is not the beginning of that of {newer.size:,}"
            self._forked("log", one.url, f"{shown}: {lengths}")

    def _is_one_log(
        self, one: ServerView, other: ServerView, points: tuple[Checkpoint, Checkpoint], log: Verifier
    ) -> bool:
        """Raises BadReply, NetworkError: the tiles at hand are of neither."""
        older, newer = points
        try:
            return HashReader(self._tiles(one, other), newer).tree(older.size) == older.root
        except (BadReply, NetworkError):
            # Of a fork that one of them alone was shown, nobody else has tiles. But the log signed all three.
            if self._publication is None:
                raise
            served = self._served(self._publication, log)
            if served is None or served.size < newer.size:
                raise
            reader = HashReader(self._publication.tile, served)
            return all(reader.tree(point.size) == point.root for point in points)

    def _served(self, publication: PublicationReader, log: Verifier) -> Checkpoint | None:
        """The newest checkpoint of a publication; None if it shows nothing of this log."""
        try:
            return _checkpoint(publication.checkpoint(), [log])[1]
        except (BadReply, BadSignature, NetworkError):
            return None

    def _tiles(self, one: ServerView, other: ServerView) -> Read:
        known: dict[str, bytes] = {**one.tiles, **other.tiles}

        def read(path: str) -> bytes:
            if path in known:
                return known[path]
            if self._publication is None:
                raise NetworkError(f"{path} is in neither snapshot", hint="give --publication")
            return self._publication.tile(path)

        return read

    def _forked(self, rule: str, place: str, what: str) -> None:
        hint = "both are signed: keep the two files, the evidence; ask the operator over another channel"
        self._report.disprove(rule, place, what, hint)


class _as_tuf:  # noqa: N801 - reads as a statement
    """What tuf raises, as an error of the tree."""

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, RepositoryError | DownloadError):
            raise BadSignature(f"{self._what} is not signed as it should be") from error


def _chain(view: ServerView) -> list[Root]:
    """The roots, each signed by the one before. Raises BadReply, BadSignature."""
    if not view.roots:
        raise BadReply("it holds no root: there was no sync yet", hint="sync once, and take it again")
    chain: list[Root] = []
    with _as_tuf("a root"):
        for version in sorted(view.roots):
            octets = view.roots[version]
            check_root(octets)
            metadata = Metadata[Root].from_bytes(octets)
            if metadata.signed.version != version:
                raise BadSignature(f"root {version} is of another version")
            if chain:
                if chain[-1].version + 1 != version:
                    raise BadReply(f"root {chain[-1].version + 1} is missing")
                chain[-1].verify_delegate("root", metadata.signed_bytes, metadata.signatures)
            chain.append(metadata.signed)
    return chain


def _logs(roots: Sequence[Root]) -> list[Verifier]:
    """The keys of the logs that roots name, the newest first: a new one counts only once it is proven."""
    policies = (LogPolicy.of_root(root.unrecognized_fields) for root in reversed(roots))
    return list(dict.fromkeys(policy.log for policy in policies if policy is not None))


def _checkpoint(note: bytes, logs: Sequence[Verifier]) -> tuple[Verifier, Checkpoint]:
    """The log that has signed a note, and what it says. How many witnesses is a client's own affair."""
    opened = open_note(note, logs)
    checkpoint = Checkpoint.parse(opened.text)
    for log in logs:
        if log in opened.verified and checkpoint.origin == log.name:
            return log, checkpoint
    raise BadSignature("the checkpoint is not signed by a log that a root names")
