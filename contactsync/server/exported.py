"""A role's key as a file that leaves the server, or was never on it.

```
{"format": "contactsync-signing-key-1", "role": "root", "keyid": "...", "public": "...",
 "root": "...",     SHA-256 of the root that was in force when it was exported; null if it was drawn elsewhere
 "kdf": {...}, "nonce": "...", "sealed": "..."}      or, without a passphrase: "kdf": null, "secret": "..."
```

All but the seal itself is associated data: what the file says of its key cannot be changed without the
passphrase. The public half goes to the server as a file of its own (`contactsync-public-key-1`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from securesystemslib.signer import Key, Signer, SSlibKey

from contactsync.foundation import durable
from contactsync.foundation.errors import BadInput, OurError
from contactsync.foundation.roles import ROLES
from contactsync.publication import canonical
from contactsync.server import sealing
from contactsync.server.keyring import check_private, signer_of

_KEYS: Final = "contactsync-signing-key-"
_PUBLIC: Final = "contactsync-public-key-"
SIGNING_KEY: Final = f"{_KEYS}1"
PUBLIC_KEY: Final = f"{_PUBLIC}1"
_MAX_BYTES: Final = 16 << 10


@dataclass(frozen=True, slots=True)
class ExportedKey:
    """The file at `path`. `root` is the SHA-256 of the root that it knows, if it knows one."""

    path: Path
    role: str
    keyid: str
    root: str | None
    _body: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> Self:
        """Raises BadInput (it is none, or is damaged), OurError (others can read it)."""
        body = _read(path, _KEYS, SIGNING_KEY, "an exported signing key")
        check_private(path)
        _public_key(path, body)
        root = body.get("root")
        if not (root is None or isinstance(root, str)):
            raise _damaged(path)
        return cls(path, body["role"], body["keyid"], root, body)

    @property
    def is_locked(self) -> bool:
        """Whether a passphrase is needed."""
        return self._body.get("kdf") is not None

    def secret(self, passphrase: bytes | None) -> bytes:
        """The private key. Raises BadInput (no or a wrong passphrase; it is damaged)."""
        kdf, aead = self._body.get("kdf"), None
        try:
            if kdf is not None:
                if passphrase is None:
                    raise BadInput(
                        f"the key in {self.path} is encrypted with a passphrase",
                        hint="give --key-passphrase-file",
                    )
                aead = sealing.derive(kdf, passphrase)
            secret = sealing.unseal(aead, _label(self._body), self._body)
        except sealing.NotOpened:
            raise BadInput(
                f"the passphrase of the key in {self.path} is wrong, or the file was changed",
                hint="nothing was changed",
            ) from None
        except ValueError:
            raise _damaged(self.path) from None
        if signer_of(secret).public_key.keyid != self.keyid:
            raise _damaged(self.path)
        return secret

    def signer(self, passphrase: bytes | None) -> Signer:
        """What signs with it. Raises as `secret`."""
        return signer_of(self.secret(passphrase))


def new_secret() -> bytes:
    """A new private key."""
    return Ed25519PrivateKey.generate().private_bytes_raw()


def write_key(
    path: Path, role: str, secret: bytes, passphrase: bytes | None, root: str | None
) -> ExportedKey:
    """Write a private key (0600) and read it again. Raises BadInput if something is there already."""
    if path.exists():
        raise BadInput(f"{path} already exists", hint="name a new file; nothing was changed")
    public = signer_of(secret).public_key
    body: dict[str, Any] = {
        "format": SIGNING_KEY,
        "role": role,
        "keyid": public.keyid,
        "public": public.keyval["public"],
        "root": root,
        "kdf": None if passphrase is None else sealing.new_kdf(),
    }
    aead = None if passphrase is None else sealing.derive(body["kdf"], passphrase)
    body |= sealing.seal(aead, _label(body), secret)
    _write(path, body, durable.PRIVATE_FILE)
    written = ExportedKey.read(path)
    assert written.secret(passphrase) == secret
    return written


def write_public(path: Path, role: str, secret: bytes) -> None:
    """Write the public half of a key, for the server's operator."""
    public = signer_of(secret).public_key
    body = {"format": PUBLIC_KEY, "role": role, "keyid": public.keyid, "public": public.keyval["public"]}
    _write(path, body, durable.PUBLIC_FILE)


def read_public(path: Path, role: str) -> Key:
    """The public key of a file, made for this role. Raises BadInput."""
    body = _read(path, _PUBLIC, PUBLIC_KEY, "a public key")
    key = _public_key(path, body)
    if body["role"] != role:
        raise BadInput(
            f"{path} is a key for the role {body['role']}, not {role}",
            hint="use a separate key for each role",
        )
    return key


def keys_in(places: Sequence[Path]) -> list[ExportedKey]:
    """The exported keys of files, and of folders those that are there. Raises as ExportedKey.read."""
    found = []
    for place in places:
        files = sorted(place.glob("*.json")) if place.is_dir() else [place]
        found += [ExportedKey.read(file) for file in files if not place.is_dir() or _is_key(file)]
    return found


def _is_key(path: Path) -> bool:
    try:
        return _KEYS.encode() in path.read_bytes()[:_MAX_BYTES]
    except OSError:
        return False


def _read(path: Path, formats: str, known: str, what: str) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            body = json.loads(file.read(_MAX_BYTES))
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}", hint="name the right file") from error
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict) or not str(body.get("format")).startswith(formats):
        raise BadInput(f"{path} is not {what}", hint="name the right file")
    if body["format"] != known:
        raise OurError(f"a newer contactsync wrote {path}", hint="update contactsync")
    return body


def _write(path: Path, body: dict[str, Any], mode: int) -> None:
    try:
        durable.write(path, json.dumps(body, indent=1).encode() + b"\n", mode=mode)
    except OSError as error:
        raise BadInput(f"{path} cannot be written: {error.strerror}", hint="name another file") from error


def _public_key(path: Path, body: dict[str, Any]) -> Key:
    """The key that a file speaks of, if its members agree."""
    try:
        key = SSlibKey.from_crypto(Ed25519PublicKey.from_public_bytes(bytes.fromhex(body["public"])))
    except (KeyError, TypeError, ValueError):
        raise _damaged(path) from None
    if body.get("role") not in ROLES or body.get("keyid") != key.keyid:
        raise _damaged(path)
    return key


def _label(body: dict[str, Any]) -> bytes:
    named = ("format", "role", "keyid", "public", "root", "kdf")
    return canonical.encode({name: body.get(name) for name in named})


def _damaged(path: Path) -> BadInput:
    return BadInput(f"the key file {path} is damaged", hint="use a copy of it")
