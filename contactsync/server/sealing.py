"""Secrets in JSON files: sealed under a passphrase, or plain if the operator chose that.

A passphrase becomes a key by Argon2id (RFC 9106 §4, second recommended option: 3 passes, 4 lanes, 64 MiB);
the secret is sealed by ChaCha20-Poly1305. A label, which says what it is, is the associated data.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from contactsync.foundation.errors import BadInput

SECRET_BYTES: Final = 32
_ARGON2: Final = {"name": "argon2id", "iterations": 3, "lanes": 4, "memory_kib": 65536}
_MAX_MEMORY_KIB: Final = 4 << 20
_MAX_ITERATIONS: Final = 64


class NotOpened(Exception):
    """The passphrase is wrong, or the file was changed: the seal does not tell which."""


def new_kdf() -> dict[str, Any]:
    """The parameters for a new passphrase."""
    return {**_ARGON2, "salt": secrets.token_hex(16)}


def derive(kdf: Any, passphrase: bytes) -> ChaCha20Poly1305:
    """The seal of a passphrase. Raises ValueError if the parameters, from a file, are no ones of ours."""
    try:
        if (
            kdf["name"] != _ARGON2["name"]
            or kdf["memory_kib"] > _MAX_MEMORY_KIB
            or kdf["iterations"] > _MAX_ITERATIONS
        ):
            raise ValueError(kdf["name"])
        argon2 = Argon2id(
            salt=bytes.fromhex(kdf["salt"]),
            length=SECRET_BYTES,
            iterations=kdf["iterations"],
            lanes=kdf["lanes"],
            memory_cost=kdf["memory_kib"],
        )
    except (KeyError, TypeError, OverflowError) as error:
        raise ValueError("malformed") from error
    return ChaCha20Poly1305(argon2.derive(passphrase))


def seal(aead: ChaCha20Poly1305 | None, label: bytes, secret: bytes) -> dict[str, Any]:
    """The members of a file that hold a secret; in the clear without an `aead`."""
    if aead is None:
        return {"secret": secret.hex()}
    nonce = secrets.token_bytes(12)
    return {"nonce": nonce.hex(), "sealed": aead.encrypt(nonce, secret, label).hex()}


def unseal(aead: ChaCha20Poly1305 | None, label: bytes, body: dict[str, Any]) -> bytes:
    """The secret of a file. Raises NotOpened, and ValueError if there is none."""
    try:
        if aead is None:
            secret = bytes.fromhex(body["secret"])
        else:
            secret = aead.decrypt(bytes.fromhex(body["nonce"]), bytes.fromhex(body["sealed"]), label)
    except InvalidTag:
        raise NotOpened from None
    except (KeyError, TypeError) as error:
        raise ValueError("malformed") from error
    if len(secret) != SECRET_BYTES:
        raise ValueError("malformed")
    return secret


def read_passphrase(file: Path | None, variable: str = "CONTACTSYNC_PASSPHRASE") -> bytes | None:
    """The passphrase from a file (its first line), else from the environment variable, else None."""
    if file is not None:
        try:
            lines = file.read_bytes().splitlines()
        except OSError as error:
            raise BadInput(f"the passphrase file {file} cannot be read: {error.strerror}") from error
        passphrase = lines[0] if lines else b""
    elif variable in os.environ:
        passphrase = os.environb[variable.encode()]
    else:
        return None
    if not passphrase:
        raise BadInput("the passphrase is empty", hint="put it into the file, or unset the variable")
    return passphrase
