"""The log of a data folder: appends, has witnesses cosign, and only then lets a publication be switched to.

```
public/log/checkpoint       the newest checkpoint with enough cosignatures; replaced last
public/log/tile/…           C2SP tlog-tiles
public/log/leaf/SHA256      at which place the leaf of this root or manifest is
public/log/root/VERSION     the checkpoint under which a root came into force
public/log-next/…           a log that begins anew, until the root that names it is in force
log/pending.json     0600   what was given to the log and is not switched to yet
log/witnesses.json   0600   where witnesses are asked, and what they last said
```

`pending.json` comes to the disk before anything is signed, and goes after the switch. Whatever it states is
finished before anything else is logged: so there is one leaf for each edition, whenever a process is killed
and however long a witness is away.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tuf.api.metadata import Metadata, Root

from contactsync.foundation import durable
from contactsync.foundation.audiences import AUDIENCES
from contactsync.foundation.errors import BadReply, NetworkError, OurError
from contactsync.publication.history import MANIFESTS_KEPT, Link, Position
from contactsync.publication.log.checkpoint import Checkpoint
from contactsync.publication.log.entries import Logged, LoggedManifest, LoggedRoot, read_entry
from contactsync.publication.log.merkle import EMPTY
from contactsync.publication.log.notes import Verifier, sign_note, with_lines
from contactsync.publication.log.policy import LogPolicy
from contactsync.publication.log.tiles import WIDTH, HashReader, appended
from contactsync.publication.logged import (
    CHECKPOINT,
    last_checkpoint,
    leaf_path,
    logged_link,
    policy_in,
    root_path,
)
from contactsync.publication.tuf.recording import Switch
from contactsync.publication.tuf.repository import Repository
from contactsync.server.keyring import Keyring
from contactsync.server.settings import EDITIONS_SERVED, DataFolder
from contactsync.server.witnessed.collecting import Collected, collect
from contactsync.server.witnessed.witnesses import KnownWitnesses

FORMAT: Final = "contactsync-log-pending-1"
_PENDING: Final = "pending.json"
_PARTIALS_KEPT: Final = 16
"""Of a tile that is not full: those of so many checkpoints, for clients in the middle of a sync."""

_RESTORE: Final = (
    "take the longer public/log from a copy of it (it is public), or let the log begin anew: "
    "`server log restart`; see `contactsync docs operations`, Witnesses"
)


@dataclass(frozen=True, slots=True)
class Pending:
    """A switch, and what of it comes after the first `size` entries of the log."""

    size: int
    entries: tuple[bytes, ...]
    switch: Switch

    def to_json(self) -> dict[str, Any]:
        """As it is kept."""
        entries = [entry.decode("ascii") for entry in self.entries]
        return {"format": FORMAT, "size": self.size, "entries": entries, "switch": self.switch.to_json()}


class LogKeeper:
    """A `Recorder`. Whoever calls `record` or `settle` holds the lock of the data folder.

    Nothing is done in a folder whose root names no log.
    """

    def __init__(self, folder: DataFolder, keyring: Keyring) -> None:
        self._folder = folder
        self._keyring = keyring
        self._public = folder.public / "log"
        self._next = folder.public / "log-next"
        self._repository = Repository(folder.public)

    @property
    def policy(self) -> LogPolicy | None:
        """The policy of the newest root; None if it names no log."""
        try:
            root = self._repository.root()
        except OurError:  # `server init` has not written the first one yet
            return None
        return LogPolicy.of_root(root.unrecognized_fields)

    @property
    def pending(self) -> Switch | None:
        """What was logged, or was to be, and is not switched to; None if there is nothing of that kind."""
        found = read_pending(self._folder)
        return None if found is None else found.switch

    def checkpoint(self) -> Checkpoint | None:
        """The newest that is published; None if there is none."""
        return last_checkpoint(self._public)

    def record(self, switch: Switch) -> None:
        """See `Recorder`. Raises OurError (the log is damaged or is not the one that witnesses know)."""
        before = self.policy
        after = _named(switch) or before
        if after is None:
            return
        self._public = self._place(before, after)
        pending = read_pending(self._folder)
        if pending is not None and pending.switch != switch:
            raise OurError(
                "something else was logged, and is not published yet", hint="run `server publish` first"
            )
        with _errors_of_log():
            if pending is None:
                old = self._old(before, after)
                entries = self._new_entries(switch, old, first=before is None or before.log != after.log)
                if not entries:
                    return
                pending = Pending(old.size, tuple(entries), switch)
                durable.private_folder(self._folder.log)
                durable.write(self._folder.log / _PENDING, json.dumps(pending.to_json()).encode())
            self._bring(pending, before, after)

    def settle(self) -> None:
        """See `Recorder`."""
        self._take_next()
        with contextlib.suppress(FileNotFoundError):
            durable.remove(self._folder.log / _PENDING)
        self._prune()

    def collect(self) -> tuple[Collected, ...]:
        """Ask witnesses who have not cosigned the newest checkpoint yet; what each has said."""
        policy, current = self.policy, self.checkpoint()
        if policy is None or current is None or not policy.witnesses:
            return ()
        with _errors_of_log():
            note = (self._public / CHECKPOINT).read_bytes()
            cosigned, answers = self._cosigned(note, current, policy.witnesses)
            if cosigned != note:
                durable.write(self._public / CHECKPOINT, cosigned, mode=durable.PUBLIC_FILE)
        return answers

    def drop_pending(self) -> None:
        """Forget what was not switched to, because the log that it is in ends."""
        with contextlib.suppress(FileNotFoundError):
            durable.remove(self._folder.log / _PENDING)

    def _place(self, before: LogPolicy | None, after: LogPolicy) -> Path:
        is_another = before is not None and before.log != after.log
        return self._next if is_another else self._folder.public / "log"

    def _take_next(self) -> None:
        """Have the log that a root has begun anew in its place, once that root is in force."""
        self._public = self._folder.public / "log"
        new, policy = last_checkpoint(self._next), self.policy
        if new is None or policy is None or new.origin != policy.log.name:
            return
        if self._public.exists():
            old = last_checkpoint(self._public)
            ended = self._folder.log / f"ended-{new.origin if old is None else old.origin}".replace("/", "-")
            durable.rename(self._public, ended)
        durable.rename(self._next, self._public)

    # What is appended

    def _old(self, before: LogPolicy | None, after: LogPolicy) -> Checkpoint:
        found = self.checkpoint()
        if found is None:
            if self._public != self._next and before is not None:
                raise OurError(f"the log is missing in {self._public}", hint=_RESTORE)
            return Checkpoint(after.log.name, 0, EMPTY)
        if found.origin != after.log.name:
            raise OurError(f"the log in {self._public} is another one", hint=_RESTORE)
        return found

    def _new_entries(self, switch: Switch, old: Checkpoint, *, first: bool) -> list[bytes]:
        """What of a switch is no leaf yet. `first`: with all that came before there was a log."""
        wanted: list[Logged] = list(self._everything()) if first else []
        if switch.root is not None:
            version = Metadata[Root].from_bytes(switch.root).signed.version
            wanted.append(LoggedRoot(version, hashlib.sha256(switch.root).hexdigest()))
        octets = (*switch.earlier, *switch.manifests.values())
        wanted += [logged_link(Link.from_bytes(one)) for one in octets]
        new = [one for one in dict.fromkeys(wanted) if not self._is_leaf(one, old)]
        self._check_order(new, old)
        return [one.to_bytes() for one in new]

    def _everything(self) -> Iterator[Logged]:
        """All roots and manifests that are kept, each after those that it follows."""
        metadata = self._folder.public / "metadata"
        versions = sorted(int(path.name.partition(".")[0]) for path in metadata.glob("*.root.json"))
        for version in versions:
            octets = (metadata / f"{version}.root.json").read_bytes()
            yield LoggedRoot(version, hashlib.sha256(octets).hexdigest())
        for audience in AUDIENCES:
            links = self._repository.links(audience, MANIFESTS_KEPT + EDITIONS_SERVED)
            yield from (logged_link(link) for link in reversed(list(links)))

    def _is_leaf(self, one: Logged, old: Checkpoint) -> bool:
        try:
            return int((self._public / leaf_path(one.sha256)).read_bytes()) < old.size
        except (FileNotFoundError, ValueError):
            return False

    def _check_order(self, new: Sequence[Logged], old: Checkpoint) -> None:
        """Raise OurError if something in the log is not older than what is to come after it."""
        last = self._last({_kind(one) for one in new}, old)
        for one in new:
            there = last.get(_kind(one))
            if there is not None and _place(there) >= _place(one):
                raise OurError(
                    f"the log already has {_said(there)}, so {_said(one)} cannot follow: this data folder is"
                    " of an older state than its log",
                    hint="restore the newest backup; or, if there is none, `server publish --new-epoch`"
                    if isinstance(one, LoggedManifest)
                    else _RESTORE,
                )
            last[_kind(one)] = one

    def _last(self, kinds: set[str], old: Checkpoint) -> dict[str, Logged]:
        """The last entry of each of these kinds."""
        found: dict[str, Logged] = {}
        reader, end = HashReader(self._read, old), old.size
        while end and kinds - found.keys():
            start = (end - 1) // WIDTH * WIDTH
            for entry in reversed(reader.entries(start, end)):
                one = read_entry(entry)
                found.setdefault(_kind(one), one)
            end = start
        return found

    def _bring(self, pending: Pending, before: LogPolicy | None, after: LogPolicy) -> None:
        """Append, have it cosigned, and publish the checkpoint; each step may have been done before."""
        there = self.checkpoint() or Checkpoint(after.log.name, 0, EMPTY)
        policies = [after] if before is None or before.log != after.log else list({before, after})
        if there.size == pending.size:
            new, files = appended(self._read, there, pending.entries)
            for path, octets in files.items():
                self._write(path, octets)
            note = sign_note(new.text(), [self._keyring.log_signer(after.log)])
        elif there.size == pending.size + len(pending.entries):
            new, note = there, (self._public / CHECKPOINT).read_bytes()
        else:
            raise OurError("the log is not the one that a publication was logged in", hint=_RESTORE)
        note, answers = self._cosigned(note, new, {one: None for by in policies for one in by.witnesses})
        for policy in policies:
            _check_quorum(policy, note, answers)
        if pending.switch.root is not None:
            version = Metadata[Root].from_bytes(pending.switch.root).signed.version
            self._write(root_path(version), note)
        for place, entry in enumerate(pending.entries, pending.size):
            self._write(leaf_path(read_entry(entry).sha256), b"%d\n" % place)
        self._write(CHECKPOINT, note)

    def _cosigned(
        self, note: bytes, checkpoint: Checkpoint, witnesses: Mapping[Verifier, None] | Sequence[Verifier]
    ) -> tuple[bytes, tuple[Collected, ...]]:
        """The note with what witnesses have signed of it, and what each has said."""
        if not witnesses:
            return note, ()
        known = KnownWitnesses.read(self._folder)
        answers = collect(
            [(one, known.of(one)) for one in witnesses], note, HashReader(self._read, checkpoint), checkpoint
        )
        known.heard(answers)
        known.write(self._folder)
        return with_lines(note, [line for one in answers for line in one.lines]), answers

    # Files

    def _read(self, path: str) -> bytes:
        try:
            return (self._public / path).read_bytes()
        except FileNotFoundError:
            raise BadReply(f"{self._public / path} is missing") from None

    def _write(self, name: str, octets: bytes) -> None:
        path = self._public / name
        for folder in reversed(path.relative_to(self._public.parent).parents[:-1]):
            if not (there := self._public.parent / folder).exists():
                durable.make_folder(there, mode=durable.PUBLIC_FOLDER)
        if not path.exists() or path.read_bytes() != octets:
            durable.write(path, octets, mode=durable.PUBLIC_FILE)

    def _prune(self) -> None:
        """Remove what no client reads any more: tiles that have grown, places of manifests that are gone."""
        for partial in (self._public / "tile").rglob("*.p"):
            widths = sorted(int(path.name) for path in partial.iterdir() if path.name.isdigit())
            full = partial.with_name(partial.name.removesuffix(".p")).exists()
            for width in widths if full else widths[:-_PARTIALS_KEPT]:
                (partial / str(width)).unlink()
            if full:
                shutil.rmtree(partial, ignore_errors=True)


def read_pending(folder: DataFolder) -> Pending | None:
    """What was given to the log and is not switched to. Raises OurError: damaged."""
    path = folder.log / _PENDING
    try:
        body = json.loads(path.read_bytes())
        if body["format"] != FORMAT:
            raise OurError(f"a newer contactsync wrote {path}", hint="update contactsync")
        entries = tuple(entry.encode("ascii") for entry in body["entries"])
        return Pending(int(body["size"]), entries, Switch.from_json(body["switch"]))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise OurError(f"{path} is damaged", hint="restore it from a backup") from error


def _named(switch: Switch) -> LogPolicy | None:
    if switch.root is None:
        return None
    return policy_in(switch.root)


def _kind(one: Logged) -> str:
    return one.audience if isinstance(one, LoggedManifest) else "root"


def _place(one: Logged) -> tuple[int, ...]:
    return (one.epoch, one.edition) if isinstance(one, LoggedManifest) else (one.version,)


def _said(one: Logged) -> str:
    if isinstance(one, LoggedManifest):
        return f"{one.audience}, {Position(one.epoch, one.edition)}"
    return f"root version {one.version}"


def _check_quorum(policy: LogPolicy, note: bytes, answers: Sequence[Collected]) -> None:
    """Raise NetworkError unless as many witnesses as the policy asks for have signed a note."""
    ahead = [one for one in answers if one.ahead]
    try:
        policy.accept(note)
    except BadReply as error:
        if ahead:
            raise OurError(
                f"the log here is shorter than the one that {ahead[0].witness.name} has seen"
                f" ({ahead[0].ahead:,} entries): it is of an older state",
                hint=_RESTORE,
            ) from error
        why = "; ".join(f"{one.witness.name} {one.failure}" for one in answers if one.failure)
        raise NetworkError(
            f"too few witnesses have cosigned the log ({policy.quorum} must): {why}",
            hint="what is published stays, and what was logged waits: publish again when they answer;"
            " `server log show` lists them",
        ) from error


@contextlib.contextmanager
def _errors_of_log() -> Iterator[None]:
    """What tiles on this machine's own disk are wrong with is a fault of this installation."""
    try:
        yield
    except BadReply as error:
        raise OurError(f"the log is damaged: {error}", hint=_RESTORE) from error


def log_files(public: Path) -> Iterator[Path]:
    """Every file of a log, for a copy of it: what a checkpoint needs comes before the checkpoint."""
    log = public / "log"
    if not log.is_dir():
        return
    for path in sorted(log.rglob("*"), key=lambda path: path.name == CHECKPOINT):
        if path.is_file() and not path.name.startswith("."):
            yield path
