"""AES-SIV (RFC 5297) as its text says, over any function that encrypts one block. Slow: for tests alone."""

from collections.abc import Callable, Sequence

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

Aes = Callable[[bytes, bytes], bytes]
"""AES(key, block) -> block."""


def openssl(key: bytes, block: bytes) -> bytes:
    return Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(block)


def xor(a: bytes, b: bytes) -> bytes:
    return bytes(x ^ y for x, y in zip(a, b, strict=True))


def dbl(block: bytes) -> bytes:
    """RFC 5297 §2.3."""
    number = int.from_bytes(block, "big") << 1
    if number >> 128:
        number = number ^ (1 << 128) ^ 0x87
    return number.to_bytes(16, "big")


def pad(octets: bytes) -> bytes:
    return (octets + b"\x80").ljust(16, b"\0")


def cmac(aes: Aes, key: bytes, message: bytes) -> bytes:
    """NIST SP 800-38B §6.2."""
    k1 = dbl(aes(key, bytes(16)))
    whole = len(message) > 0 and len(message) % 16 == 0
    cut = (len(message) - 1) // 16 * 16 if message else 0
    last = xor(message[cut:], k1) if whole else xor(pad(message[cut:]), dbl(k1))
    chained = bytes(16)
    for at in range(0, cut, 16):
        chained = aes(key, xor(chained, message[at : at + 16]))
    return aes(key, xor(chained, last))


def s2v(aes: Aes, key: bytes, strings: Sequence[bytes]) -> bytes:
    """RFC 5297 §2.4, of at least one string."""
    d = cmac(aes, key, bytes(16))
    for one in strings[:-1]:
        d = xor(dbl(d), cmac(aes, key, one))
    last = strings[-1]
    if len(last) >= 16:
        return cmac(aes, key, last[:-16] + xor(last[-16:], d))
    return cmac(aes, key, xor(dbl(d), pad(last)))


def ctr(aes: Aes, key: bytes, start: bytes, text: bytes) -> bytes:
    """RFC 5297 §2.5, §2.6: the counter is V without two of its bits."""
    q = int.from_bytes(start, "big") & ~(1 << 63) & ~(1 << 31)
    blocks = -(-len(text) // 16)
    stream = b"".join(aes(key, ((q + i) % (1 << 128)).to_bytes(16, "big")) for i in range(blocks))
    return xor(text, stream[: len(text)])


def seal_by(aes: Aes, key: bytes, data: Sequence[bytes], text: bytes) -> bytes:
    """V || C."""
    half = len(key) // 2
    v = s2v(aes, key[:half], [*data, text])
    return v + ctr(aes, key[half:], v, text)


def open_by(aes: Aes, key: bytes, data: Sequence[bytes], entry: bytes) -> bytes | None:
    """The text, or None if the entry was not made with this key and this data."""
    half = len(key) // 2
    text = ctr(aes, key[half:], entry[:16], entry[16:])
    return text if s2v(aes, key[:half], [*data, text]) == entry[:16] else None
