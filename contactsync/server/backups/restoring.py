"""Restores a backup: all of it is verified before anything is where a server looks for it.

What is unpacked is in a hidden folder beside the data folder until it is whole, checked and on the disk. Then
one rename puts it in its place; where a folder is replaced, one exchange does, and the old one stays beside
it, as NAME.before-restore, until the operator removes it. So whoever kills this finds the one or the other.

Stores that go into a database are there before that rename, under a mark that only the hidden folder knows.
"""

from __future__ import annotations

import contextlib
import re
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, Literal

from contactsync.foundation import durable, erasure
from contactsync.foundation.audiences import AUDIENCES
from contactsync.foundation.errors import BadInput, ChoiceNeeded, OurError
from contactsync.foundation.migrations import check_version
from contactsync.publication.history import Position
from contactsync.publication.logged import last_checkpoint
from contactsync.publication.tuf.follower import root_fingerprint
from contactsync.publication.tuf.repository import Repository
from contactsync.server.backups.ages import MAGIC, decrypting
from contactsync.server.backups.archive import BackupFacts, unpack
from contactsync.server.backups.making import PUBLIC, link_all, link_log, scratch
from contactsync.server.backups.returning import Returning, returning, take_out
from contactsync.server.keyring import Keyring, seed_name
from contactsync.server.publishing.looked_up import damaged_parts
from contactsync.server.settings import LOCK_WAIT, DataFolder
from contactsync.server.storage.migrations import ACCOUNTS_STEPS, REGISTRY_STEPS
from contactsync.server.storage.opening import discard_stores, move_to_database, open_accounts, open_members
from contactsync.server.storage.sqlite.copying import version_of

if TYPE_CHECKING:
    from contactsync.server.storage.postgres.address import DatabaseUrl

BEFORE: Final = ".before-restore"
_CLAIM: Final = ".restoring"


@dataclass(slots=True)
class Restored:
    """What was restored, or would be. Positions are by audience.

    `seen` is what was published in the folder that was replaced, where it is newer than what is published
    now: clients may have seen it. `public_kept`: what is published stayed as it was there. `returning` is
    None if nothing was replaced: then nobody knows who was removed since.
    """

    about: BackupFacts
    seen: dict[str, Position] = field(default_factory=dict)
    public_kept: bool = False
    returning: Returning | None = None
    unreadable: str = ""
    """Why the register of the replaced folder could not be compared."""
    before: Path | None = None
    """Where what was there is now."""
    database: str | None = None
    """The database that members and accounts are in now, as it is shown; None: files."""
    damaged: tuple[str, ...] = ()
    """Partitions that lack files."""


def restore(
    backup: Path,
    data: Path,
    *,
    identity: Path | None = None,
    replace: bool = False,
    people: Literal["remove", "return"] | None = None,
    old_public: bool = False,
    dry_run: bool = False,
    database: DatabaseUrl | None = None,
    files: bool = False,
) -> Restored:
    """Put what a backup holds into a data folder: an empty or new one, or, to `replace`, one of a server.

    `people` says what becomes of members that the replaced folder no longer has: they are removed again, or
    they return. What is published in the replaced folder stays published if it is newer, of the same root and
    its keys are in the backup, unless `old_public`.

    Members and accounts go into an empty `database`, or into `files` of the folder. One of both must be given
    if they were in PostgreSQL, unless it is a `dry_run`.

    Raises BadInput (the folder, the backup, the database), ChoiceNeeded (people would return, and it was not
    said whether they shall), Busy, OurError. Then nothing is changed.
    """
    data = Path(data).absolute()
    before = _check_place(data, replace=replace)
    if not backup.is_file():
        raise BadInput(f"there is no backup at {backup}", hint="give the file that `server backup` wrote")
    with contextlib.ExitStack() as stack:
        broken: list[str] = []
        there = data.with_name(f".{data.name}.restore")
        place = stack.enter_context(scratch(there, "restore", lambda left: broken.append(_claim_in(left))))
        with _opened(backup, identity) as stream:
            done = Restored(unpack(stream, place))
        folder = DataFolder(place)
        if done.about.postgres:
            if database is None and not (files or dry_run):
                raise BadInput(
                    "members and accounts of this server were in PostgreSQL",
                    hint="give --database URL (an empty database), or --files (they are in the folder then)",
                )
            folder.name_database("")
        _check(folder, done)
        if before is not None:
            stack.enter_context(before.lock(wait=LOCK_WAIT))
            _compare(before, folder, done, people, old_public=old_public)
        if dry_run:
            return done
        if database is not None:
            _move(folder, database, broken[0])
            stack.enter_context(_discarded_on_error(database))
            done.database = str(database)
        _put(place, data, done, replace=replace)
    (data / _CLAIM).unlink(missing_ok=True)
    return done


