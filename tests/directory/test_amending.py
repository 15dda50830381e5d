"""A directory that is made of an earlier one is, byte for byte, the one that is built from nothing."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contactsync.directory import amending, reader
from contactsync.directory.amending import Changes, Contradicted, amend, keeps_slot_bits
from contactsync.directory.build import build
from contactsync.directory.reader import open_directory
from contactsync.foundation.errors import BadDirectory
from contactsync.tokens import Tokens

ROWS = np.random.default_rng(7).integers(0, 256, (40_000, 10), np.uint8)
TOKENS = Tokens.from_bytes(ROWS)
WIDTHS = pytest.mark.parametrize("remainder_bits", [32, 40])


def some(places):
    return TOKENS.take(np.array(sorted(places), np.int64))


def changes_of(before, after, info, *also):
    """The changes from one set of places in TOKENS to another; `also` those that stay as they are."""
    places = sorted(set(before) ^ set(after) | set(also))
    had, has = ([place in them for place in places] for them in (set(before), set(after)))
    return Changes.of(some(places), np.array(had, np.bool_), np.array(has, np.bool_), info)


def amended_of(folder, info, changes):
    """What `amend` says of `amended`, made of `earlier`, which `info` describes."""
    with open_directory(folder / "earlier", expect=info, check="xxh3") as earlier:
        return amend(folder / "amended", earlier, changes)


def both(folder, before, after, remainder_bits=32, also=()):
    """What `amend` and what `build` make of the same tokens: (what is said of it, its octets) each."""
    earlier = build(folder / "earlier", [some(before)], remainder_bits=remainder_bits)
    wanted = build(folder / "built", [some(after)], remainder_bits=remainder_bits)
    found = amended_of(folder, earlier, changes_of(before, after, earlier, *also))
    return [(info, (folder / name).read_bytes()) for info, name in ((found, "amended"), (wanted, "built"))]


@WIDTHS
@pytest.mark.parametrize(
    ("before", "after"),
    [
        (range(5000), range(1, 5000)),
        (range(5000), range(5001)),
        (range(5000), range(100, 5100)),
        (range(1), range(1, 2)),
        (range(100), range(100, 4000)),
        (range(20_000), [*range(10_000), *range(20_000, 30_000)]),
        (range(30_000), range(30_000)),
        (range(22_000), range(400, 23_000)),
    ],
)
def test_it_is_what_is_built_from_nothing(tmp_path, before, after, remainder_bits):
    amended, built = both(tmp_path, before, after, remainder_bits, also=(20_500, 39_999, *list(before)[:1]))
    assert amended == built
    assert sorted(p.name for p in tmp_path.iterdir()) == ["amended", "built", "earlier"]


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_it_is_so_for_any_changes(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("any")
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    count = data.draw(st.sampled_from([0, 1, 700, 6000, 11_000, 22_000]))
    before = set(rng.choice(40_000, count, replace=False).tolist())
    leave, join = (data.draw(st.sampled_from([0, 1, 3, 50, 400])) for _ in range(2))
    after = before - set(rng.choice(sorted(before), min(leave, count), replace=False).tolist())
    after |= set(rng.choice(40_000, join, replace=False).tolist())
    earlier = build(folder / "earlier", [some(before)])
    if keeps_slot_bits(earlier, changes_of(before, after, earlier)):
        amended, built = both(folder, before, after, data.draw(st.sampled_from([32, 40])))
        assert amended == built


@pytest.mark.slow
def test_pages_that_nobody_left_or_joined_are_copied(tmp_path, monkeypatch):
    """Two million tokens are 512 buckets on two pages; those of one alone are decoded."""
    rows = np.random.default_rng(8).integers(0, 256, (2_000_000, 10), np.uint8)
    tokens = Tokens.from_bytes(rows)
    earlier = build(tmp_path / "earlier", [tokens])
    low = np.flatnonzero(tokens.head >> np.uint64(54) == 3)[:40]  # of the first 2^10th parts
    rest = np.delete(np.arange(len(tokens)), low)
    changes = Changes.of(tokens.take(low), np.ones(40, np.bool_), np.zeros(40, np.bool_), earlier)
    decoded, real = [], amending.buckets.decode
    monkeypatch.setattr(
        amending.buckets,
        "decode",
        lambda span, name, **how: (decoded.extend(span.number.tolist()), real(span, name, **how))[1],
    )
    found = amended_of(tmp_path, earlier, changes)
    assert found == build(tmp_path / "built", [tokens.take(rest)])
    assert decoded == [1]
    digest = hashlib.sha256((tmp_path / "amended").read_bytes()).hexdigest()
    assert digest == found.file.sha256 == hashlib.sha256((tmp_path / "built").read_bytes()).hexdigest()


@WIDTHS
@pytest.mark.parametrize(
    "what", ["there already", "not there", "stays but is not there", "never but is there"]
)
def test_a_directory_that_is_not_as_is_said_is_refused(tmp_path, what, remainder_bits):
    earlier = build(tmp_path / "earlier", [some(range(3000))], remainder_bits=remainder_bits)
    had, has, place = {
        "there already": (False, True, 5),
        "not there": (True, False, 4000),
        "stays but is not there": (True, True, 4000),
        "never but is there": (False, False, 5),
    }[what]
    changes = Changes.of(some([place]), np.array([had]), np.array([has]), earlier)
    with pytest.raises(Contradicted):
        amended_of(tmp_path, earlier, changes)
    assert [p.name for p in tmp_path.iterdir()] == ["earlier"]


def test_two_tokens_that_are_one_value_make_no_changes(tmp_path):
    earlier = build(tmp_path / "earlier", [some(range(10))])
    twin = ROWS[:1].copy()
    twin[0, 9] ^= 1
    tokens = Tokens.from_bytes(np.concatenate([ROWS[:1], twin]))
    assert Changes.of(tokens, np.array([True, False]), np.array([False, True]), earlier) is None


@WIDTHS
@pytest.mark.parametrize("fast", [True, False])
def test_an_octet_that_was_changed_anywhere_is_found(tmp_path, remainder_bits, fast, monkeypatch):
    """Also in buckets that are only copied, and by who can make the fast check come out right."""
    if not fast:
        monkeypatch.setattr(reader, "_check_fast", lambda *_of: None)
    earlier = build(tmp_path / "earlier", [some(range(12_000))], remainder_bits=remainder_bits)
    octets = (tmp_path / "earlier").read_bytes()
    changes = changes_of(range(12_000), range(1, 12_000), earlier)
    for place in [
        0,
        9,
        17,
        50,
        70,
        200,
        *range(earlier.layout.data_offset, len(octets), 1999),
        len(octets) - 1,
    ]:
        damaged = bytearray(octets)
        damaged[place] ^= 4
        (tmp_path / "earlier").write_bytes(damaged)
        with pytest.raises(BadDirectory):
            amended_of(tmp_path, earlier, changes)
    for cut in (octets[:-8], octets + bytes(8), octets[:40]):
        (tmp_path / "earlier").write_bytes(cut)
        with pytest.raises(BadDirectory):
            amended_of(tmp_path, earlier, changes)
    assert [p.name for p in tmp_path.iterdir()] == ["earlier"]


def test_a_file_that_changes_after_it_was_verified_changes_nothing(tmp_path, monkeypatch):
    """Who may write to the data files must not get anything signed by being fast."""
    earlier = build(tmp_path / "earlier", [some(range(12_000))])
    wanted = build(tmp_path / "built", [some(range(1, 12_000))])
    real = amending.bucket_hash

    def verified(bucket):
        digest = real(bucket)
        with Path(tmp_path / "earlier").open("r+b") as file:
            file.seek(earlier.layout.data_offset)
            file.write(bytes(earlier.file.length - earlier.layout.data_offset))
        return digest

    monkeypatch.setattr(amending, "bucket_hash", verified)
    changes = changes_of(range(12_000), range(1, 12_000), earlier)
    assert amended_of(tmp_path, earlier, changes) == wanted
