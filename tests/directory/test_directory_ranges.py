"""Single buckets over ranges: same answers, all verified, and the requests do not tell which are wanted."""

import hashlib
import re
from pathlib import Path

import numpy as np
import pytest
from directory_forge import fetcher, sealed

from contactsync.directory import DataFile, DirectoryInfo, build, match, open_directory
from contactsync.directory.format import slot_bits_for
from contactsync.directory.ranges import BUCKETS, RangeReader, at_width, buckets_of, chosen
from contactsync.foundation.errors import BadDirectory, NetworkError
from contactsync.tokens import Tokens

SEED = bytes(range(32))


def random_tokens(count: int, seed: int = 1) -> Tokens:
    return Tokens.from_bytes(np.random.default_rng(seed).integers(0, 256, (count, 10), dtype=np.uint8))


@pytest.fixture(scope="module", params=[(1_200_000, 32), (100_000, 40), (10, 32), (0, 40)])
def published(request, tmp_path_factory):
    """A directory of 256, 32, 1 and 1 buckets."""
    path = tmp_path_factory.mktemp("ranges") / "d"
    members = random_tokens(request.param[0])
    return path, build(path, [members], remainder_bits=request.param[1]), members


@pytest.mark.parametrize("asked", [0, 1, 5, 300])
def test_same_answers(published, asked: int) -> None:
    path, info, members = published
    content = path.read_bytes()
    tokens = Tokens.concatenate([members.take(slice(0, asked)), random_tokens(asked, 5)])
    requests: list[list[range]] = []

    def fetch(places: list[range]) -> list[bytes]:
        requests.append(places)
        return fetcher(content)(places)

    of = 2 ** (info.slot_bits - 12)
    wanted = set(buckets_of(info, tokens).tolist())
    numbers = chosen(wanted, of, SEED, total=8)
    assert wanted <= set(numbers)
    assert len(numbers) == min(of, max(1, -(-len(wanted) // 8)) * 8)
    result = RangeReader(info, fetch).match(tokens, numbers)
    with open_directory(path, expect=info) as directory:
        assert (result.found == match(tokens, directory)).all()
    top, pages, buckets = requests
    assert (len(top), len(pages), len(buckets)) == (1, 1, len(numbers))
    assert result.octets == sum(len(place) for place in top + pages + buckets)
    starts = [place.start for place in top + pages + buckets]
    assert starts == sorted(set(starts))


def test_decoys_fill_up_to_a_multiple() -> None:
    none = chosen([], 4096, SEED)
    assert len(none) == 64
    assert none == sorted(none)
    assert {1, 2, 3} <= set(chosen([1, 2, 3], 4096, SEED))
    assert len(chosen([1, 2, 3], 4096, SEED)) == len(chosen(range(64), 4096, SEED)) == 64
    assert len(chosen(range(65), 4096, SEED)) == 128
    assert chosen([], 16, SEED) == list(range(16))
    assert len(set(chosen([], 4096, bytes(32))) & set(none)) < 10


def test_a_list_that_was_not_answered_is_in_the_next_one() -> None:
    first = chosen([1, 2, 3], 4096, SEED)
    again = chosen([1, 2], 4096, bytes(32), asked=first)
    assert set(first) < set(again)
    assert len(again) == 2 * 64, "whether anything new is wanted does not show"
    second = chosen([1, 2, 3, 4095], 4096, bytes(32), asked=first)
    assert set(first) < set(second)
    assert len(second) == 128, "a new one hides among as many new decoys"


@pytest.mark.parametrize(("before", "now"), [(15, 17), (17, 15), (16, 16)])
def test_buckets_at_another_width(before: int, now: int) -> None:
    tokens = random_tokens(500)
    nothing = DataFile("", 0, "")
    old, new = (DirectoryInfo(0, bits, 32, "", nothing) for bits in (before, now))
    asked = at_width(set(buckets_of(old, tokens).tolist()), before, new)
    assert set(buckets_of(new, tokens).tolist()) <= set(asked)
    assert len(asked) <= 2 ** (now - 12)
    assert at_width([], before, new) == []


@pytest.mark.parametrize("remainder_bits", [32, 40])
def test_every_section_is_verified(tmp_path, remainder_bits: int) -> None:
    info = build(tmp_path / "d", [random_tokens(6000)], remainder_bits=remainder_bits)
    content = (tmp_path / "d").read_bytes()
    reader_of = lambda octets: RangeReader(info, fetcher(octets))  # noqa: E731
    for at in [*range(0, 400, 3), *range(400, len(content), 997), len(content) - 1]:
        damaged = bytearray(content)
        damaged[at] ^= 0x10
        with pytest.raises(BadDirectory, match=r"^directory: "):
            reader_of(damaged).match(random_tokens(3), [0, 1])
    for length in (0, 63, 100, 3000, len(content) - 1):
        with pytest.raises(BadDirectory, match="bytes received instead of"):
            reader_of(content[:length]).match(random_tokens(3), [0, 1])


def test_a_file_replaced_between_two_ranges(tmp_path) -> None:
    info = build(tmp_path / "d", [random_tokens(6000)])
    build(tmp_path / "e", [random_tokens(6000, 2)])
    old, new = (tmp_path / "d").read_bytes(), (tmp_path / "e").read_bytes()
    for after in (1, 2):
        calls = 0

        def fetch(places: list[range], after: int = after) -> list[bytes]:
            nonlocal calls
            calls += 1
            return fetcher(old if calls <= after else new)(places)

        with pytest.raises(BadDirectory, match=r"index page 0|bucket \d|bytes came"):
            RangeReader(info, fetch).match(random_tokens(3), [0, 1])


def test_what_fetch_raises_comes_through(tmp_path) -> None:
    info = build(tmp_path / "d", [random_tokens(10)])

    def fetch(places: list[range]) -> list[bytes]:
        raise NetworkError("nothing came")

    with pytest.raises(NetworkError):
        RangeReader(info, fetch).match(random_tokens(3), [0, 1])
    with pytest.raises(ValueError, match="seed"):
        chosen([], 64, b"")


def test_a_signed_bucket_with_a_wrong_structure(tmp_path) -> None:
    build(tmp_path / "d", [random_tokens(100)])
    for at in (0x98, 0x9A, 0x98 + 33):
        forged = bytearray((tmp_path / "d").read_bytes())
        forged[at] ^= 3
        content, info = sealed(forged)
        with pytest.raises(BadDirectory, match="bucket 0"):
            RangeReader(info, fetcher(content)).match(random_tokens(3), [0])


def test_decoys_are_those_that_the_protocol_page_describes():
    text = (Path(__file__).resolve().parents[2] / "docs" / "protocol.md").read_text()
    rule = "decoy_i   = the first log2(B) bits of BLAKE2b(i in 8 octets, little-endian, key = seed, 8 octets)"
    assert rule in text
    numbers, i = {5, 77}, 0
    while len(numbers) < 64:
        digest = hashlib.blake2b(i.to_bytes(8, "little"), key=SEED, digest_size=8).digest()
        numbers.add(int(f"{int.from_bytes(digest, 'big'):064b}"[:10], 2))
        i += 1
    assert chosen([77, 5], 1024, SEED) == sorted(numbers)


@pytest.mark.parametrize("more", [1, 3])
def test_wanted_buckets_do_not_stand_out_when_the_slot_bits_change(more):
    """With decoys of other bits, a wanted bucket was seen again always, and a decoy hardly ever."""
    values = [123_456_789 * k % (1 << 20) for k in range(1, 20)]
    before = chosen([value >> 10 for value in values], 1 << 10, SEED)
    after = chosen([value >> (10 - more) for value in values], 1 << (10 + more), SEED)
    wanted = {value >> 10 for value in values}
    decoys = set(before) - wanted
    again = {number >> more for number in after}
    assert wanted <= again
    assert len(decoys - again) <= len(values), "as many as there are wanted ones, which take their places"
    assert len(decoys & again) > 25


def test_the_protocol_page_says_from_how_many_members_a_screen_is_used():
    text = (Path(__file__).resolve().parents[2] / "docs" / "protocol.md").read_text()
    members, q = re.search(r"uses the screen from ([\d,]+) members on\s+\(q ≥ (\d+)\)", text).groups()
    count = int(members.replace(",", ""))
    assert (slot_bits_for(count - 1), slot_bits_for(count)) == (int(q) - 1, int(q))
    assert 1 << (slot_bits_for(count - 1) - 12) == BUCKETS, "all buckets of a smaller one would be fetched"
