"""Tokens of who left, sealed to the publisher, until a base is made that does not have them.

Whoever removes a member, be it a process that has no key at all, seals the token to the public key that the
publisher left in the register (HPKE of RFC 9180, base mode: X25519, HKDF-SHA256, ChaCha20-Poly1305). The
publisher draws another pair for each edition, and destroys the private key when no row needs it any more. So
what is left of such rows in free pages, logs of the database and backups cannot be opened by anybody later.

A row of tokens is in front of it: TOKEN_BYTES octets of a token, then 8 octets, the serial with which it was
stored if the log knows it, else 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from contactsync.tokens import TOKEN_BYTES

_SUITE: Final = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)
_SERIAL_BYTES: Final = 8
ENTRY_BYTES: Final = TOKEN_BYTES + _SERIAL_BYTES

DepartedKeys = Mapping[bytes, X25519PrivateKey]
"""Private keys of the publisher, by their public keys."""


def seal_departed(public: bytes, of: tuple[int, int, str], tokens: Mapping[bytes, int]) -> bytes:
    """Seal tokens of a partition (audience, epoch, name), with the serials with which they were stored.

    Raises ValueError: that is no public key.
    """
    entries = b"".join(token + since.to_bytes(_SERIAL_BYTES, "big") for token, since in tokens.items())
    return _SUITE.encrypt(entries, X25519PublicKey.from_public_bytes(public), info=_info(of))


def open_departed(private: X25519PrivateKey, of: tuple[int, int, str], sealed: bytes) -> dict[bytes, int]:
    """The tokens of a partition, and their serials. Raises ValueError: it was not sealed so."""
    try:
        entries = _SUITE.decrypt(sealed, private, info=_info(of))
    except InvalidTag:
        raise ValueError("not sealed to this key") from None
    if len(entries) % ENTRY_BYTES:
        raise ValueError("malformed")
    return dict(_entries(entries))


def _entries(octets: bytes) -> Iterator[tuple[bytes, int]]:
    for first in range(0, len(octets), ENTRY_BYTES):
        entry = octets[first : first + ENTRY_BYTES]
        yield entry[:TOKEN_BYTES], int.from_bytes(entry[TOKEN_BYTES:], "big")


def _info(of: tuple[int, int, str]) -> bytes:
    audience, epoch, partition = of
    return f"contactsync-departed-1\0{audience}\0{epoch}\0{partition}".encode()
