"""Labels: up to 64 octets of text about a member, sealed under what only an evaluation of its number gives.

An entry is AES-SIV (RFC 5297, AEAD_AES_SIV_CMAC_256) of the label, filled up with zeros to its partition's
size. Its key is the 32 octets of an RFC 9497 output that follow the token; its associated data is `context`.
So who can open an entry has evaluated the number, in this audience and epoch. docs/protocol.md ("Labels") is
the text this follows, and says why there is no nonce and no further key derivation.
"""

from __future__ import annotations

import hashlib
import itertools
import struct
import sys
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from numpy.typing import NDArray

from contactsync.foundation.errors import BadInput
from contactsync.tokens import TOKEN_BYTES

KEY_BYTES: Final = 32
KEYED_BYTES: Final = TOKEN_BYTES + KEY_BYTES
"""Octets of an output that are kept where there are labels: the token, then the label key."""
TAG_BYTES: Final = 16
MAX_LABEL: Final = 64
SIZES: Final = (16, 32, 48, 64)
"""Octets to which the labels of a partition are filled up: one of these for all of them."""
CONTEXT_BYTES: Final = 16

_AT_ONCE: Final = 1024  # entries that a call of a kernel takes
_WORTH_A_CALL: Final = 64  # entries that take OpenSSL longer than a kernel's call, or its start, costs
_WORTH_STARTING: Final = 40_000
_UNPRINTABLE: Final = frozenset({"Cc", "Cf", "Co", "Cs", "Zl", "Zp"})


def check_label(text: str) -> bytes:
    """The octets of a label: UTF-8, 1 to 64 of them, all printable, no space before or after.

    Printable is what has none of the Unicode categories Cc, Cf, Co, Cs, Zl, Zp, nor Zs except the space: what
    is not yet assigned passes, so that readers with other versions of Unicode agree. Raises BadInput.
    """
    if problem := _problem(text):
        raise BadInput(
            f"the label {problem}",
            hint=f"a label is printable text of 1 to {MAX_LABEL} octets of UTF-8, without spaces around it",
            refusal="bad-value",
        )
    return text.encode()


def _problem(text: str) -> str | None:
    """Why a text is no label, as the end of a sentence; None if it is one. The text itself is not in it."""
    if not text:
        return "is empty"
    if not text.isprintable() and not all(map(_printable, text)):
        return "has a character that cannot be printed"
    if (length := len(text.encode())) > MAX_LABEL:
        return f"has {length} octets, more than {MAX_LABEL}"
    if text[0] == " " or text[-1] == " ":
        return "begins or ends with a space"
    return None


def _printable(character: str) -> bool:
    category = unicodedata.category(character)
    return category not in _UNPRINTABLE and (category != "Zs" or character == " ")


def size_for(longest: int) -> int:
    """The size of a partition whose longest label has so many octets: the least of `SIZES` that fits it.

    Raises ValueError: longer than any label.
    """
    for size in SIZES:
        if longest <= size:
            return size
    raise ValueError(f"no label has {longest} octets")


def context(audience: str, epoch: int) -> bytes:
    """The associated data of an audience's entries in an epoch: 16 octets of a SHA-256."""
    content = b"contactsync label 1\0" + audience.encode() + b"\0" + struct.pack("<I", epoch)
    return hashlib.sha256(content).digest()[:CONTEXT_BYTES]


def padded(labels: Sequence[bytes], size: int) -> NDArray[np.uint8]:
    """Labels filled up with zeros: uint8[n, size]. Raises ValueError: one is longer, or has a zero in it."""
    plain = np.frombuffer(struct.pack(f"{size}s" * len(labels), *labels), np.uint8)
    # What `pack` cuts off is missed here: faster than a look at the length of each.
    if np.count_nonzero(plain) != len(b"".join(labels)):
        raise ValueError(f"a label is longer than {size} octets, or has a zero in it")
    return plain.reshape(len(labels), size)


def seal(
    keys: NDArray[np.uint8], labels: Sequence[bytes], size: int, context: bytes, *, threads: int = 1
) -> NDArray[np.uint8]:
    """The entries of n labels, b"" where there is none: uint8[n, 16 + size], tag first.

    `keys` is uint8[n, 32]. The same arguments give the same octets. `threads` share the work. Raises
    ValueError (shapes; a label longer than `size`). RFC 5297 §2.6.
    """
    _check_shapes(keys, context)
    if len(labels) != len(keys) or size not in SIZES:
        raise ValueError("a label and a key for each entry, and a size of SIZES")
    entries = np.empty((len(keys), TAG_BYTES + size), np.uint8)
    sealed = _seal_by_kernel if _kernel_pays(len(keys)) else _seal_by_openssl
    if threads < 2 or len(keys) < threads * _AT_ONCE:
        sealed(keys, labels, context, entries)
        return entries
    edges = np.linspace(0, len(keys), threads + 1).astype(int).tolist()
    with ThreadPoolExecutor(threads) as pool:
        parts = [
            pool.submit(sealed, keys[a:b], labels[a:b], context, entries[a:b])
            for a, b in itertools.pairwise(edges)
        ]
        for part in parts:
            part.result()
    return entries


