"""The operator's secrets on the server: keys of TUF roles, and the VOPRF seed of each epoch.

```
keys/                        0700
  keyring.json               0600   how the others are sealed (sealing.py)
  tuf-ROLE.json              0600   Ed25519 private key, as `init` drew it
  tuf-ROLE-KEYID.json        0600   another key of the role; the first 16 hex digits of its id
  voprf-AUDIENCE-EPOCH.json  0600   32-byte seed of DeriveKeyPair
  log-KEYID.json             0600   Ed25519 private key of the log; KEYID as its verifier key states it
  departed-PUBLIC.json       0600   X25519 private key to which tokens of who left are sealed (storage/
                                    departed.py); the first 16 hex digits of its public key. In no backup
```

The file's name is part of what is sealed, so that files cannot be swapped. Any role key may live elsewhere;
what needs it then says so. The serving process opens those of the online roles, and no others: which files
are opened follows from the roles that `signers` is asked for.

A seed's file also says, in the clear, when it was drawn and what for. It comes to the disk with the seed and
goes with it, so that a rotation that was killed needs no other record.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import secrets
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from securesystemslib.signer import CryptoSigner, Signer

from contactsync.foundation import durable
from contactsync.foundation.errors import BadInput, OurError
from contactsync.foundation.roles import ROLES
from contactsync.publication.log.notes import ED25519, NoteSigner, Verifier
from contactsync.server import sealing
from contactsync.server.sealing import SECRET_BYTES

if TYPE_CHECKING:
    from contactsync.server.storage.departed import DepartedKeys
    from contactsync.voprf.server import KeyPair

_FORMATS: Final = "contactsync-key-"
FORMAT: Final = f"{_FORMATS}1"
DEPARTED: Final = "departed-"
_KEYRING: Final = "keyring.json"
_NOT_KEPT: Final = ("format", "kdf", "secret", "nonce", "sealed")  # of a file that is sealed anew
_ID_DIGITS: Final = 16  # of a key's id in the name of its file


@dataclass(frozen=True, slots=True)
class SeedFacts:
    """What a seed's file says in the clear.

    `drawn` is seconds since 1970. `overlap`, in seconds, is that of the rotation that the seed was drawn for;
    None: for a new epoch at once. `taken_back`: the rotation is over, and the seed to be destroyed.
    """

    drawn: int
    overlap: int | None = None
    taken_back: bool = False


class Keyring:
    """The secrets of one data folder, unlocked."""

    def __init__(self, folder: Path, aead: ChaCha20Poly1305 | None) -> None:
        self._folder = folder
        self._aead = aead

    @classmethod
    def open(cls, folder: Path, passphrase: bytes | None) -> Self:
        """Raises OurError (missing, damaged or too open files), BadInput (no or a wrong passphrase)."""
        keyring = cls(folder, None)
        kdf = keyring._read(_KEYRING).get("kdf")
        if kdf is None:
            return keyring
        if passphrase is None:
            raise BadInput(
                "the keys are encrypted with a passphrase",
                hint="give --passphrase-file, or set CONTACTSYNC_PASSPHRASE",
            )
        try:
            keyring = cls(folder, sealing.derive(kdf, passphrase))
        except ValueError:
            raise keyring._damaged(_KEYRING) from None
        keyring._open(_KEYRING)
        return keyring

    @classmethod
    def create(cls, folder: Path, passphrase: bytes | None) -> Self:
        """A new keyring with a key for each TUF role, in a new folder."""
        durable.make_folder(folder, exist_ok=False)
        kdf = None if passphrase is None else sealing.new_kdf()
        keyring = cls(folder, None if passphrase is None else sealing.derive(kdf, passphrase))
        # Its own secret is random and serves nothing but to tell a wrong passphrase from a damaged key file.
        keyring._seal(_KEYRING, secrets.token_bytes(SECRET_BYTES), kdf=kdf)
        for role in ROLES:
            keyring._seal(f"tuf-{role}.json", Ed25519PrivateKey.generate().private_bytes_raw())
        return keyring

    @staticmethod
    def is_locked(folder: Path) -> bool:
        """Whether a passphrase is needed."""
        try:
            return json.loads((folder / _KEYRING).read_bytes()).get("kdf") is not None
        except (OSError, ValueError, AttributeError, RecursionError):
            return False  # opening it says what is wrong

    def copy_to(self, folder: Path, passphrase: bytes | None) -> int:
        """Seal every key of this keyring under another passphrase, in a new folder; how many there are.

        Raises OurError if one is damaged, or a file is none of ours.
        """
        durable.make_folder(folder, exist_ok=False)
        kdf = None if passphrase is None else sealing.new_kdf()
        other = Keyring(folder, None if passphrase is None else sealing.derive(kdf, passphrase))
        names = self._names()
        for name in names:
            kept = {what: value for what, value in self._read(name).items() if what not in _NOT_KEPT}
            more = {"kdf": kdf} if name == _KEYRING else kept
            other._seal(name, self._open(name), **more)
        return len(names) - 1  # the keyring's own secret is no key

    def secrets(self) -> dict[str, tuple[bytes, SeedFacts | None]]:
        """The secret in each file, and what the file of a seed says besides."""
        found: dict[str, tuple[bytes, SeedFacts | None]] = {}
        for name in self._names():
            kind, _, rest = name.removesuffix(".json").partition("-")
            audience, _, epoch = rest.rpartition("-")
            facts = self.facts(audience, int(epoch)) if kind == "voprf" else None
            found[name] = self._open(name), facts
        return found

    def _names(self) -> list[str]:
        return sorted(path.name for path in self._folder.iterdir() if path.suffix == ".json")

    # Keys of roles

    def signers(self, roles: Collection[str] = ROLES) -> dict[str, Signer]:
        """The signers of roles whose keys are here, by the name that their files have after `tuf-`."""
        return {
            name: signer_of(self._open(f"tuf-{name}.json"))
            for role in roles
            for name in key_names(self._folder, role)
        }

    def secret_of(self, role: str, keyid: str) -> bytes:
        """The private key with this id. Raises BadInput if it is not here."""
        for name, signer in self.signers([role]).items():
            if signer.public_key.keyid == keyid:
                return self._open(f"tuf-{name}.json")
        raise BadInput(
            f"the key {keyid[:_ID_DIGITS]} of the role {role} is not here", hint="`server keys list`"
        )

    def add_key(self, role: str, secret: bytes) -> str:
        """Store a private key of a role; its name. Raises BadInput if it is already here."""
        keyid = signer_of(secret).public_key.keyid
        if any(signer.public_key.keyid == keyid for signer in self.signers([role]).values()):
            raise BadInput(f"the key {keyid[:_ID_DIGITS]} is already here", hint="nothing was changed")
        name = f"{role}-{keyid[:_ID_DIGITS]}"
        self._seal(f"tuf-{name}.json", secret)
        return name

    def remove_keys(self, role: str, keyids: Collection[str]) -> None:
        """Delete the keys of a role that have these ids, as far as they are here."""
        for name, signer in self.signers([role]).items():
            if signer.public_key.keyid in keyids:
                durable.remove(self._folder / f"tuf-{name}.json")

    # The log

    def new_log_key(self) -> Verifier:
        """Draw and store the key of a log, which also names the log."""
        key = Ed25519PrivateKey.generate()
        name = f"contactsync/{hashlib.sha256(key.public_key().public_bytes_raw()).hexdigest()[:_ID_DIGITS]}"
        verifier = NoteSigner.of(name, ED25519, key).verifier
        self._seal(_log_name(verifier), key.private_bytes_raw())
        return verifier

    def log_signer(self, verifier: Verifier) -> NoteSigner:
        """What signs for a log. Raises OurError if its key is not here."""
        key = Ed25519PrivateKey.from_private_bytes(self._open(_log_name(verifier)))
        signer = NoteSigner.of(verifier.name, ED25519, key)
        if signer.verifier != verifier:
            raise self._damaged(_log_name(verifier))
        return signer

    # Who left

    def new_departed_key(self) -> bytes | None:
        """Draw and store a key to which the register seals from now on; its public key.

        None if keys/ cannot be written: only new epochs and roles need that.
        """
        key = X25519PrivateKey.generate()
        public = key.public_key().public_bytes_raw()
        try:
            self._seal(_departed_name(public), key.private_bytes_raw())
        except OSError:
            return None
        return public

    def departed_keys(self) -> DepartedKeys:
        """All such keys that are here and whole: without one, a publish reads all tokens."""
        found = {}
        for path in self._folder.glob(f"{DEPARTED}*.json"):
            with contextlib.suppress(OurError):
                key = X25519PrivateKey.from_private_bytes(self._open(path.name))
                found[key.public_key().public_bytes_raw()] = key
        return found

    def destroy_departed_keys(self, needed: Collection[bytes]) -> None:
        """Delete those whose public keys are not needed, for good."""
        kept = {_departed_name(public) for public in needed}
        for path in self._folder.glob(f"{DEPARTED}*.json"):
            if path.name not in kept:
                durable.remove(path)

    # Seeds

    def has_seed(self, audience: str, epoch: int) -> bool:
        """Whether there is a VOPRF seed for an epoch."""
        return (self._folder / seed_name(audience, epoch)).exists()

    def new_seed(self, audience: str, epoch: int, overlap: int | None = None) -> None:
        """Draw and store the seed of a new epoch. An existing one is never replaced."""
        assert not self.has_seed(audience, epoch)
        facts = {"drawn": int(time.time())} | ({} if overlap is None else {"overlap": overlap})
        self._seal(seed_name(audience, epoch), secrets.token_bytes(SECRET_BYTES), **facts)

    def facts(self, audience: str, epoch: int) -> SeedFacts | None:
        """What the file of an epoch's seed says; None if there is none."""
        return seed_facts(self._folder, audience, epoch)

    def take_back(self, audience: str, epoch: int) -> None:
        """Mark the seed of a rotation as one that is to be destroyed. Until then it can be used."""
        name = seed_name(audience, epoch)
        body, seed = self._read(name), self._open(name)
        facts = {key: body[key] for key in ("drawn", "overlap") if key in body}
        self._seal(name, seed, **facts, taken_back=True)

    def key_pair(self, audience: str, epoch: int) -> KeyPair:
        """The VOPRF key pair of an epoch: DeriveKeyPair(seed, "contactsync/v1/AUDIENCE/EPOCH")."""
        from contactsync.voprf.server import derive_key_pair, epoch_info  # noqa: PLC0415 - loads Numba

        seed = self._open(seed_name(audience, epoch))
        return derive_key_pair(seed, epoch_info(audience, epoch))

    def destroy_seed(self, audience: str, epoch: int) -> None:
        """Delete the seed of an epoch that is not to come, for good."""
        durable.remove(self._folder / seed_name(audience, epoch))

    def destroy_seeds(self, audience: str, before_epoch: int) -> None:
        """Delete the seeds of epochs that are over, for good: they would open archived directories."""
        for epoch in ended_seeds(self._folder, audience, before_epoch):
            durable.remove(self._folder / seed_name(audience, epoch))

    # Files

    def _seal(self, name: str, secret: bytes, **more: object) -> None:
        body = {"format": FORMAT, **more, **sealing.seal(self._aead, _label(name), secret)}
        durable.write(self._folder / name, json.dumps(body, indent=1).encode() + b"\n")

    def _open(self, name: str) -> bytes:
        body = self._read(name)
        try:
            return sealing.unseal(self._aead, _label(name), body)
        except sealing.NotOpened:
            if name == _KEYRING:
                raise BadInput("the passphrase of the keys is wrong", hint="nothing was changed") from None
            raise self._damaged(name) from None
        except ValueError:
            raise self._damaged(name) from None

    def _read(self, name: str) -> dict[str, Any]:
        """A key file's JSON, if nobody but its owner can read it."""
        path = self._folder / name
        try:
            check_private(self._folder, path)
            body = json.loads(path.read_bytes())
        except FileNotFoundError:
            raise OurError(f"there is no key at {path}", hint="restore keys/ from a backup") from None
        except PermissionError:
            raise OurError(
                f"{path}: permission denied", hint="run as the user who owns the data folder"
            ) from None
        except (ValueError, RecursionError, IsADirectoryError):
            raise self._damaged(name) from None
        if not isinstance(body, dict) or not str(body.get("format")).startswith(_FORMATS):
            raise self._damaged(name)
        if body["format"] != FORMAT:
            raise OurError(f"a newer contactsync wrote {path}", hint="update contactsync")
        return body

    def _damaged(self, name: str) -> OurError:
        hint = "delete it" if name.startswith(DEPARTED) else "restore it from a backup"
        return OurError(f"the key file {self._folder / name} is damaged", hint=hint)


