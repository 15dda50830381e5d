"""What can be told of a log without its key, and without asking a witness."""

from __future__ import annotations

from dataclasses import dataclass

from contactsync.foundation.errors import ContactSyncError
from contactsync.publication.log.notes import open_note
from contactsync.publication.log.policy import LogPolicy
from contactsync.publication.logged import CHECKPOINT, last_checkpoint
from contactsync.publication.tuf.repository import Repository
from contactsync.server.settings import DataFolder
from contactsync.server.witnessed.keeper import read_pending
from contactsync.server.witnessed.witnesses import KnownWitnesses


@dataclass(frozen=True, slots=True)
class WitnessStatus:
    """A witness. `cosigned`: whether the newest checkpoint has its signature; `at` is when it last signed."""

    name: str
    vkey: str
    url: str
    cosigned: bool
    at: str
    failed: str


@dataclass(frozen=True, slots=True)
class LogStatus:
    """A log: its verifier key, entries, the root hash in hex; `quorum` of the witnesses must cosign.

    `pending`: something is logged that is not published yet.
    """

    vkey: str
    size: int
    root_hash: str
    quorum: int
    witnesses: tuple[WitnessStatus, ...]
    pending: bool


def log_status(folder: DataFolder) -> LogStatus | None:
    """The log of a data folder; None if its root names none. Raises OurError: it is damaged."""
    policy = LogPolicy.of_root(Repository(folder.public).root().unrecognized_fields)
    if policy is None:
        return None
    path = folder.public / "log" / CHECKPOINT
    current = last_checkpoint(path.parent)
    note = open_note(path.read_bytes(), policy.witnesses) if current is not None else None
    known = KnownWitnesses.read(folder)
    witnesses = []
    for one in policy.witnesses:
        place = known.of(one)
        witnesses.append(
            WitnessStatus(
                name=one.name,
                vkey=one.vkey(),
                url=place.url if place else "",
                cosigned=note is not None and one in note.verified,
                at=place.at if place else "",
                failed=place.failed if place else "has no address here",
            )
        )
    return LogStatus(
        vkey=policy.log.vkey(),
        size=current.size if current else 0,
        root_hash=current.root.hex() if current else "",
        quorum=policy.quorum,
        witnesses=tuple(witnesses),
        pending=read_pending(folder) is not None,
    )


def look_at_log(folder: DataFolder) -> tuple[LogStatus | None, list[str], list[str]]:
    """The log, and sentences on what is due, and what is advice, each with what to do."""
    try:
        found = log_status(folder)
    except ContactSyncError as error:
        how = error.hint or "restore public/log from a copy"
        return None, [f"the log cannot be read, {error}: {how}"], []
    if found is None:
        return (
            None,
            [],
            ["no log shows that all clients see the same: `server log enable`"],
        )
    due, advice = [], []
    if not found.size:
        due.append("the log is missing: restore public/log from a copy of it, or `server log restart`")
    if found.pending:
        due.append("what was logged last is not published yet: publish, which finishes it")
    for one in found.witnesses:
        if not one.cosigned:
            since = f" (it last did at {one.at})" if one.at else ""
            why = one.failed or "has not been asked"
            due.append(
                f"the witness {one.name} has not cosigned the log{since}; it {why}:"
                " `server log ask`, or ask its operator"
            )
    if not found.quorum:
        advice.append(
            f"{len(found.witnesses)} witnesses, none of which clients require: `server log quorum`"
            if found.witnesses
            else "nobody but you watches the log: `server log add-witness`"
        )
    return found, due, advice