def _put(place: Path, data: Path, done: Restored, *, replace: bool) -> None:
    """Have what was unpacked where it belongs. Raises OurError."""
    _sync(place)
    try:
        if not replace:
            durable.rename(place, data)
        else:
            done.before = data.with_name(f"{data.name}{BEFORE}")
            durable.rename(place, done.before)
            durable.exchange(done.before, data)
    except OSError as error:
        if done.before is not None:
            with contextlib.suppress(OSError):
                durable.rename(done.before, place)
        raise OurError(
            f"{data} cannot be put in its place: {error.strerror}",
            hint="a mounted folder cannot be replaced: restore into a folder inside of it",
        ) from error


def _claim_in(place: Path) -> str:
    """By what the stores are marked that a killed restore may have left in a database."""
    try:
        found = (place / _CLAIM).read_text("ascii")
    except (OSError, UnicodeDecodeError):
        return ""
    return found if re.fullmatch(r"[0-9a-f]{32}", found) else ""


def _move(folder: DataFolder, database: DatabaseUrl, broken: str) -> None:
    """Have the stores in the database, and not in the folder, which remembers by what they are known.

    As long as it is not in its place, they are nobody's: after a kill the next restore removes them.
    """
    claim = secrets.token_hex(16)
    durable.write(folder.path / _CLAIM, claim.encode())
    move_to_database(folder, database, claim, broken)
    for path in (folder.registry, folder.accounts):
        for one in path.parent.glob(f"{path.name}*"):
            if remains := erasure.erase(one).remains:
                raise OurError(f"{remains[0].path} cannot be erased: {remains[0].reason}", hint="remove it")


@contextlib.contextmanager
def _discarded_on_error(database: DatabaseUrl) -> Iterator[None]:
    try:
        yield
    except BaseException:
        discard_stores(database)
        raise


def undo(data: Path) -> Path:
    """Exchange a data folder with what it was before it was replaced; where the other one is now."""
    data = Path(data).absolute()
    before = data.with_name(f"{data.name}{BEFORE}")
    for path in (data, before):
        DataFolder.existing(path)
    with DataFolder(data).lock(wait=LOCK_WAIT):
        durable.exchange(before, data)
    return before


def _check_place(data: Path, *, replace: bool) -> DataFolder | None:
    """The folder that is replaced, if one is. Raises BadInput."""
    if replace:
        folder = DataFolder.existing(data)
        before = data.with_name(f"{data.name}{BEFORE}")
        if before.exists():
            raise BadInput(
                f"{before} is there from an earlier restore", hint="remove it once it is not needed any more"
            )
        return folder
    if (data / "server.toml").exists():
        raise BadInput(f"{data} is the data folder of a server", hint="give another folder, or --replace")
    if data.exists() and (not data.is_dir() or any(data.iterdir())):
        raise BadInput(f"{data} is not an empty folder", hint="give a new folder")
    if not data.parent.is_dir():
        raise BadInput(f"there is no folder {data.parent}", hint="make it first")
    return None


@contextlib.contextmanager
def _opened(backup: Path, identity: Path | None) -> Iterator[BinaryIO]:
    try:
        with backup.open("rb") as file:
            is_encrypted = file.read(len(MAGIC)) == MAGIC
            file.seek(0)
            if not is_encrypted:
                yield file
                return
        with decrypting(backup, identity) as stream:
            yield stream
    except OSError as error:
        raise OurError(
            f"the backup cannot be unpacked: {error.strerror} ({error.filename or backup})",
            hint="check the free space beside the data folder",
        ) from error


