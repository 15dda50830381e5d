"""The operator's secrets: the TUF role keys, and the VOPRF seed of each epoch.

```
keys/                        0700
  keyring.json               0600   how the others are sealed
  tuf-ROLE.json              0600   Ed25519 private key
  voprf-AUDIENCE-EPOCH.json  0600   32-byte seed of DeriveKeyPair
```

Under a passphrase each secret is sealed by ChaCha20-Poly1305 with a key from Argon2id (RFC 9106 §4, second
recommended option: 3 passes, 4 lanes, 64 MiB); the file's name is the associated data, so that files cannot
be swapped. Any role key may be moved offline; what needs it then says so.
"""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from typing import Any, Final, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from securesystemslib.signer import CryptoSigner, Signer

from contactsync.foundation import durable
from contactsync.foundation.errors import BadInput, OurError
from contactsync.publication.tuf.repository import ROLES
from contactsync.voprf.server import KeyPair, derive_key_pair

_FORMATS: Final = "contactsync-key-"
FORMAT: Final = f"{_FORMATS}1"
SECRET_BYTES: Final = 32
_ARGON2: Final = {"name": "argon2id", "iterations": 3, "lanes": 4, "memory_kib": 65536}
_MAX_MEMORY_KIB: Final = 4 << 20
_KEYRING: Final = "keyring.json"


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
                "the keys are under a passphrase",
                hint="give --passphrase-file, or set CONTACTSYNC_PASSPHRASE",
            )
        keyring = cls(folder, _derive(kdf, passphrase))
        keyring._open(_KEYRING)
        return keyring

    @classmethod
    def create(cls, folder: Path, passphrase: bytes | None) -> Self:
        """A new keyring with a key for each TUF role, in a new folder."""
        durable.make_folder(folder, exist_ok=False)
        kdf = None if passphrase is None else {**_ARGON2, "salt": secrets.token_hex(16)}
        keyring = cls(folder, None if kdf is None or passphrase is None else _derive(kdf, passphrase))
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
        except (OSError, ValueError, AttributeError):
            return False  # opening it says what is wrong

    def signers(self) -> dict[str, Signer]:
        """The signers of those TUF roles whose keys are here."""
        found: dict[str, Signer] = {}
        for role in ROLES:
            if (self._folder / f"tuf-{role}.json").exists():
                found[role] = CryptoSigner(
                    Ed25519PrivateKey.from_private_bytes(self._open(f"tuf-{role}.json"))
                )
        return found

    def has_seed(self, audience: str, epoch: int) -> bool:
        """Whether there is a VOPRF seed for an epoch."""
        return (self._folder / seed_name(audience, epoch)).exists()

    def new_seed(self, audience: str, epoch: int) -> None:
        """Draw and store the seed of a new epoch. An existing one is never replaced."""
        assert not self.has_seed(audience, epoch)
        self._seal(seed_name(audience, epoch), secrets.token_bytes(SECRET_BYTES))

    def key_pair(self, audience: str, epoch: int) -> KeyPair:
        """The VOPRF key pair of an epoch: DeriveKeyPair(seed, "contactsync/v1/AUDIENCE/EPOCH")."""
        seed = self._open(seed_name(audience, epoch))
        return derive_key_pair(seed, f"contactsync/v1/{audience}/{epoch}".encode())

    def destroy_seeds(self, audience: str, before_epoch: int) -> None:
        """Delete the seeds of epochs that are over, for good: they would open archived directories."""
        for path in self._folder.glob(f"voprf-{audience}-*.json"):
            epoch = path.stem.rpartition("-")[2]
            if epoch.isdecimal() and int(epoch) < before_epoch:
                durable.remove(path)

    def _seal(self, name: str, secret: bytes, **more: object) -> None:
        if self._aead is None:
            body: dict[str, object] = {"secret": secret.hex()}
        else:
            nonce = secrets.token_bytes(12)
            body = {"nonce": nonce.hex(), "sealed": self._aead.encrypt(nonce, secret, _label(name)).hex()}
        text = json.dumps({"format": FORMAT, **more, **body}, indent=1)
        durable.write(self._folder / name, text.encode() + b"\n")

    def _open(self, name: str) -> bytes:
        body = self._read(name)
        try:
            if self._aead is None:
                secret = bytes.fromhex(body["secret"])
            else:
                nonce, sealed = bytes.fromhex(body["nonce"]), bytes.fromhex(body["sealed"])
                secret = self._aead.decrypt(nonce, sealed, _label(name))
        except InvalidTag:
            if name == _KEYRING:
                raise BadInput("the passphrase of the keys is wrong", hint="nothing was changed") from None
            raise self._damaged(name) from None
        except (KeyError, TypeError, ValueError):
            raise self._damaged(name) from None
        if len(secret) != SECRET_BYTES:
            raise self._damaged(name)
        return secret

    def _read(self, name: str) -> dict[str, Any]:
        """A key file's JSON, if nobody but its owner can read it."""
        path = self._folder / name
        try:
            for place in (self._folder, path):
                if place.stat().st_mode & 0o077:
                    wanted = "700" if place.is_dir() else "600"
                    raise OurError(
                        f"{place} can be read by others than its owner",
                        hint=f"run `chmod {wanted} {place}`, and ask who could have read it until now",
                    )
            body = json.loads(path.read_bytes())
        except FileNotFoundError:
            raise OurError(f"there is no key {path}", hint="restore keys/ from a backup") from None
        except PermissionError:
            raise OurError(
                f"{path} may not be read", hint="run as the user who owns the data folder"
            ) from None
        except ValueError:
            raise self._damaged(name) from None
        if not isinstance(body, dict) or not str(body.get("format")).startswith(_FORMATS):
            raise self._damaged(name)
        if body["format"] != FORMAT:
            raise OurError(f"a newer contactsync wrote {path}", hint="update contactsync")
        return body

    def _damaged(self, name: str) -> OurError:
        return OurError(f"the key file {self._folder / name} is damaged", hint="restore it from a backup")


def seed_name(audience: str, epoch: int) -> str:
    """The file of an epoch's seed."""
    return f"voprf-{audience}-{epoch}.json"


def _label(name: str) -> bytes:
    return f"{FORMAT}\0{name}".encode()


def _derive(kdf: dict[str, Any], passphrase: bytes) -> ChaCha20Poly1305:
    try:
        known = kdf["name"] == _ARGON2["name"] and kdf["memory_kib"] <= _MAX_MEMORY_KIB
        argon2 = known and Argon2id(
            salt=bytes.fromhex(kdf["salt"]),
            length=32,
            iterations=kdf["iterations"],
            lanes=kdf["lanes"],
            memory_cost=kdf["memory_kib"],
        )
    except (KeyError, TypeError, ValueError, OverflowError):
        argon2 = False
    if not argon2:
        raise OurError("keyring.json is damaged", hint="restore it from a backup")
    return ChaCha20Poly1305(argon2.derive(passphrase))


def read_passphrase(file: Path | None) -> bytes | None:
    """The passphrase from a file (its first line), else from CONTACTSYNC_PASSPHRASE, else None."""
    if file is not None:
        try:
            lines = file.read_bytes().splitlines()
        except OSError as error:
            raise BadInput(f"the passphrase file {file} cannot be read: {error.strerror}") from error
        passphrase = lines[0] if lines else b""
    elif "CONTACTSYNC_PASSPHRASE" in os.environ:
        passphrase = os.environb[b"CONTACTSYNC_PASSPHRASE"]
    else:
        return None
    if not passphrase:
        raise BadInput("the passphrase is empty", hint="write it into the file, or unset the variable")
    return passphrase
