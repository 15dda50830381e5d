"""Screens against pybloom-live: the same bytes, the same answers; and every way a file can be wrong."""

import bisect
import hashlib
import io
import math
import re
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pybloom_live import BloomFilter

from contactsync.directory import bounds
from contactsync.directory import screen as module
from contactsync.directory.build import build
from contactsync.directory.format import DataFile, DirectoryInfo, Values
from contactsync.directory.reader import open_directory
from contactsync.directory.screen import build_screen, key_texts, open_screen
from contactsync.foundation.errors import BadDirectory, BadInput
from contactsync.kernels import bloom
from contactsync.kernels.sha256 import BOTH
from contactsync.tokens import Tokens

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "directory-format.md"


def random_tokens(count, seed=1):
    return Tokens.from_bytes(np.random.default_rng(seed).integers(0, 256, (count, 10), np.uint8))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Directories and screens by (count, remainder bits): (tokens, open directory, path of the screen)."""
    folder = tmp_path_factory.mktemp("screens")
    found = {}

    def make(count, remainder_bits=32):
        key = (count, remainder_bits)
        if key not in found:
            tokens = random_tokens(count, count)
            path = folder / f"{count}-{remainder_bits}"
            build(path, [tokens], remainder_bits=remainder_bits)
            directory = open_directory(path, expect=None)
            build_screen(path.with_suffix(".bloom"), directory)
            found[key] = tokens, directory, path.with_suffix(".bloom")
        return found[key]

    yield make
    for _, directory, _ in found.values():
        directory.close()


def texts(directory):
    info = directory.info
    return [
        t for values in directory.values() for t in key_texts(values, info.slot_bits, info.remainder_bits)
    ]


LEAST = 1 << 17
COUNTS = [LEAST, 150_001]


@pytest.mark.slow
@pytest.mark.parametrize("remainder_bits", [32, 40])
@pytest.mark.parametrize("count", COUNTS)
def test_the_bytes_are_those_of_pybloom_live(made, count, remainder_bits):
    _, directory, path = made(count, remainder_bits)
    reference = BloomFilter(count, 0.01)
    for text in texts(directory):
        reference.add(text)
    expected = io.BytesIO()
    reference.tofile(expected)
    assert path.read_bytes() == expected.getvalue()
    assert bounds.screen_length(count) == len(expected.getvalue())


@pytest.mark.slow
@pytest.mark.parametrize("remainder_bits", [32, 40])
@pytest.mark.parametrize("count", COUNTS)
def test_pybloom_live_reads_it_and_every_member_passes(made, count, remainder_bits):
    tokens, directory, path = made(count, remainder_bits)
    with path.open("rb") as file:
        reference = BloomFilter.fromfile(file)
    assert all(text in reference for text in texts(directory)[::50])
    assert open_screen(path, directory.info).test(tokens).all()


def test_others_pass_as_pybloom_live_says_about_one_in_a_hundred(made):
    _, directory, path = made(LEAST, 40)
    others = random_tokens(20_000, 99)
    passed = open_screen(path, directory.info).test(others)
    with path.open("rb") as file:
        reference = BloomFilter.fromfile(file)
    values = directory.truncate(others)
    assert passed.tolist() == [text in reference for text in key_texts(values, directory.info.slot_bits, 40)]
    assert 0.006 < passed.mean() < 0.013


@pytest.mark.parametrize("remainder_bits", [32, 40])
def test_few_tokens_and_many_are_tested_alike(made, remainder_bits, monkeypatch):
    tokens, directory, path = made(LEAST, remainder_bits)
    mixed = Tokens.concatenate([random_tokens(5000, 7), tokens.take(np.arange(100)), random_tokens(33, 8)])
    screen = open_screen(path, directory.info)
    by_kernel = screen.test(mixed)
    monkeypatch.setattr(module, "_IN_PYTHON", len(mixed))
    assert (screen.test(mixed) == by_kernel).all()
    assert by_kernel[5000:5100].all()


def test_in_small_steps_the_same_bytes(made, monkeypatch, tmp_path):
    _, directory, path = made(LEAST, 40)
    monkeypatch.setattr(module, "_AT_ONCE", 10_000)
    build_screen(tmp_path / "again", directory)
    assert (tmp_path / "again").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("count", [0, 1, LEAST - 1])
def test_a_small_directory_has_none(tmp_path, count):
    build(tmp_path / "d", [random_tokens(count)])
    with open_directory(tmp_path / "d", expect=None) as directory:
        with pytest.raises(BadInput, match=f"{count} tokens are too few for a screen") as raised:
            build_screen(tmp_path / "s", directory)
        assert "without a screen" in raised.value.hint
    assert not (tmp_path / "s").exists()


def test_more_than_the_library_hashes_in_this_way_has_none(made, tmp_path, monkeypatch):
    _, directory, _ = made(LEAST)
    assert module.slice_bits(1_568_314_447) < 1 << 31 <= module.slice_bits(1_568_314_448)
    monkeypatch.setattr(directory, "info", replace(directory.info, count=1_568_314_448))
    with pytest.raises(BadInput, match="too many for a screen"):
        build_screen(tmp_path / "s", directory)


def test_the_example_in_the_document():
    text = DOCUMENT.read_text().partition("# The screen")[2]
    (key, count) = re.search(r"the value `(\w+)` of a directory of ([\d,]+)", text).groups()
    m = int(re.search(r"m = ([\d,]+)", text[text.index(key) :])[1].replace(",", ""))
    places = re.search(r"sets the bits ([\d, ]+and [\d,]+)", text.replace("\n", " "))[1]
    stated = [int(place.replace(",", "")) for place in re.findall(r"[\d,]*\d", places)]
    assert m == bounds.slice_bits(int(count.replace(",", "")))
    hashes, _ = module.make_hashfuncs(7, m)
    assert stated == [j * m + place for j, place in enumerate(hashes(key))]


# ---- how full it may be ------------------------------------------------------------------------------------


def ones_by_chance(highest, count, m, trials):
    """How many bits of m are set after `count` random hashes below `highest`, some times over."""
    chance = np.random.default_rng(count)
    return np.array(
        [
            np.count_nonzero(np.bincount(chance.integers(0, highest, count, np.uint32) % m, minlength=m))
            for _ in range(trials)
        ]
    )


@pytest.mark.parametrize(
    "count", [LEAST, LEAST + 1, 150_001, 200_000, 333_333, pytest.param(1_000_000, marks=pytest.mark.slow)]
)
def test_the_slices_of_honest_ones_are_as_full_as_the_formula_says(count):
    """By chance alone: seven slices of several screens, and none is beyond half of what is allowed."""
    m = bounds.slice_bits(count)
    fill = bounds.screen_fill(count)
    middle, deviation = (fill.least + fill.most) / 2, (fill.most - fill.least) / 16
    scores = (ones_by_chance(1 << 32, count, m, 28) - middle) / deviation
    assert np.abs(scores).max() < 4
    assert abs(scores.mean()) < 4 / math.sqrt(28)
    assert 0.6 < scores.std() < 1.5


@pytest.mark.parametrize(
    "per_word", [*(pytest.param(few, marks=pytest.mark.slow) for few in (1.05, 1.5)), 1.9, 2.7, 9.4]
)
def test_places_that_more_hashes_lead_to_are_in_the_formula(monkeypatch, per_word):
    """Hashes of 32 bits modulo m are uneven where m is large, as of 1e9 members; here there are 20 bits."""
    words = 1 << 20
    monkeypatch.setattr(bounds, "_WORDS", words)
    count = bisect.bisect_left(range(words), words / per_word, key=bounds.slice_bits)
    fill, m = bounds.screen_fill(count), bounds.slice_bits(count)
    middle, deviation = (fill.least + fill.most) / 2, (fill.most - fill.least) / 16
    scores = (ones_by_chance(words, count, m, 40) - middle) / deviation
    assert abs(scores.mean()) < 4 / math.sqrt(40)
    assert 0.6 < scores.std() < 1.5


@pytest.mark.parametrize("count", [LEAST, 10**6, 10**7, 10**8, 1_568_314_447])
def test_a_forged_one_passes_hardly_more_strangers_than_an_honest_one(count):
    fill = bounds.screen_fill(count)
    m = bounds.slice_bits(count)
    assert 0.009 < (fill.least / m) ** 7 < (fill.most / m) ** 7 < 0.0108
    assert ((fill.most + fill.least) / 2 / m) ** 7 == pytest.approx(0.01, rel=0.02)


@pytest.mark.parametrize("number", range(7))
@pytest.mark.parametrize("way", ["most", "least"])
def test_the_last_that_passes_and_the_first_that_does_not(made, tmp_path, number, way):
    _, directory, path = made(LEAST)
    m, fill = bounds.slice_bits(LEAST), bounds.screen_fill(LEAST)
    bits = np.unpackbits(np.fromfile(path, np.uint8, offset=40), bitorder="little")
    part = bits[number * m : (number + 1) * m]
    wanted = math.floor(fill.most) if way == "most" else math.ceil(fill.least)
    step = 1 if way == "most" else -1
    others = np.flatnonzero(part == (way == "least"))
    missing = (wanted - int(part.sum())) * step
    part[others[:missing]] ^= 1
    assert int(part.sum()) == wanted
    head = path.read_bytes()[:40]
    (tmp_path / "s").write_bytes(head + np.packbits(bits, bitorder="little").tobytes())
    open_screen(tmp_path / "s", directory.info)
    part[others[missing]] ^= 1
    (tmp_path / "s").write_bytes(head + np.packbits(bits, bitorder="little").tobytes())
    with pytest.raises(BadDirectory, match=f"bits of slice {number} are set") as raised:
        open_screen(tmp_path / "s", directory.info)
    assert raised.value.refusal == ("too-full" if way == "most" else "malformed")


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    st.integers(12, 32),
    st.sampled_from([32, 40]),
    st.lists(st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 255)), min_size=1, max_size=40),
    st.sampled_from([1 << 15, 65_537, 1_000_003, (1 << 31) - 1]),
)
def test_positions_are_those_of_pybloom_live(slot_bits, remainder_bits, pairs, slice_bits):
    mask = 2 ** (slot_bits + 32) - 1
    wide = remainder_bits == 40
    values = Values(
        np.array([key & mask for key, _ in pairs], np.uint64),
        np.array([extra * wide for _, extra in pairs], np.uint8),
    )
    info = DirectoryInfo(len(pairs), slot_bits, remainder_bits, "", DataFile("", 0, ""))
    found = [p[:, :n].copy() for _, n, p in module._positions(iter([values]), info, slice_bits)]
    hashes, function = module.make_hashfuncs(7, slice_bits)
    assert function is hashlib.sha256
    expected = [list(hashes(text)) for text in key_texts(values, slot_bits, remainder_bits)]
    assert np.concatenate(found, axis=1).T.tolist() == expected


def test_the_positions_of_extreme_keys_stay_inside():
    key = np.array([0, 2**64 - 1, 2**63], np.uint64)
    extra = np.array([0, 255, 128], np.uint8)
    position = np.zeros((7, 3), np.uint32)
    salt = np.full(8, BOTH, np.uint64)
    for key_bits in range(44, 65):
        for wide in (False, True):
            table = bloom.layout(key_bits, wide=wide)
            bloom.positions(bloom.WIDTH, key, extra, salt, table, 32_768, position, bloom.scratch())
            assert int(position.max()) < 32_768


# ---- wrong files -------------------------------------------------------------------------------------------

HEADER = struct.Struct("<dQQQQ")


def rewritten(path, tmp_path, **changes):
    names = ("error_rate", "slices", "slice_bits", "capacity", "count")
    data = path.read_bytes()
    fields = dict(zip(names, HEADER.unpack_from(data), strict=True)) | changes
    wrong = tmp_path / "wrong"
    wrong.write_bytes(HEADER.pack(*(fields[name] for name in names)) + data[HEADER.size :])
    return wrong


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"error_rate": 0.001}, "1 % in 7 slices"),
        ({"error_rate": float("nan")}, "1 % in 7 slices"),
        ({"slices": 10}, "1 % in 7 slices"),
        ({"slices": 2**63}, "1 % in 7 slices"),
        ({"slice_bits": 2**62}, "bits a slice are wrong"),
        ({"slice_bits": 0}, "bits a slice are wrong"),
        ({"capacity": LEAST + 1}, "beside a directory of 131072"),
        ({"capacity": 0}, "beside a directory of 131072"),
        ({"count": LEAST + 1}, "131073 tokens counted"),
        ({"count": 0}, "0 tokens counted"),
    ],
)
def test_a_wrong_header(made, tmp_path, changes, says):
    _, directory, path = made(LEAST)
    with pytest.raises(BadDirectory, match=says) as caught:
        open_screen(rewritten(path, tmp_path, **changes), directory.info)
    assert caught.value.hint


@pytest.mark.parametrize("size", [0, 39, 40, -1, 1])
def test_a_wrong_length(made, tmp_path, size):
    _, directory, path = made(LEAST)
    wrong = tmp_path / "wrong"
    data = path.read_bytes()
    wrong.write_bytes(data + b"\0" if size == 1 else data[:size])
    with pytest.raises(BadDirectory, match="bytes"):
        open_screen(wrong, directory.info)


@pytest.mark.parametrize("octet", [b"\xff", b"\x00"])
def test_a_full_or_empty_filter_is_refused(made, tmp_path, octet):
    for count in COUNTS:
        _, directory, path = made(count)
        data = path.read_bytes()
        bitmap = bytearray(octet * (len(data) - 40))
        bitmap[-1] = 0
        (tmp_path / "wrong").write_bytes(data[:40] + bitmap)
        with pytest.raises(BadDirectory, match="slice 0 are set"):
            open_screen(tmp_path / "wrong", directory.info)


def test_bits_behind_the_end_are_refused(made, tmp_path):
    _, directory, path = made(LEAST)
    assert 7 * bounds.slice_bits(LEAST) % 8
    data = bytearray(path.read_bytes())
    data[-1] |= 0x80
    (tmp_path / "wrong").write_bytes(data)
    with pytest.raises(BadDirectory, match="after the last slice"):
        open_screen(tmp_path / "wrong", directory.info)


def test_every_flipped_byte_is_noticed_against_the_manifest(made, tmp_path):
    _, directory, path = made(LEAST)
    info = build_screen(tmp_path / "same", directory)
    data = path.read_bytes()
    open_screen(path, directory.info, expect=info)
    for place in (*range(60), *range(61, len(data), 999)):
        flipped = bytearray(data)
        flipped[place] ^= 0x10
        (tmp_path / "wrong").write_bytes(flipped)
        with pytest.raises(BadDirectory):
            open_screen(tmp_path / "wrong", directory.info, expect=info)
    (tmp_path / "wrong").write_bytes(data[:-1])
    with pytest.raises(BadDirectory, match="bytes instead of"):
        open_screen(tmp_path / "wrong", directory.info, expect=info)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=120))
def test_any_octets_are_one_error(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("junk") / "junk"
    path.write_bytes(data)
    with pytest.raises(BadDirectory):
        open_screen(path, DirectoryInfo(LEAST, 17, 32, "", DataFile("", 0, "")))


def test_a_screen_that_a_small_directory_cannot_have(tmp_path):
    """The library's own, right in all else."""
    reference = BloomFilter(500, 0.01)
    for key in range(500):
        reference.add(f"{key:011x}")
    with (tmp_path / "s").open("wb") as file:
        reference.tofile(file)
    with pytest.raises(BadDirectory, match="a directory of 500 tokens has no screen") as raised:
        open_screen(tmp_path / "s", DirectoryInfo(500, 12, 32, "", DataFile("", 0, "")))
    assert raised.value.refusal == "out-of-range"


def test_a_screen_of_another_directory_or_none(made, tmp_path):
    _, directory, path = made(LEAST)
    with pytest.raises(BadDirectory, match="beside a directory of 131073"):
        open_screen(path, replace(directory.info, count=LEAST + 1))
    with pytest.raises(BadInput, match="cannot be read"):
        open_screen(tmp_path / "missing", directory.info)
