"""Tokens of who left can be opened by who has the key, for what they were sealed for, and by nobody else."""

import secrets

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from contactsync.server.storage.departed import open_departed, seal_departed
from contactsync.tokens import TOKEN_BYTES

OF = (1, 7, "49")


@pytest.fixture
def key():
    return X25519PrivateKey.generate()


@pytest.fixture
def public(key):
    return key.public_key().public_bytes_raw()


def some(count):
    return {secrets.token_bytes(TOKEN_BYTES): secrets.randbits(63) for _ in range(count)}


@pytest.mark.parametrize("count", [1, 2, 1000])
def test_what_is_sealed_is_opened(key, public, count):
    tokens = some(count)
    sealed = seal_departed(public, OF, tokens)
    assert open_departed(key, OF, sealed) == tokens
    assert len(sealed) == 32 + 16 + 18 * count
    assert not any(token[:4] in sealed for token in tokens) or count > 100
    assert seal_departed(public, OF, tokens) != sealed, "with another key of its own"


@pytest.mark.parametrize("of", [(2, 7, "49"), (1, 8, "49"), (1, 7, "4"), (17, 7, "49"), (1, 7, "1")])
def test_it_is_bound_to_what_it_is_of(key, public, of):
    sealed = seal_departed(public, OF, some(1))
    with pytest.raises(ValueError, match="not sealed"):
        open_departed(key, of, sealed)


def test_who_has_another_key_sees_nothing(public):
    with pytest.raises(ValueError, match="not sealed"):
        open_departed(X25519PrivateKey.generate(), OF, seal_departed(public, OF, some(3)))


def test_every_octet_counts(key, public):
    sealed = seal_departed(public, OF, some(1))
    for at in range(len(sealed)):
        changed = sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :]
        with pytest.raises(ValueError):  # noqa: PT011 - of both
            open_departed(key, OF, changed)
    for end in range(len(sealed)):
        with pytest.raises(ValueError):  # noqa: PT011 - of both
            open_departed(key, OF, sealed[:end])


def test_entries_of_another_length_are_refused(key):
    suite = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)
    info = b"contactsync-departed-1\x001\x007\x0049"
    assert open_departed(key, OF, suite.encrypt(b"", key.public_key(), info=info)) == {}
    with pytest.raises(ValueError, match="malformed"):
        open_departed(key, OF, suite.encrypt(bytes(17), key.public_key(), info=info))