def _kernel_pays(count: int) -> bool:
    """Whether the CPU can run the kernels, and they are faster than OpenSSL in this process as it is now."""
    if count < (_WORTH_A_CALL if "contactsync.kernels.policy" in sys.modules else _WORTH_STARTING):
        return False
    from contactsync.kernels.policy import has_aes  # noqa: PLC0415 - loads Numba

    return has_aes()


def _seal_by_openssl(
    keys: NDArray[np.uint8], labels: Sequence[bytes], context: bytes, entries: NDArray[np.uint8]
) -> None:
    for key, text, entry in zip(keys, padded(labels, entries.shape[1] - TAG_BYTES), entries, strict=True):
        entry[:] = np.frombuffer(AESSIV(key.tobytes()).encrypt(text.tobytes(), [context]), np.uint8)


def _seal_by_kernel(
    keys: NDArray[np.uint8], labels: Sequence[bytes], context: bytes, entries: NDArray[np.uint8]
) -> None:
    from contactsync.kernels import siv  # noqa: PLC0415 - loads Numba

    size = entries.shape[1] - TAG_BYTES
    _by_kernel(siv.seal, keys, size, lambda a, b: padded(labels[a:b], size), entries, context=context)


def _by_kernel(
    run: Callable[..., None],
    keys: NDArray[np.uint8],
    width: int,
    rows: Callable[[int, int], NDArray[np.uint8]],
    out: NDArray[np.uint8],
    *,
    context: bytes,
) -> None:
    """A kernel over `rows(a, b)`, uint8[b - a, width], and their keys; its results go to `out`.

    By way of arrays that stay in the cache, are as kernels want them, and hold whole groups of entries.
    """
    from contactsync.kernels import siv  # noqa: PLC0415 - loads Numba
    from contactsync.kernels.lanes import empty  # noqa: PLC0415

    words = [np.zeros(_AT_ONCE * octets // 8, np.uint64) for octets in (KEY_BYTES, width, out.shape[1])]
    key, row, result = (w.view(np.uint8).reshape(_AT_ONCE, -1) for w in words)
    ad, scratch = np.array(np.frombuffer(context, np.uint64)), empty(siv.SCRATCH_WORDS)
    for a in range(0, len(keys), _AT_ONCE):
        n = min(_AT_ONCE, len(keys) - a)
        key[:n], row[:n] = keys[a : a + n], rows(a, a + n)
        padded_n = -(-n // siv.AT_ONCE) * siv.AT_ONCE
        k, r, o = (w[: padded_n * w.size // _AT_ONCE] for w in words)
        run(k, r, o, ad, out.shape[1] // TAG_BYTES - 1, scratch)
        out[a : a + n] = result[:n]


def unseal(keys: NDArray[np.uint8], entries: NDArray[np.uint8], context: bytes) -> list[bytes | None]:
    """What m entries say: the label, b"" where there is none, None for an entry that does not open.

    `keys` is uint8[m, 32], `entries` uint8[m, 16 + size]. None also where what opens is no label. Raises
    ValueError (shapes). RFC 5297 §2.7.
    """
    _check_shapes(keys, context)
    if entries.dtype != np.uint8 or entries.ndim != 2 or entries.shape[1] - TAG_BYTES not in SIZES:
        raise ValueError("entries have 16 octets more than one of SIZES")
    if len(entries) != len(keys):
        raise ValueError("a key for each entry")
    opened = _unseal_by_kernel if _kernel_pays(len(keys)) else _unseal_by_openssl
    return [None if plain is None else _label_in(plain) for plain in opened(keys, entries, context)]


def _unseal_by_openssl(
    keys: NDArray[np.uint8], entries: NDArray[np.uint8], context: bytes
) -> Iterator[bytes | None]:
    """What each entry holds; None if its tag is wrong."""
    for key, entry in zip(keys, entries, strict=True):
        try:
            yield AESSIV(key.tobytes()).decrypt(entry.tobytes(), [context])
        except InvalidTag:
            yield None


def _unseal_by_kernel(
    keys: NDArray[np.uint8], entries: NDArray[np.uint8], context: bytes
) -> Iterator[bytes | None]:
    from contactsync.kernels import siv  # noqa: PLC0415 - loads Numba

    size = entries.shape[1] - TAG_BYTES
    opened = np.empty((len(keys), TAG_BYTES + size), np.uint8)
    _by_kernel(siv.unseal, keys, TAG_BYTES + size, lambda a, b: entries[a:b], opened, context=context)
    right = (opened[:, :TAG_BYTES] == entries[:, :TAG_BYTES]).all(axis=1)
    plain = opened[:, TAG_BYTES:].tobytes()
    for i, is_right in enumerate(right.tolist()):
        yield plain[i * size : (i + 1) * size] if is_right else None


def _label_in(plain: bytes) -> bytes | None:
    label = plain.rstrip(b"\0")
    try:
        return label if not label or not _problem(label.decode()) else None
    except UnicodeDecodeError:
        return None


def _check_shapes(keys: NDArray[np.uint8], context: bytes) -> None:
    if keys.dtype != np.uint8 or keys.ndim != 2 or keys.shape[1] != KEY_BYTES:
        raise ValueError(f"keys are uint8[n, {KEY_BYTES}]")
    if len(context) != CONTEXT_BYTES:
        raise ValueError(f"a context has {CONTEXT_BYTES} octets")
