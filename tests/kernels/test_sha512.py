"""SHA-512 over lanes and the layout of its blocks against hashlib."""

import hashlib
import random

import numpy as np
import pytest

from contactsync.kernels import policy, sha512
from contactsync.kernels.lanes import WIDTHS, empty


@pytest.fixture(params=[8, 1])
def width(request):
    if request.param == 8 and not policy.has_ifma():
        pytest.skip("this CPU has no AVX-512 IFMA")
    return WIDTHS[request.param]


def digests(width, rows: np.ndarray) -> list[bytes]:
    """Digests of padded rows, uint8[n, 128 · blocks]; n fills whole groups."""
    blocks, out, schedule = empty(rows.size // 8), empty(len(rows) * 8), empty(16 * width.lanes)
    blocks.view(np.uint8)[:] = rows.reshape(-1)
    sha512.sha512(width, sha512.INITIAL_STATE, blocks, rows.shape[1] // 128, out, schedule)
    return [digest.tobytes() for digest in out.reshape(-1, 8)]


def framed(messages: list[bytes], row_bytes: int, elements: bytes = b"", suffix: bytes = b"") -> np.ndarray:
    rows = np.full((len(messages), row_bytes), 255, np.uint8)
    offsets = np.cumsum([0, *map(len, messages)])
    joined, suffix, elements = (
        np.frombuffer(bytearray(part), np.uint8) for part in (b"".join(messages), suffix, elements)
    )
    sha512.frame(joined, offsets, int(elements.size > 0), elements, suffix, 0, rows.reshape(-1))
    return rows


@pytest.mark.parametrize("blocks", [1, 2, 3])
def test_messages_of_every_length(width, blocks) -> None:
    longest = 128 * blocks - sha512.PADDING_BYTES
    shortest = max(0, longest - 127)
    messages = [random.Random(n).randbytes(n) for n in range(shortest, longest + 1)]
    messages += [b""] * (-len(messages) % width.lanes)
    assert digests(width, framed(messages, 128 * blocks)) == [hashlib.sha512(m).digest() for m in messages]


def test_frame_with_an_element_and_a_suffix(width) -> None:
    rng = random.Random(1)
    messages = [rng.randbytes(n) for n in range(24)]
    elements = rng.randbytes(32 * 24)
    rows = framed(messages, 128, elements=elements, suffix=b"Finalize")
    assert digests(width, rows) == [
        hashlib.sha512(
            len(m).to_bytes(2, "big") + m + b"\0\x20" + elements[32 * i : 32 * i + 32] + b"Finalize"
        ).digest()
        for i, m in enumerate(messages)
    ]


def test_what_does_not_fit_its_row_is_refused() -> None:
    framed([bytes(128 - 17)], 128)
    for message, elements, suffix in ((112, 0, 0), (0, 0, 112), (76, 32, 0)):
        with pytest.raises(ValueError, match="does not fit"):
            framed([bytes(message)], 128, bytes(elements), bytes(suffix))


def test_constants() -> None:
    assert sha512.INITIAL_STATE[0] == 0x6A09E667F3BCC908
    assert sha512.INITIAL_STATE[7] == 0x5BE0CD19137E2179
