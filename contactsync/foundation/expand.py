"""expand_message_xmd(SHA-512) of any length, by hashlib (RFC 9380 §5.3.1), for what kernels cannot take."""

from __future__ import annotations

import hashlib

_B_IN_BYTES = 64
_S_IN_BYTES = 128


def expand_message_xmd(message: bytes, dst: bytes, length: int) -> bytes:
    """`length` uniform bytes; `dst` has 1 to 255 bytes, `length` is at most 255 · 64.

    Raises ValueError otherwise. Both are constants of a suite, never input.
    """
    # 1. ell = ceil(len_in_bytes / b_in_bytes)
    ell = -(-length // _B_IN_BYTES)
    # 2. ABORT if ell > 255 or len_in_bytes > 65535 or len(DST) > 255
    if ell > 255 or not 0 < len(dst) <= 255:
        raise ValueError("expand_message_xmd: the length or the domain separation tag is out of range")
    # 3. DST_prime = DST || I2OSP(len(DST), 1)
    dst_prime = dst + len(dst).to_bytes(1, "big")
    # 4. Z_pad = I2OSP(0, s_in_bytes)
    # 5. l_i_b_str = I2OSP(len_in_bytes, 2)
    # 6. msg_prime = Z_pad || msg || l_i_b_str || I2OSP(0, 1) || DST_prime
    # 7. b_0 = H(msg_prime)
    b_0 = hashlib.sha512(
        bytes(_S_IN_BYTES) + message + length.to_bytes(2, "big") + b"\0" + dst_prime
    ).digest()
    # 8. b_1 = H(b_0 || I2OSP(1, 1) || DST_prime)
    block = hashlib.sha512(b_0 + b"\1" + dst_prime).digest()
    uniform = block
    # 9. for i in (2, ..., ell):
    for i in range(2, ell + 1):
        # 10. b_i = H(strxor(b_0, b_(i - 1)) || I2OSP(i, 1) || DST_prime)
        mixed = (int.from_bytes(b_0, "big") ^ int.from_bytes(block, "big")).to_bytes(_B_IN_BYTES, "big")
        block = hashlib.sha512(mixed + i.to_bytes(1, "big") + dst_prime).digest()
        uniform += block
    # 11. uniform_bytes = b_1 || ... || b_ell
    # 12. return substr(uniform_bytes, 0, len_in_bytes)
    return uniform[:length]
