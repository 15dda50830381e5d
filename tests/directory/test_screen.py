"""Screens against pybloom-live: the same bytes, the same answers; and every way a file can be wrong."""

import hashlib
import io
import re
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pybloom_live import BloomFilter

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


# 23,929 and below: xxh128; from 23,930 on SHA-256. Sizes of both kinds, odd ones, and both widths.
COUNTS = [0, 1, 2, 500, 23_929, 23_930, 40_001]


@pytest.mark.parametrize("remainder_bits", [32, 40])
@pytest.mark.parametrize("count", COUNTS)
def test_the_bytes_are_those_of_pybloom_live(made, count, remainder_bits):
    _, directory, path = made(count, remainder_bits)
    reference = BloomFilter(max(1, count), 0.01)
    for text in texts(directory):
        reference.add(text)
    expected = io.BytesIO()
    reference.tofile(expected)
    assert path.read_bytes() == expected.getvalue()


def test_both_hash_functions_were_in_that():
    assert module._slice_bits(23_929) < 1 << 15 <= module._slice_bits(23_930)
    assert module._slice_bits(10**8) < 1 << 31


@pytest.mark.parametrize("remainder_bits", [32, 40])
@pytest.mark.parametrize("count", COUNTS)
def test_pybloom_live_reads_it_and_every_member_passes(made, count, remainder_bits):
    tokens, directory, path = made(count, remainder_bits)
    with path.open("rb") as file:
        reference = BloomFilter.fromfile(file)
    assert all(text in reference for text in texts(directory))
    assert open_screen(path, directory.info).test(tokens).all()


@pytest.mark.parametrize("count", [500, 40_001])
def test_others_pass_as_pybloom_live_says_about_one_in_a_hundred(made, count):
    _, directory, path = made(count, 40)
    others = random_tokens(20_000, 99)
    passed = open_screen(path, directory.info).test(others)
    with path.open("rb") as file:
        reference = BloomFilter.fromfile(file)
    values = directory.truncate(others)
    assert passed.tolist() == [text in reference for text in key_texts(values, directory.info.slot_bits, 40)]
    assert 0.006 < passed.mean() < 0.013


@pytest.mark.parametrize("remainder_bits", [32, 40])
def test_few_tokens_and_many_are_tested_alike(made, remainder_bits, monkeypatch):
    tokens, directory, path = made(40_001, remainder_bits)
    mixed = Tokens.concatenate([random_tokens(5000, 7), tokens.take(np.arange(100)), random_tokens(33, 8)])
    screen = open_screen(path, directory.info)
    by_kernel = screen.test(mixed)
    monkeypatch.setattr(module, "_IN_PYTHON", len(mixed))
    assert (screen.test(mixed) == by_kernel).all()
    assert by_kernel[5000:5100].all()


def test_in_small_steps_the_same_bytes(made, monkeypatch, tmp_path):
    _, directory, path = made(40_001, 40)
    monkeypatch.setattr(module, "_AT_ONCE", 1000)
    build_screen(tmp_path / "again", directory)
    assert (tmp_path / "again").read_bytes() == path.read_bytes()


def test_the_example_in_the_document(tmp_path):
    text = DOCUMENT.read_text().partition("# The screen")[2]
    rows = re.findall(r"^    ((?:[0-9a-f]{2} ){4}[0-9a-f ]*?)  +", text, re.MULTILINE)
    values = re.search(r"values above \(`(\w+)`, `(\w+)`, `(\w+)`", text)
    tokens = np.array([list(bytes.fromhex(value.ljust(20, "7"))) for value in values.groups()], np.uint8)
    build(tmp_path / "d", [Tokens.from_bytes(tokens)], remainder_bits=40)
    with open_directory(tmp_path / "d", expect=None) as directory:
        build_screen(tmp_path / "s", directory)
        assert texts(directory) == list(values.groups())
    assert (tmp_path / "s").read_bytes() == bytes.fromhex("".join(rows))


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
        ({"capacity": 501}, "beside a directory of 500"),
        ({"capacity": 0}, "beside a directory of 500"),
        ({"count": 501}, "501 tokens counted"),
        ({"count": 0}, "0 tokens counted"),
    ],
)
def test_a_wrong_header(made, tmp_path, changes, says):
    _, directory, path = made(500)
    with pytest.raises(BadDirectory, match=says) as caught:
        open_screen(rewritten(path, tmp_path, **changes), directory.info)
    assert caught.value.hint


@pytest.mark.parametrize("size", [0, 39, 40, -1, 1])
def test_a_wrong_length(made, tmp_path, size):
    _, directory, path = made(500)
    wrong = tmp_path / "wrong"
    data = path.read_bytes()
    wrong.write_bytes(data + b"\0" if size == 1 else data[:size])
    with pytest.raises(BadDirectory, match="bytes"):
        open_screen(wrong, directory.info)


@pytest.mark.parametrize("octet", [b"\xff", b"\x00"])
def test_a_full_or_empty_filter_is_refused(made, tmp_path, octet):
    for count in (500, 40_001):
        _, directory, path = made(count)
        data = path.read_bytes()
        bitmap = bytearray(octet * (len(data) - 40))
        bitmap[-1] = 0
        (tmp_path / "wrong").write_bytes(data[:40] + bitmap)
        with pytest.raises(BadDirectory, match="bits are set"):
            open_screen(tmp_path / "wrong", directory.info)


def test_bits_behind_the_end_are_refused(made, tmp_path):
    _, directory, path = made(500)
    assert 7 * module._slice_bits(500) % 8
    data = bytearray(path.read_bytes())
    data[-1] |= 0x80
    (tmp_path / "wrong").write_bytes(data)
    with pytest.raises(BadDirectory, match="behind the last slice"):
        open_screen(tmp_path / "wrong", directory.info)


def test_every_flipped_byte_is_noticed_against_the_manifest(made, tmp_path):
    _, directory, path = made(2)
    info = build_screen(tmp_path / "same", directory)
    data = path.read_bytes()
    open_screen(path, directory.info, expect=info)
    for place in range(len(data)):
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
        open_screen(path, DirectoryInfo(2, 12, 32, "", DataFile("", 0, "")))


def test_a_screen_of_another_directory_or_none(made, tmp_path):
    _, directory, path = made(500)
    with pytest.raises(BadDirectory, match="beside a directory of 499"):
        open_screen(path, replace(directory.info, count=499))
    with pytest.raises(BadInput, match="cannot be read"):
        open_screen(tmp_path / "missing", directory.info)
