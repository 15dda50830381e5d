"""A client's side of a log: what it accepts is a leaf, and what it saw before is the beginning of the log.

```
log/policy.json    the policy in force, and the version of the root that it is from
log/own.json       the user's own policy, which outranks it, if there is one
log/checkpoint     the last checkpoint that was accepted, as it came
log/tile/…         tiles that are full, as they were verified: they never change
```

A root may name another policy. It is in force once that root itself is a leaf, witnessed as the policy before
it asks: the log keeps, as `root/VERSION`, the checkpoint under which it was. A root that names no log leaves
the policy as it is. On first contact the policy comes from the first root that names one.

Nothing is stored before all was verified. Where a leaf is (`leaf/SHA256`) is a hint that nobody signs: a
wrong one leads to another leaf, which does not fit.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from tuf.api.exceptions import DownloadHTTPError
from tuf.api.metadata import Metadata, Root

from contactsync.foundation import durable
from contactsync.foundation.errors import BadInput, BadReply, BadSignature, OurError
from contactsync.publication.history import Link, another_history
from contactsync.publication.log.checkpoint import Checkpoint
from contactsync.publication.log.entries import LoggedManifest, LoggedRoot
from contactsync.publication.log.merkle import leaf_hash
from contactsync.publication.log.notes import MAX_NOTE
from contactsync.publication.log.policy import LogPolicy
from contactsync.publication.log.tiles import WIDTH, HashReader, Tile

LOG_PATH: Final = "/v1/log/"
CHECKPOINT: Final = "checkpoint"
MAX_INDEX_BYTES: Final = 20
"""Octets of a hint: a number and the end of its line."""

_POLICY: Final = "policy.json"
_OWN: Final = "own.json"
_TILE_BYTES: Final = 32 * WIDTH
_MOST_TILES: Final = 64  # kept: half a megabyte, enough for the right edge of any log for a long time

Fetch = Callable[[str, int], bytes]
"""A file of the log by its path below `LOG_PATH`, of at most so many octets. Raises a DownloadError."""

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class KnownPolicy:
    """A policy, and the version of the root that it was in force with."""

    root: int
    policy: LogPolicy


def leaf_path(sha256: str) -> str:
    """Where the log says at which place the leaf of a root or a manifest of this hash is."""
    return f"leaf/{sha256}"


def root_path(version: int) -> str:
    """Where the log keeps the checkpoint under which a root came into force."""
    return f"root/{version}"


def logged_link(link: Link) -> LoggedManifest:
    """The entry of a manifest of any version."""
    return LoggedManifest(link.audience, link.position.epoch, link.position.edition, link.sha256)


class LogFollower:
    """Follows the log of one server. `folder` is made when there is something to keep."""

    def __init__(self, folder: Path, fetch: Fetch) -> None:
        self._folder = folder
        self._fetch = fetch
        self._known: KnownPolicy | None = None
        self._own: LogPolicy | None = None
        self._current: Checkpoint | None = None
        self._reader: HashReader | None = None
        self._cached = False
        self.is_new = False
        """Whether nothing was seen of the log before this run: what was accepted is to be found in it."""

    def follow_roots(self, roots: Sequence[tuple[int, bytes]]) -> None:
        """Bring the policy of the newest of these roots into force: all that are known, oldest first.

        Asks for nothing if they were proven before. Raises BadSignature, BadReply, OurError.
        """
        self._known, self._own = known_policy(self._folder), own_policy(self._folder)
        self.is_new = last_checkpoint(self._folder) is None
        proven = 0 if self._known is None else self._known.root
        new = [(version, octets, policy_in(octets)) for version, octets in roots if version > proven]
        if self._known is None:
            while new and new[0][2] is None:
                del new[0]
        if not new:
            if self._known is None and self._own is not None:
                raise BadSignature(
                    "you require witnesses, and this server names no log",
                    hint="ask the operator for `server log enable`, or trust it again without --witness",
                )
            return
        policy = self._known.policy if self._known else new[0][2]
        assert policy is not None
        under: list[tuple[int, Checkpoint | None]] = []
        for version, _, named in new:
            seen = None
            if self._own is None:
                seen = _accepted(policy, self._file(root_path(version), MAX_NOTE))
            under.append((version, seen))
            policy = named or policy
        before, self._known = self._known, KnownPolicy(new[-1][0], policy)
        try:
            self._checked(lambda reader: self._check_roots(reader, new, under))
        except BaseException:
            self._known = before
            raise
        _write_policy(self._folder, self._known)

    def check(self, link: Link) -> None:
        """Raise BadSignature unless a manifest is a leaf; nothing is asked where there is no log."""
        if self._known is None:
            return
        entry, what = logged_link(link).to_bytes(), f"{link.audience}, {link.position},"
        self._checked(lambda reader: self._check_leaf(reader, link.sha256, entry, what))

    def _check_roots(
        self,
        reader: HashReader,
        new: Sequence[tuple[int, bytes, LogPolicy | None]],
        under: Sequence[tuple[int, Checkpoint | None]],
    ) -> None:
        assert self._current is not None
        for (version, octets, _), (_, seen) in zip(new, under, strict=True):
            what, sha256 = f"root version {version}", hashlib.sha256(octets).hexdigest()
            index = self._check_leaf(reader, sha256, LoggedRoot(version, sha256).to_bytes(), what)
            if seen is None:
                continue
            if seen.size > self._current.size or reader.tree(seen.size) != seen.root:
                raise another_history(
                    f"the log under which {what} was witnessed is not the one that it shows now"
                )
            if index >= seen.size:
                raise another_history(f"{what} is not in the log under which it was witnessed")

    def _check_leaf(self, reader: HashReader, sha256: str, entry: bytes, what: str) -> int:
        """Where the leaf is. Raises BadSignature if it is not where the log says."""
        assert self._current is not None
        index = self._index(sha256, what)
        if index >= self._current.size or reader.hash(0, index) != leaf_hash(entry):
            raise another_history(f"{what} is not in its log")
        return index

    def _index(self, sha256: str, what: str) -> int:
        try:
            text = self._fetch(leaf_path(sha256), MAX_INDEX_BYTES)
        except DownloadHTTPError as error:
            if error.status_code not in {403, 404}:
                raise
            raise another_history(f"{what} is not in its log") from error
        digits = text.removesuffix(b"\n")
        if not digits.isdigit() or (digits[:1] == b"0" and digits != b"0"):
            raise BadReply("the log states no place for one of its leaves", hint="tell the operator")
        return int(digits)

    # The checkpoint, and what it proves

    def _checked(self, check: Callable[[HashReader], Value]) -> Value:
        """Run a check under the newest checkpoint. Tiles that were kept may be damaged: not used again."""
        try:
            return self._under_checkpoint(check)
        except BadReply:
            if not self._cached:
                raise
            shutil.rmtree(self._folder / "tile", ignore_errors=True)
            return self._under_checkpoint(check)

    def _under_checkpoint(self, check: Callable[[HashReader], Value]) -> Value:
        policy, last = self._in_force(), last_checkpoint(self._folder)
        octets = None
        if self._current is None:
            octets = self._file(CHECKPOINT, MAX_NOTE)
            self._current = _accepted(policy, octets)
        current = self._current
        try:
            reader = self._reader or HashReader(self._tile, current)
            if octets is not None:
                _check_grown(reader, current, last)
            done = check(reader)
        except BaseException:
            self._current = self._reader = None
            raise
        self._reader = reader
        if octets is not None and (last is None or last != current):
            durable.private_folder(self._folder)
            durable.write(self._folder / CHECKPOINT, octets)
        self._keep_tiles(reader)
        return done

    def _in_force(self) -> LogPolicy:
        assert self._known is not None
        return self._own or self._known.policy

    def _file(self, path: str, most: int) -> bytes:
        try:
            return self._fetch(path, most)
        except DownloadHTTPError as error:
            if error.status_code not in {403, 404}:
                raise
            raise another_history(f"its log is gone, or has no {path}") from error

    def _tile(self, path: str) -> bytes:
        with contextlib.suppress(OSError):
            octets = (self._folder / path).read_bytes()
            self._cached = True
            return octets
        whole, partial, width = path.partition(".p/")
        try:
            return self._fetch(path, _TILE_BYTES)
        except DownloadHTTPError as error:
            if error.status_code not in {403, 404}:
                raise
            if not partial:
                raise another_history(f"its log has no {path}") from error
        # It has become full meanwhile, and who serves it may have removed what it was before.
        return self._file(whole, _TILE_BYTES)[: 32 * int(width)]

    def _keep_tiles(self, reader: HashReader) -> None:
        full = [tile for tile in reader.used if tile.width == WIDTH and tile.level >= 0]
        new = [tile for tile in full if not (self._folder / tile.path).exists()]
        if not new:
            return
        kept = self._folder / "tile"
        if sum(1 for path in kept.rglob("*") if path.is_file()) + len(new) > _MOST_TILES:
            shutil.rmtree(kept, ignore_errors=True)
        for tile in new[-_MOST_TILES:]:
            first = tile.index * WIDTH
            row = b"".join(reader.hash(tile.level, place) for place in range(first, first + WIDTH))
            _write_tile(self._folder, tile, row)


def known_policy(folder: Path) -> KnownPolicy | None:
    """The policy that a client has from a server's roots; None if it has none. Raises OurError: damaged."""
    value = _read(folder / _POLICY)
    if value is None:
        return None
    try:
        return KnownPolicy(int(value["root"]), LogPolicy.from_value(value["policy"]))
    except (KeyError, TypeError, ValueError, OverflowError, BadReply, BadInput) as error:
        raise _damaged(folder / _POLICY) from error


