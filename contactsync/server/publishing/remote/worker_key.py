"""The key that publisher and workers share, and what it seals.

It is a file of its own on each of these machines (0600). Jobs and results pass a scheduler that has no such
file: it sees only sealed octets. The key is symmetric. The publisher holds every secret that is sealed, so a
public key in its hands would protect nothing more; and a shared key also says who made a job or a result.

Each message has a key of its own, HKDF-SHA256 (RFC 5869) of the shared one under 32 random octets, and is
sealed by ChaCha20-Poly1305 (RFC 8439) with the nonce 0.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from contactsync.foundation import durable
from contactsync.foundation.errors import BadInput
from contactsync.server.keyring import check_private
from contactsync.server.sealing import SECRET_BYTES

_FORMAT: Final = "contactsync-worker-key-1"
_MESSAGE_SALT_BYTES: Final = 32
_NONCE: Final = bytes(12)  # once only under each key
_MAKE: Final = "`contactsync server worker-key FILE` makes one; copy it to each worker, and to nobody else"


class NotSealedByUs(Exception):
    """The octets were sealed under another key, for another purpose, or were changed."""


@dataclass(frozen=True, slots=True)
class WorkerKey:
    """The secret of 32 octets; not in its `repr`."""

    secret: bytes = field(repr=False)

    @staticmethod
    def create(path: Path) -> None:
        """Draw a key and write it to a new file. Raises BadInput if there is something already."""
        if path.exists():
            raise BadInput(f"{path} exists already", hint="give another name; nothing was changed")
        body = {"format": _FORMAT, "secret": secrets.token_hex(SECRET_BYTES)}
        try:
            durable.write(path, json.dumps(body, indent=1).encode() + b"\n")
        except OSError as error:
            raise BadInput(f"the worker key cannot be written to {path}: {error.strerror}") from error

    @classmethod
    def read(cls, path: Path) -> WorkerKey:
        """Raises BadInput (no such file, or none of ours), OurError (others can read it)."""
        try:
            check_private(path)
            body = json.loads(path.read_bytes())
            kind, secret = body["format"], bytes.fromhex(body["secret"])
        except OSError as error:
            raise BadInput(f"cannot read the worker key {path}: {error.strerror}", hint=_MAKE) from error
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise BadInput(f"{path} is no worker key", hint=_MAKE) from error
        if kind != _FORMAT or len(secret) != SECRET_BYTES:
            raise BadInput(f"{path} is no worker key of this version", hint=_MAKE)
        return cls(secret)

    def seal(self, label: bytes, message: bytes) -> bytes:
        """Salt and sealed octets. `label` is bound to them: what opens them has to know it."""
        salt = secrets.token_bytes(_MESSAGE_SALT_BYTES)
        return salt + self._aead(salt).encrypt(_NONCE, message, label)

    def open(self, label: bytes, sealed: bytes) -> bytes:
        """The message. Raises NotSealedByUs."""
        try:
            salt, octets = sealed[:_MESSAGE_SALT_BYTES], sealed[_MESSAGE_SALT_BYTES:]
            return self._aead(salt).decrypt(_NONCE, octets, label)
        except InvalidTag:
            raise NotSealedByUs from None

    def _aead(self, salt: bytes) -> ChaCha20Poly1305:
        derived = HKDF(SHA256(), SECRET_BYTES, salt, b"contactsync/v1/worker").derive(self.secret)
        return ChaCha20Poly1305(derived)
