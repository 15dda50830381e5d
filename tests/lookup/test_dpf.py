"""Point functions: against the twin, at every index of small domains; what one key alone shows; bad keys."""

import hashlib

import dpf_twin
import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from contactsync.foundation.errors import BadInput
from contactsync.kernels import policy
from contactsync.lookup import dpf


def by_kernel(keys, bits):
    if not policy.has_aes():
        pytest.skip("this CPU has no AES instructions")
    return dpf.expand_by_kernel(keys, bits)


EXPANSIONS = {"kernel": by_kernel, "openssl": dpf.expand_by_openssl}


@pytest.fixture(params=EXPANSIONS)
def whole_leaves(request):
    """Either way to expand keys."""
    return EXPANSIONS[request.param]


def indices_of(*numbers):
    return np.array(numbers, np.uint32)


def randomness(m, seed=b"x"):
    return hashlib.shake_256(seed).digest(32 * m)


def ones(selections):
    return np.unpackbits(selections, axis=1, bitorder="little")


def test_fixed_keys_are_what_the_document_says():
    assert [key.hex() for key in dpf.FIXED_KEYS] == [
        "ad269345c327db1e3e30926ffbebe1aa",
        "34f99dc74b2a9a43a83d10c4edeb3728",
        "006eb593a1e7c894769e653604483f73",
    ]