def own_policy(folder: Path) -> LogPolicy | None:
    """The user's own policy; None if there is none. Raises OurError: damaged."""
    value = _read(folder / _OWN)
    try:
        return None if value is None else LogPolicy.from_value(value)
    except (KeyError, TypeError, ValueError, BadReply, BadInput) as error:
        raise _damaged(folder / _OWN) from error


def set_own_policy(folder: Path, policy: LogPolicy | None) -> None:
    """Keep the user's own policy, or (None) have that of the root count again."""
    if policy is not None:
        durable.private_folder(folder)
        durable.write(folder / _OWN, json.dumps(policy.to_value(), indent=1).encode())
    else:
        with contextlib.suppress(FileNotFoundError):
            durable.remove(folder / _OWN)


def begin_anew(folder: Path, root: bytes) -> LogPolicy | None:
    """Forget a log that has ended, and follow the one that this root names, which the user accepts."""
    signed = Metadata[Root].from_bytes(root).signed
    policy = LogPolicy.of_root(signed.unrecognized_fields)
    shutil.rmtree(folder / "tile", ignore_errors=True)
    for name in (_POLICY, CHECKPOINT):
        with contextlib.suppress(FileNotFoundError):
            durable.remove(folder / name)
    if policy is not None:
        _write_policy(folder, KnownPolicy(signed.version, policy))
    return policy


