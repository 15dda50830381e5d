"""Encoding and decoding buckets: the kernel and NumPy agree byte for byte."""

import numpy as np
import pytest

from contactsync.directory import buckets
from contactsync.directory.buckets import Span
from contactsync.directory.format import Values, bucket_bytes
from contactsync.foundation.errors import BadDirectory


def random_values(count: int, first: int, many: int, *, wide: bool) -> Values:
    rng = np.random.default_rng(count + first)
    key = np.sort(rng.integers(first << 44, (first + many) << 44, count, dtype=np.uint64))
    extra = rng.integers(0, 256 if wide else 1, count, dtype=np.uint8)
    return Values(key, extra)


@pytest.mark.parametrize("remainder_bits", [32, 40])
@pytest.mark.parametrize(
    ("count", "first", "many"),
    [(0, 0, 1), (1, 5, 1), (4096, 0, 1), (65_535, 9, 1), (50_000, 1000, 12), (64, 2**19, 64)],
)
def test_kernel_and_numpy(count: int, first: int, many: int, remainder_bits: int) -> None:
    values = random_values(count, first, many, wide=remainder_bits == 40)
    octets, sizes = buckets.encode(values, np.arange(first, first + many), remainder_bits, kernels=False)
    again, same = buckets.encode(values, np.arange(first, first + many), remainder_bits, kernels=True)
    assert (octets == again).all()
    assert (sizes == same).all()
    span = span_of(octets, sizes, first, remainder_bits)
    assert sizes.tolist() == [bucket_bytes(n, remainder_bits) for n in span.count.tolist()]
    buckets.check(span, "here")
    for kernels in (False, True):
        decoded = buckets.decode(span, "here", kernels=kernels)
        assert (decoded.key == values.key).all()
        assert (decoded.extra == values.extra).all()


def span_of(octets: np.ndarray, sizes: np.ndarray, first: int, remainder_bits: int) -> Span:
    start = (np.cumsum(sizes) - sizes) // 8
    words = octets.view(np.uint64)
    words.flags.writeable = False
    count = words.view("<u2")[4 * start].astype(np.int64)
    return Span(words, start, first + np.arange(sizes.size), count, remainder_bits)


@pytest.mark.parametrize("kernels", [False, True])
@pytest.mark.parametrize("remainder_bits", [32, 40])
@pytest.mark.parametrize("swap", ["equal", "falling"])
def test_values_out_of_order(remainder_bits: int, swap: str, kernels: bool) -> None:
    """Structure alone does not show it: whoever reads the values does."""
    values = random_values(9000, 0, 3, wide=remainder_bits == 40)
    key, extra = values.key.copy(), values.extra.copy()
    slots = key >> np.uint64(32)
    i = int(np.flatnonzero((slots[1:] == slots[:-1]) & (slots[1:] >> np.uint64(12) == 1))[0])
    if swap == "equal":
        key[i + 1], extra[i + 1] = key[i], extra[i]
    else:
        key[i], key[i + 1] = key[i + 1], key[i]
    octets, sizes = buckets.encode(Values(key, extra), np.arange(3), remainder_bits, kernels=kernels)
    span = span_of(octets, sizes, 0, remainder_bits)
    buckets.check(span, "here")
    with pytest.raises(BadDirectory, match="here: the values of bucket 1 are out of order"):
        buckets.decode(span, "here", kernels=kernels)