@pytest.mark.parametrize("bits", range(11))
def test_each_index_of_a_small_domain(bits):
    indices = np.arange(1 << bits, dtype=np.uint32)
    first, second = dpf.generate(indices, bits)
    assert first.shape == second.shape == (1 << bits, dpf.key_length(bits))
    together = dpf.expand(first, bits) ^ dpf.expand(second, bits)
    assert together.shape == (1 << bits, max(1, (1 << bits) // 8))
    unit = np.eye(1 << bits, max(8, 1 << bits), dtype=np.uint8)
    assert (ones(together) == unit).all()


def test_random_indices_of_a_large_domain(whole_leaves):
    indices = np.random.default_rng(1).integers(0, 1 << 20, 6).astype(np.uint32)
    indices[:2] = 0, (1 << 20) - 1
    first, second = dpf.generate(indices, 20)
    together = whole_leaves(first, 20) ^ whole_leaves(second, 20)
    assert together.shape == (6, 1 << 17)
    for row, index in zip(together, indices, strict=True):
        assert row[index // 8] == 1 << index % 8
        assert np.count_nonzero(row) == 1


@pytest.mark.parametrize("bits", [0, 2, 3, 6, 7, 8, 9, 12])
def test_keys_and_bits_are_the_twins(bits, whole_leaves):
    indices = (np.arange(7, dtype=np.uint32) * 1237 + 5) % (1 << bits)
    drawn = randomness(7)
    keys = dpf.generate(indices.astype(np.uint32), bits, drawn)
    expected = [dpf_twin.generate(int(i), bits, drawn[32 * n : 32 * n + 32]) for n, i in enumerate(indices)]
    for server in (0, 1):
        assert [key.tobytes() for key in keys[server]] == [pair[server] for pair in expected]
        bits_of = ones(whole_leaves(keys[server], bits))
        places = range(1 << bits) if bits < 10 else range(0, 1 << bits, 37)
        for key, found in zip(keys[server], bits_of, strict=True):
            assert [dpf_twin.selects(key.tobytes(), bits, p) for p in places] == found[list(places)].tolist()


@pytest.mark.parametrize("m", [0, 1, 3, 4, 5, 8, 13])
def test_any_number_of_keys(m, whole_leaves):
    indices = np.arange(m, dtype=np.uint32) * 19
    first, second = dpf.generate(indices, 9, randomness(m))
    together = ones(whole_leaves(first, 9) ^ whole_leaves(second, 9))
    assert together.shape == (m, 512)
    assert (together.sum(axis=1) == 1).all()
    assert together.argmax(axis=1).tolist() == indices.tolist() if m else True


def test_the_systems_randomness_is_never_the_same():
    indices = indices_of(5, 5)
    keys = {key.tobytes() for _ in range(3) for server in dpf.generate(indices, 8) for key in server}
    assert len(keys) == 12


def test_the_domain_below_eight_has_no_further_ones():
    for server in dpf.generate(np.arange(4, dtype=np.uint32), 2, randomness(4)):
        assert (dpf.expand(server, 2) < 16).all()


def test_fips_197_by_the_kernels_aes(monkeypatch):
    """The leaf of a key without levels is AES(seed) ^ seed, the seed being even: Appendix C.1."""
    if not policy.has_aes():
        pytest.skip("this CPU has no AES instructions")
    key, plain = bytes(range(16)), bytes.fromhex("00112233445566778899aabbccddeeff")
    monkeypatch.setattr(dpf, "FIXED_KEYS", (b"\x55" * 16, b"\xaa" * 16, key))
    rows = np.frombuffer((plain + bytes(16)) * 5, np.uint8).reshape(5, 32)
    for leaf in dpf.expand_by_kernel(rows, 7):
        cipher = bytes(a ^ b for a, b in zip(leaf.tobytes(), plain, strict=True))
        assert cipher.hex() == "69c4e0d86a7b0430d8cdb78070b4c55a"


def test_random_blocks_of_the_kernel_are_openssls(monkeypatch):
    if not policy.has_aes():
        pytest.skip("this CPU has no AES instructions")
    rng = np.random.default_rng(3)
    for _ in range(20):
        key = rng.bytes(16)
        monkeypatch.setattr(dpf, "FIXED_KEYS", (bytes(16), bytes(16), key))
        rows = rng.integers(0, 256, (50, 32), np.uint8)
        rows[:, 0] &= 0xFE
        seeds = rows[:, :16].tobytes()
        blocks = Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(seeds)
        expected = bytes(a ^ b for a, b in zip(blocks, seeds, strict=True))
        assert dpf.expand_by_kernel(rows, 7).tobytes() == expected


# --- what one server sees ------------------------------------------------------------------------------

SAMPLES = 4000


@pytest.mark.slow
@pytest.mark.parametrize("server", [0, 1])
def test_each_bit_of_a_key_is_a_fair_coin_whatever_the_index(server):
    """But for the bits that are always 0. Seven standard deviations: no false alarm in a lifetime of runs."""
    for index in (0, 127, 128, 1023):
        keys = dpf.generate(np.full(SAMPLES, index, np.uint32), 10)[server]
        share = ones(keys).mean(axis=0)
        always_zero = [8 * (16 + 17 * level) for level in range(3)]
        always_zero += [8 * (32 + 17 * level) + bit for level in range(3) for bit in range(2, 8)]
        assert set(np.flatnonzero(share == 0)) == set(always_zero)
        others = np.delete(share, always_zero)
        assert np.abs(others - 0.5).max() < 7 * 0.5 / SAMPLES**0.5


@pytest.mark.slow
@pytest.mark.parametrize("server", [0, 1])
def test_each_selection_bit_is_a_fair_coin_at_the_index_too(server):
    for index in (0, 700, 1023):
        keys = dpf.generate(np.full(SAMPLES, index, np.uint32), 10)[server]
        share = ones(dpf.expand(keys, 10)).mean(axis=0)
        assert np.abs(share - 0.5).max() < 7 * 0.5 / SAMPLES**0.5


@pytest.mark.slow
@pytest.mark.parametrize("server", [0, 1])
def test_no_pair_of_bits_of_a_key_tells_two_indices_apart(server):
    """The correlations of all bits with each other, of one index against another: none differs."""
    spread = []
    for index in (3, 900):
        bits = ones(dpf.generate(np.full(SAMPLES, index, np.uint32), 10)[server]).astype(np.float64)
        bits = 2 * bits[:, bits.any(axis=0)] - 1
        product = bits.T @ bits / SAMPLES
        spread.append(product - np.diag(np.diag(product)))
    deviation = 1 / SAMPLES**0.5
    assert max(np.abs(one).max() for one in spread) < 7 * deviation
    assert np.abs(spread[0] - spread[1]).max() < 7 * 2**0.5 * deviation


# --- what is refused -----------------------------------------------------------------------------------


def test_wrong_lengths():
    keys = dpf.generate(indices_of(1, 2), 9, randomness(2))[0]
    assert keys.shape[1] == 66
    for wrong in (keys[:, :-1], keys[:, :0], np.hstack([keys, keys[:, :1]])):
        with pytest.raises(BadInput, match="a key for 2\\^9 rows has 66 octets"):
            dpf.expand(wrong, 9)
    for no_keys in (keys[0], keys.astype(np.int16), keys[None]):
        with pytest.raises(BadInput, match="no uint8"):
            dpf.expand(no_keys, 9)


@pytest.mark.parametrize("value", [4, 128, 255])
def test_control_bits_out_of_range(value):
    keys = dpf.generate(indices_of(1, 2), 9, randomness(2))[0]
    keys[1, 16 + 17 + 16] = value
    with pytest.raises(BadInput, match="key 1 has, at level 1, control bits"):
        dpf.expand(keys, 9)


def test_a_correction_with_its_first_bit():
    keys = dpf.generate(indices_of(1, 2), 9, randomness(2))[0]
    keys[0, 16] |= 1
    with pytest.raises(BadInput, match="key 0 has, at level 0, a correction"):
        dpf.expand(keys, 9)


def test_random_octets_that_are_well_formed_expand_the_same_everywhere():
    """Keys that nobody made: no error, and no difference between the two ways and the twin."""
    rng = np.random.default_rng(9)
    keys = rng.integers(0, 256, (9, dpf.key_length(10)), np.uint8)
    for level in range(3):
        keys[:, 16 + 17 * level] &= 0xFE
        keys[:, 32 + 17 * level] &= 3
    found = dpf.expand_by_openssl(keys, 10)
    assert (dpf.expand(keys, 10) == found).all()
    twin = [dpf_twin.selects(keys[4].tobytes(), 10, i) for i in range(1024)]
    assert twin == ones(found)[4].tolist()


@pytest.mark.parametrize("bits", [-1, 27, 64])
def test_domains_that_no_directory_has(bits):
    for call in (dpf.key_length, dpf.selection_length, lambda b: dpf.generate(indices_of(0), b)):
        with pytest.raises(BadInput, match="2\\^0 to 2\\^26"):
            call(bits)


def test_what_generate_refuses():
    with pytest.raises(BadInput, match="not below 2\\^9"):
        dpf.generate(indices_of(0, 512), 9)
    with pytest.raises(BadInput, match="uint32"):
        dpf.generate(np.array([1]), 9)
    for octets in (b"", bytes(63), bytes(65)):
        with pytest.raises(BadInput, match="32 octets"):
            dpf.generate(indices_of(1, 2), 9, octets)
