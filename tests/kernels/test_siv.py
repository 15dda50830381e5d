"""AES-SIV by instructions: against FIPS 197, RFC 5297, and thousands of entries of OpenSSL."""

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from siv_twin import seal_by

from contactsync.kernels import policy, siv
from contactsync.kernels.lanes import empty

pytestmark = pytest.mark.skipif(not policy.has_aes(), reason="this CPU has no AES instructions")


def words(octets) -> np.ndarray:
    return np.frombuffer(bytearray(octets), np.uint64)


def aes(key: bytes, block: bytes) -> bytes:
    """One block by the kernel, in the last place of a group; the others must not disturb it."""
    keys, blocks = words(bytes(range(48)) + key), words(b"\xff" * 48 + block)
    siv.encrypt_blocks(keys, blocks, empty(siv.SCRATCH_WORDS))
    return blocks.tobytes()[48:]


def sealed(keys, plain, context) -> np.ndarray:
    n, size = plain.shape
    out = np.zeros((n, 16 + size), np.uint8)
    rows = out.view(np.uint64).reshape(-1)
    siv.seal(words(keys), words(plain), rows, words(context), size // 16, empty(siv.SCRATCH_WORDS))
    return out


def test_fips_197_appendix_c1():
    block = aes(bytes(range(16)), bytes.fromhex("00112233445566778899aabbccddeeff"))
    assert block.hex() == "69c4e0d86a7b0430d8cdb78070b4c55a"


def test_fips_197_appendix_b():
    key = bytes.fromhex("2b7e151628aed2a6abf7158809cf4f3c")
    assert (
        aes(key, bytes.fromhex("3243f6a8885a308d313198a2e0370734")).hex()
        == "3925841d02dc09fbdc118597196a0b32"
    )


def test_rfc_5297_a1_by_the_kernels_aes():
    """The vector's lengths are none of ours: the twin composes it of the kernel's blocks."""
    key = bytes.fromhex("fffefdfcfbfaf9f8f7f6f5f4f3f2f1f0f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff")
    data = bytes.fromhex("101112131415161718191a1b1c1d1e1f2021222324252627")
    entry = seal_by(aes, key, [data], bytes.fromhex("112233445566778899aabbccddee"))
    assert entry.hex() == "85632d07c6e8f37f950acd320a2ecc9340c02b9690c4dc04daef7f6afe5c"


@pytest.mark.parametrize("size", [16, 32, 48, 64])
def test_the_twin_composes_what_the_kernel_composes(size):
    rng = np.random.default_rng(size)
    keys, plain = rng.integers(0, 256, (4, 32), np.uint8), rng.integers(0, 256, (4, size), np.uint8)
    context = rng.bytes(16)
    rows = [seal_by(aes, k.tobytes(), [context], p.tobytes()) for k, p in zip(keys, plain, strict=True)]
    assert [row.tobytes() for row in sealed(keys, plain, context)] == rows


@pytest.mark.parametrize("size", [16, 32, 48, 64])
def test_thousands_of_random_entries(size):
    rng = np.random.default_rng(size)
    keys, plain = rng.integers(0, 256, (2000, 32), np.uint8), rng.integers(0, 256, (2000, size), np.uint8)
    plain[:400] = 0
    context = rng.bytes(16)
    rows = zip(keys, plain, strict=True)
    expected = [AESSIV(k.tobytes()).encrypt(p.tobytes(), [context]) for k, p in rows]
    assert [row.tobytes() for row in sealed(keys, plain, context)] == expected


@pytest.mark.parametrize("size", [16, 32, 48, 64])
def test_thousands_of_random_entries_open(size):
    """OpenSSL sealed them. The tag that an entry ought to have is that of what it holds, right or wrong."""
    rng = np.random.default_rng(size)
    keys, plain = rng.integers(0, 256, (2000, 32), np.uint8), rng.integers(0, 256, (2000, size), np.uint8)
    context = rng.bytes(16)
    rows = list(zip(keys, plain, strict=True))
    entries = [AESSIV(k.tobytes()).encrypt(p.tobytes(), [context]) for k, p in rows]
    opened = np.zeros((2000, 16 + size), np.uint8)

    def open_all():
        into = opened.view(np.uint64).reshape(-1)
        siv.unseal(
            words(keys), words(b"".join(entries)), into, words(context), size // 16, empty(siv.SCRATCH_WORDS)
        )

    open_all()
    assert [row.tobytes() for row in opened] == [
        entry[:16] + p.tobytes() for entry, (_, p) in zip(entries, rows, strict=True)
    ]
    entries = [entry[:-1] + bytes([entry[-1] ^ 1]) for entry in entries]
    open_all()
    for entry, (k, p), row in zip(entries, rows, opened, strict=True):
        changed = p.tobytes()[:-1] + bytes([p[-1] ^ 1])
        assert row[16:].tobytes() == changed
        assert row[:16].tobytes() == AESSIV(k.tobytes()).encrypt(changed, [context])[:16] != entry[:16]


def test_thousands_of_random_blocks():
    rng = np.random.default_rng(1)
    keys, blocks = rng.integers(0, 256, (4000, 16), np.uint8), rng.integers(0, 256, (4000, 16), np.uint8)
    keys[:100], blocks[50:150] = 0, 255
    found = words(blocks)
    siv.encrypt_blocks(words(keys), found, empty(siv.SCRATCH_WORDS))
    expected = [
        Cipher(algorithms.AES(k.tobytes()), modes.ECB()).encryptor().update(b.tobytes())
        for k, b in zip(keys, blocks, strict=True)
    ]
    assert found.tobytes() == b"".join(expected)


@pytest.mark.parametrize("bit", [0, 31, 63, 64, 95, 127])
def test_each_carry_of_doubling_and_each_masked_bit(bit):
    """Keys whose first subkey begins with either bit, tags with either bit where the counter masks: found."""
    rng = np.random.default_rng(bit)
    seen = set()
    context = bytes(16)
    keys, plain = rng.integers(0, 256, (64, 32), np.uint8), np.zeros((64, 64), np.uint8)
    for key, row in zip(keys, sealed(keys, plain, context), strict=True):
        assert row.tobytes() == AESSIV(key.tobytes()).encrypt(bytes(64), [context])
        seen.add(row[bit // 8] >> (7 - bit % 8) & 1)
    assert seen == {0, 1}


def test_no_entry_is_no_work():
    assert sealed(np.empty((0, 32), np.uint8), np.empty((0, 32), np.uint8), bytes(16)).shape == (0, 48)
