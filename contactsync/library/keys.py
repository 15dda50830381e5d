"""The signing keys of a server's roles: which there are, and how they change, leave and come back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from tuf.api.metadata import Root

from contactsync.foundation.errors import BadInput
from contactsync.foundation.roles import OFFLINE, ROLES
from contactsync.publication.tuf.ceremony import KeyChange
from contactsync.publication.tuf.follower import root_fingerprint
from contactsync.publication.tuf.repository import Repository
from contactsync.publication.tuf.request import SigningRequest
from contactsync.publication.tuf.summary import SHOWN_KEY
from contactsync.server.exported import ExportedKey, new_secret, read_public, write_key, write_public
from contactsync.server.keyring import Keyring
from contactsync.server.prepared import change_keys
from contactsync.server.settings import LOCK_WAIT, DataFolder

__all__ = ["SHOWN_KEY", "ExportedKey", "KeysChanged", "RoleKeys", "RoleOfKeys", "generate_key", "key_named"]

_LEAST_DIGITS = 8


@dataclass(frozen=True, slots=True)
class RoleOfKeys:
    """The keys of a role: those that the root names, and others that are here; the file of each (or None)."""

    role: str
    threshold: int
    keys: dict[str, str | None]
    not_in_force: dict[str, str]
    expires: datetime | None


@dataclass(frozen=True, slots=True)
class KeysChanged:
    """What came of a change: how many keys the role has now, or (`request`) what has to be signed first."""

    count: int
    threshold: int
    request: SigningRequest | None = None


class RoleKeys:
    """The keys of one server: `Server.keys`. Each method opens the keyring anew."""

    def __init__(self, folder: DataFolder, passphrase: bytes | None) -> None:
        self._folder = folder
        self._passphrase = passphrase
        self._repository = Repository(folder.public)

    @property
    def root_version(self) -> int:
        """The version of the root that is in force."""
        return int(self._repository.root().version)

    def list(self) -> list[RoleOfKeys]:
        """Every role with its keys. Raises OurError, BadInput (the passphrase)."""
        keyring, root, expires = self._keyring(), self._repository.root(), self._repository.expiries()
        found = []
        for role in ROLES:
            here = {one.public_key.keyid: f"tuf-{name}.json" for name, one in keyring.signers([role]).items()}
            named = root.roles[role].keyids
            found.append(
                RoleOfKeys(
                    role,
                    root.roles[role].threshold,
                    {keyid: here.get(keyid) for keyid in named},
                    {keyid: file for keyid, file in here.items() if keyid not in named},
                    expires.get(role),
                )
            )
        return found

    def export(
        self, role: str, file: Path, passphrase: bytes | None, *, key: str | None = None, remove: bool = False
    ) -> str:
        """Write a key to a file (0600) under a passphrase of its own; its id. See `key_named` for `key`.

        `remove` deletes it here once the file was read back. Raises BadInput.
        """
        check_role(role)
        self.check_export(role, remove=remove)
        keyring = self._keyring()
        here = [signer.public_key.keyid for signer in keyring.signers([role]).values()]
        if not here:
            raise BadInput(f"no key of the role {role} is here", hint="`server keys list`")
        if key is None and len(here) > 1:
            raise BadInput(f"several keys of the role {role} are here", hint="choose one with --key")
        keyid = key_named(here, key, role) if key else here[0]
        root = root_fingerprint(self._repository.root_bytes())
        with self._folder.lock(wait=LOCK_WAIT):
            write_key(file, role, keyring.secret_of(role, keyid), passphrase, root)
            if remove:
                keyring.remove_keys(role, [keyid])
        return keyid

    @staticmethod
    def check_export(role: str, *, remove: bool) -> None:
        """Raises BadInput if `serve` needs what is to be removed."""
        if remove and role not in OFFLINE:
            raise BadInput(
                f"`serve` needs the key of the role {role} here", hint="export it without --remove"
            )

    def check_import(self, key: ExportedKey) -> None:
        """Raises BadInput if the root does not name this key for its role."""
        if key.keyid not in self._repository.root().roles[key.role].keyids:
            raise BadInput(
                f"the root of this server does not name {key.keyid[:SHOWN_KEY]} for the role {key.role}",
                hint="it belongs to another server or was removed; add a new key with `keys add --public`",
            )

    def import_key(self, key: ExportedKey, passphrase: bytes | None) -> None:
        """Put an exported key back. Raises BadInput."""
        self.check_import(key)
        keyring, secret = self._keyring(), key.secret(passphrase)
        with self._folder.lock(wait=LOCK_WAIT):
            keyring.add_key(key.role, secret)

    def change(
        self,
        role: str,
        *,
        leave: Sequence[str] | None = (),
        join: Sequence[Path] = (),
        threshold: int | None = None,
        draw: bool = False,
        elsewhere: bool = False,
    ) -> KeysChanged:
        """Change the keys of a role: some leave (None: all), those of public files join, or one is drawn.

        It is made at once if the keys that must sign are here; with `elsewhere` it is prepared. Raises
        BadInput, OurError.
        """
        check_role(role)
        joining = [read_public(file, role) for file in join]

        def change(root: Root) -> KeyChange:
            named = root.roles[role].keyids
            leaving = named if leave is None else [key_named(named, digits, role) for digits in leave]
            return KeyChange(role, leaving, joining, threshold)

        request = change_keys(self._folder, self._keyring(), change, draw=draw, elsewhere=elsewhere)
        now = self._repository.root().roles[role]
        return KeysChanged(len(now.keyids), now.threshold, request)

    def _keyring(self) -> Keyring:
        return Keyring.open(self._folder.keys, self._passphrase)


def generate_key(role: str, file: Path, passphrase: bytes | None) -> str:
    """Generate a key away from a server: the key in `file` (0600), its public half beside it; its id."""
    check_role(role)
    secret = new_secret()
    written = write_key(file, role, secret, passphrase, root=None)
    write_public(file.with_name(f"{file.name}.pub"), role, secret)
    return written.keyid


def check_role(role: str) -> None:
    """Raises BadInput if there is no such role."""
    if role not in ROLES:
        raise BadInput(f"there is no role {role!r}", hint=f"the roles are {', '.join(ROLES)}")


def key_named(keyids: Sequence[str], digits: str, role: str) -> str:
    """The key whose id begins with these digits, or whose public half is in this file. Raises BadInput."""
    if Path(digits).is_file():
        digits = read_public(Path(digits), role).keyid
    found = [keyid for keyid in keyids if keyid.startswith(digits.lower())]
    if len(digits) < _LEAST_DIGITS or len(found) != 1:
        raise BadInput(
            f"{digits} names no key of the role" if not found else f"{digits} names several keys",
            hint=f"give at least {_LEAST_DIGITS} digits of an id that `server keys list` shows",
        )
    return found[0]
