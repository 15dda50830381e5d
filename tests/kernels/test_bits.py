"""Select, by both of its ways, and the kernels on a CPU that has none of the fast instructions."""

import os
import random
import subprocess
import sys

import numpy as np
import pytest

from contactsync.kernels import bits
from contactsync.kernels.policy import kernel


@kernel
def by_halving(word, k):
    return bits.select_by_halving(word, k)


@kernel
def by_default(word, k):
    return bits.select(word, k)


@pytest.mark.parametrize("way", [by_halving, by_default])
def test_select(way) -> None:
    rng = random.Random(1)
    words = [
        1,
        1 << 63,
        2**64 - 1,
        0x8000000080000000,
        *(rng.getrandbits(64) & rng.getrandbits(64) for _ in range(50)),
    ]
    for word in words:
        places = [i for i in range(64) if word >> i & 1]
        assert [way(np.uint64(word), k + 1) for k in range(len(places))] == places


MATCH = """
import sys
import numpy as np
from contactsync.directory import build, open_directory
from contactsync.directory.match import grouped, joined, kernel_lookup, numpy_lookup
from contactsync.kernels import bits
from contactsync.tokens import Tokens

assert bits.select is bits.select_by_halving
rng = np.random.default_rng(1)
members = Tokens.from_bytes(rng.integers(0, 256, (20_000, 10), dtype=np.uint8))
asked = Tokens.concatenate([members, Tokens.from_bytes(rng.integers(0, 256, (9000, 10), dtype=np.uint8))])
asked = asked.take(np.argsort(asked.head))
for remainder_bits in (32, 40):
    info = build(sys.argv[1], [members], remainder_bits=remainder_bits)
    with open_directory(sys.argv[1], expect=info) as directory:
        expected = numpy_lookup(asked, directory)
        assert expected.sum() == 20_000
        for way in (kernel_lookup, grouped, joined):
            assert (way(asked, directory) == expected).all()
"""


@pytest.mark.slow
def test_on_any_cpu(tmp_path) -> None:
    environment = os.environ | {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}
    subprocess.run([sys.executable, "-c", MATCH, tmp_path / "d"], env=environment, check=True)