def key_names(folder: Path, role: str) -> list[str]:
    """The names of a role's key files, without `tuf-`: that of `init` first. Nothing is opened."""
    own = [role] if (folder / f"tuf-{role}.json").exists() else []
    return own + sorted(path.stem.removeprefix("tuf-") for path in folder.glob(f"tuf-{role}-*.json"))


def signer_of(secret: bytes) -> Signer:
    """What signs with a private key."""
    return CryptoSigner(Ed25519PrivateKey.from_private_bytes(secret))


def check_private(*places: Path) -> None:
    """Raise OurError if others than the owner can read one of these files or folders; FileNotFoundError."""
    for place in places:
        if place.stat().st_mode & 0o077:
            wanted = "700" if place.is_dir() else "600"
            raise OurError(
                f"{place} can be read by other users",
                hint=f"run `chmod {wanted} {place}`, and find out who may have read it",
            )


def seed_name(audience: str, epoch: int) -> str:
    """The file of an epoch's seed."""
    return f"voprf-{audience}-{epoch}.json"


def _departed_name(public: bytes) -> str:
    return f"{DEPARTED}{public.hex()[:_ID_DIGITS]}.json"


def _log_name(verifier: Verifier) -> str:
    return f"log-{verifier.key_id.hex()}.json"


def ended_seeds(folder: Path, audience: str, epoch: int) -> list[int]:
    """The epochs before `epoch` whose seeds are still there."""
    found = (path.stem.rpartition("-")[2] for path in folder.glob(f"voprf-{audience}-*.json"))
    return sorted(int(number) for number in found if number.isdecimal() and int(number) < epoch)


def seed_facts(folder: Path, audience: str, epoch: int) -> SeedFacts | None:
    """What the file of a seed says in the clear; None if there is none. Nothing is opened.

    A seed of an earlier version does not say when it was drawn: then the time of its file counts.
    """
    path = folder / seed_name(audience, epoch)
    try:
        body = json.loads(path.read_bytes())
        drawn, overlap = body.get("drawn", int(path.stat().st_mtime)), body.get("overlap")
        if type(drawn) is int and (overlap is None or type(overlap) is int):
            return SeedFacts(drawn, overlap, body.get("taken_back") is True)
    except FileNotFoundError:
        return None
    except (ValueError, AttributeError, RecursionError):
        pass
    raise OurError(f"the key file {path} is damaged", hint="restore it from a backup")


def _label(name: str) -> bytes:
    return f"{FORMAT}\0{name}".encode()