def kept_of_log(folder: Path) -> dict[str, bytes]:
    """All that is kept of a log, by name: policies, the checkpoint, tiles. None of it is secret."""
    try:
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        return {str(path.relative_to(folder)): path.read_bytes() for path in paths}
    except OSError as error:
        raise _damaged(folder) from error


def last_checkpoint(folder: Path) -> Checkpoint | None:
    """The last checkpoint that was accepted; None if there is none. Raises OurError: damaged."""
    path = folder / CHECKPOINT
    try:
        return Checkpoint.parse(path.read_bytes().decode().partition("\n\n")[0] + "\n")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, BadReply) as error:
        raise _damaged(path) from error


def _accepted(policy: LogPolicy, note: bytes) -> Checkpoint:
    """As `LogPolicy.accept`; BadSignature if it is of another log."""
    origin = note.partition(b"\n")[0].decode("utf-8", "replace")[:80]
    if origin != policy.log.name and origin.isprintable():
        raise BadSignature(
            f"this server shows another history: its log was {policy.log.name}, and is {origin} now",
            hint="stop here; ask the operator, over another channel. If they say that the log began anew:"
            " `contactsync trust URL --new-log`",
        )
    return policy.accept(note)


def _check_grown(reader: HashReader, current: Checkpoint, last: Checkpoint | None) -> None:
    """Raise BadSignature unless a log is the one of `last`, with the entries that came since."""
    if last is None:
        reader.tree(current.size)
    elif last.origin != current.origin:
        raise another_history(f"its log was {last.origin}, and is {current.origin} now")
    elif last.size > current.size:
        raise another_history(f"its log has {current.size:,} entries, and had {last.size:,} before")
    elif reader.tree(last.size) != last.root:
        raise another_history(
            f"its log does not continue the one of {last.size:,} entries that was seen before"
        )


def policy_in(octets: bytes) -> LogPolicy | None:
    """The policy that a root states; None if it names no log. Raises BadReply."""
    return LogPolicy.of_root(Metadata[Root].from_bytes(octets).signed.unrecognized_fields)


def _write_policy(folder: Path, known: KnownPolicy) -> None:
    durable.private_folder(folder)
    value = {"root": known.root, "policy": known.policy.to_value()}
    durable.write(folder / _POLICY, json.dumps(value, indent=1).encode())


def _write_tile(folder: Path, tile: Tile, octets: bytes) -> None:
    path = folder / tile.path
    durable.private_folder(path.parent)
    durable.write(path, octets)


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(path) from error


def _damaged(path: Path) -> OurError:
    return OurError(
        f"{path}, which says what was seen of the server's log, is damaged",
        hint="if the operator says that the log has not gone back, run `contactsync trust URL --new-log`",
    )