def _check(folder: DataFolder, done: Restored) -> None:
    """Whether what was unpacked is a data folder that this program can run. Nothing of it is changed."""
    for path in (folder.public, *(folder.public / part for part in PUBLIC)):
        durable.make_folder(path, mode=durable.PUBLIC_FOLDER)
        path.chmod(durable.PUBLIC_FOLDER)
    for path in folder.public.rglob("*"):
        path.chmod(durable.PUBLIC_FILE if path.is_file() else durable.PUBLIC_FOLDER)
    for path, what, steps in (
        (folder.registry, "registry", REGISTRY_STEPS),
        (folder.accounts, "accounts database", ACCOUNTS_STEPS),
    ):
        if path.stem in done.about.databases:
            check_version(f"the {what} in the backup", version_of(path, what), steps)
    folder.settings()
    repository = Repository(folder.public)
    if root_fingerprint(repository.root_bytes()) != done.about.fingerprint:
        raise BadInput("the backup is damaged: its root is another one", hint="use another backup")
    done.damaged = tuple(
        f"{audience} {part}"
        for audience in AUDIENCES
        if (manifest := repository.current(audience)) is not None
        for part in damaged_parts(folder.data, manifest)
    )
    if done.about.keys and not Keyring.is_locked(folder.keys):
        Keyring.open(folder.keys, None).signers()


def _compare(
    before: DataFolder,
    folder: DataFolder,
    done: Restored,
    people: Literal["remove", "return"] | None,
    *,
    old_public: bool,
) -> None:
    """What the folder that is replaced knows, and the backup does not."""
    try:
        now = _Stores(before)
    except OurError as error:  # that it is damaged may be why somebody restores
        done.unreadable = str(error)
    else:
        with contextlib.closing(now), contextlib.closing(_Stores(folder)) as then:
            _compare_stores(then, now, done, people)
    _choose_public(before, folder, done, old_public=old_public)
    _keep_longer_log(before, folder)


class _Stores:
    """Members and accounts of a folder."""

    def __init__(self, folder: DataFolder) -> None:
        with contextlib.ExitStack() as stack:
            self.members = stack.enter_context(contextlib.closing(open_members(folder)))
            self.accounts = stack.enter_context(contextlib.closing(open_accounts(folder)))
            self.close = stack.pop_all().close


def _compare_stores(
    then: _Stores, now: _Stores, done: Restored, people: Literal["remove", "return"] | None
) -> None:
    found = done.returning = returning(then.members, now.members)
    found.accounts = sorted(
        {one.name for one in then.accounts.list()} - {one.name for one in now.accounts.list()}
    )
    if (found.people or found.accounts) and people is None:
        raise ChoiceNeeded(
            f"since the backup {found.people:,} members were removed, left or objected, and "
            f"{len(found.accounts):,} accounts were revoked: they would all return",
            hint="say --removed remove (they are removed again), or --removed return",
        )
    if people == "remove":
        take_out(then.members, found)
        if found.accounts:
            then.accounts.revoke(*found.accounts)
        if reason := then.members.erase():
            raise OurError(f"who was removed cannot be erased: {reason}", hint="try again")


def _choose_public(before: DataFolder, folder: DataFolder, done: Restored, *, old_public: bool) -> None:
    try:
        newer = Repository(before.public)
        same_root = newer.roots(1)[0].to_bytes() == Repository(folder.public).roots(1)[0].to_bytes()
        current = [one for audience in AUDIENCES if (one := newer.current(audience)) is not None]
    except (OurError, OSError, IndexError):
        return  # it is damaged: that may be why somebody restores
    published = done.about.published
    ahead = {
        one.audience: Position(one.epoch, one.edition)
        for one in current
        if Position(one.epoch, one.edition) > Position(*published.get(one.audience, (0, 0)))
    }
    seeds = all(
        (folder.keys / seed_name(one.audience, epoch.epoch)).exists()
        for one in current
        for epoch in (one, one.ahead())
        if epoch is not None
    )
    whole = not any(damaged_parts(before.data, one) for one in current)
    if ahead and same_root and seeds and whole and not old_public:
        for part in PUBLIC:
            for path in (folder.public / part).iterdir():
                path.unlink()
            link_all(before.public / part, folder.public / part)
        shutil.rmtree(folder.log, ignore_errors=True)
        if before.log.exists():
            shutil.copytree(before.log, folder.log)
        done.public_kept, done.damaged = True, ()
    else:
        done.seen = ahead


def _keep_longer_log(before: DataFolder, folder: DataFolder) -> None:
    """Have the log of the replaced folder, if it is the same and longer: what was logged stays so."""
    with contextlib.suppress(OurError):  # it is damaged: that may be why somebody restores
        now, then = (last_checkpoint(one.public / "log") for one in (before, folder))
        if now is not None and then is not None and now.origin == then.origin and now.size > then.size:
            shutil.rmtree(folder.public / "log")
            link_log(before.public, folder.public)


def _sync(place: Path) -> None:
    """Have everything in a folder on the disk: databases may have been opened, files linked."""
    for path in (*place.rglob("*"), place):
        if path.is_dir():
            durable.sync_folder(path)
