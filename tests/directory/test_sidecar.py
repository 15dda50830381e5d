"""The sidecar: the same octets whatever the way, each entry where its token is, and nothing forged passes."""

import hashlib
import struct

import numpy as np
import pytest
from labelled import CONTEXT, outputs_of, publish, texts_of

from contactsync import labels
from contactsync.directory import open_directory
from contactsync.directory.delta import read_delta, write_delta
from contactsync.directory.sidecar import open_sidecar, places
from contactsync.directory.sidecar_build import build_sidecar
from contactsync.directory.sidecar_format import HEADER, SidecarLayout
from contactsync.foundation.errors import BadDirectory, BadInput, OurError
from contactsync.tokens import Tokens

COUNTS = (1, 5, 4000, 30_000)


@pytest.fixture(scope="module")
def edition(tmp_path_factory):
    return publish(tmp_path_factory.mktemp("sidecar"), "base", outputs_of(30_000), texts_of(30_000))


# ---- what is built ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", labels.SIZES)
@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("count", COUNTS)
def test_each_member_finds_the_own_label(tmp_path, count, wide, size):
    made = publish(
        tmp_path, "base", outputs_of(count), [t[:16] for t in texts_of(count)], wide=wide, size=size
    )
    with made.directory() as directory, made.open() as sidecar:
        place = places(directory, [], made.tokens)
        assert sorted(place.tolist()) == list(range(count))
        assert made.says(sidecar.entries(place)) == made.texts
        span, numbers = directory.span, np.arange(len(directory.span.count) + 1)
        assert np.array_equal(np.diff(sidecar.first(numbers)), span.count)
        assert sidecar.info.layout.length == made.sidecar.stat().st_size


def test_the_file_as_the_document_says(edition):
    """Read without the package: header, top table, index page, entries in the order of the tokens."""
    data = edition.sidecar.read_bytes()
    fields = struct.unpack_from("<8sHBBIQQQQQQ", data)
    slot_bits, buckets = edition.info.slot_bits, 1 << (edition.info.slot_bits - 12)
    pages, k = -(-buckets // 256), min(buckets, 256)
    index = 64 + 32 * pages
    start = index + pages * (4 * (k + 1) + 32 * k)
    assert fields == (
        *(b"CSLBL\r\n\x1a", 1, slot_bits, 32, 0, 30_000, buckets, pages, index, start),
        start + 48 * 30_000,
    )
    assert len(data) == fields[-1]
    assert hashlib.sha256(data[:index]).hexdigest() == edition.info.top_sha256
    page = data[index:start]
    assert hashlib.sha256(page).digest() == data[64:index]
    first = struct.unpack_from(f"<{k + 1}I", page)
    assert (first[0], first[-1]) == (0, 30_000)
    rows = sorted((o.tobytes(), e.tobytes()) for o, e in zip(edition.outputs, edition.entries, strict=True))
    assert data[start:] == b"".join(entry for _, entry in rows)
    for number in range(buckets):
        a, b = (start + 48 * first[number + i] for i in (0, 1))
        at = 4 * (k + 1) + 32 * number
        assert hashlib.sha256(data[a:b]).digest() == page[at : at + 32]
        within = [row for row, _ in rows[first[number] : first[number + 1]]]
        assert {int.from_bytes(row[:4], "big") >> (32 - (slot_bits - 12)) for row in within} <= {number}


def chunked(edition, order, sizes):
    tokens, entries = edition.tokens.take(order), edition.entries[order]
    at = 0
    for size in sizes:
        some = slice(at, at + size)
        yield Tokens(tokens.head[some], tokens.tail[some]), entries[some]
        at += size


@pytest.mark.parametrize("memory", [1 << 20, 2 << 20, 512 << 20])
@pytest.mark.parametrize("seed", [1, 2])
def test_the_same_octets_whatever_memory_and_order(tmp_path, edition, memory, seed):
    order = np.random.default_rng(seed).permutation(30_000)
    order = np.concatenate([order, order[:500]])  # some come twice
    sizes = [1, 0, 7, 1000, 20_000, len(order)]
    with edition.directory() as directory:
        info = build_sidecar(
            tmp_path / "again", directory, chunked(edition, order, sizes), size=32, memory=memory
        )
    assert info == edition.info
    assert (tmp_path / "again").read_bytes() == edition.sidecar.read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["again"], "working files are removed"


def test_where_tokens_agree_in_a_value_the_least_has_the_entry(tmp_path):
    outputs = outputs_of(100)
    outputs[1] = outputs[0]
    outputs[1, 9] = outputs[0, 9] + 1 if outputs[0, 9] < 255 else 0
    outputs[1, 10:] ^= 255
    lower = 0 if outputs[0, 9] < outputs[1, 9] else 1
    for order in (np.arange(100), np.arange(100)[::-1]):
        texts = [b"label %d" % i for i in range(100)]
        made = publish(tmp_path, f"base{order[0]}", outputs[order], [texts[i] for i in order])
        assert made.info.count == 99
        with made.directory() as directory, made.open() as sidecar:
            place = places(directory, [], Tokens.from_bytes(outputs[:2]))
            assert place[0] == place[1]
            found = labels.unseal(outputs[:2, 10:], sidecar.entries(place), CONTEXT)
    assert found == [texts[0], None] if lower == 0 else [None, texts[1]]


@pytest.mark.parametrize("memory", [2 << 20, 512 << 20])
def test_what_are_not_the_tokens_of_the_directory_makes_no_sidecar(tmp_path, edition, memory):
    tokens, entries = edition.tokens, edition.entries
    less = (Tokens(tokens.head[1:], tokens.tail[1:]), entries[1:])
    other = Tokens.from_bytes(outputs_of(30_000, seed=9))
    torn = entries.copy()
    torn[5, 0] ^= 1
    for chunks, message in (
        ([], "not those of the directory"),
        ([less], "not those of the directory"),
        ([(other, entries)], "not those of the directory"),
        ([(tokens, entries), (Tokens(other.head[:1], other.tail[:1]), entries[:1])], "not those of the dir"),
        ([(tokens, entries), (tokens, torn)], "two different entries"),
        ([(tokens, entries[:-1])], "entries for 30000 tokens"),
        ([(tokens, entries[:, :-1])], "entries for 30000 tokens"),
        ([(tokens, entries.astype(np.uint16))], "entries for 30000 tokens"),
    ):
        with edition.directory() as directory, pytest.raises(BadInput, match=message):
            build_sidecar(tmp_path / "never", directory, chunks, size=32, memory=memory)
        assert list(tmp_path.iterdir()) == []
    with edition.directory() as directory, pytest.raises(BadInput, match="labels of 20 octets"):
        build_sidecar(tmp_path / "never", directory, [], size=20)


def test_too_little_memory_says_how_much(tmp_path, edition, monkeypatch):
    monkeypatch.setattr("contactsync.directory.sidecar_build.MIN_MEMORY", 0)
    with edition.directory() as directory, pytest.raises(BadInput, match="too little") as raised:
        build_sidecar(
            tmp_path / "never", directory, [(edition.tokens, edition.entries)], size=32, memory=1000
        )
    assert raised.value.hint == "Allow 1 MiB."


def test_tokens_that_are_no_outputs_are_called_that(tmp_path, edition, monkeypatch):
    monkeypatch.setattr("contactsync.directory.sidecar_build.MIN_MEMORY", 0)
    same = edition.outputs.copy()
    same[:, 0] = 7
    chunks = [(Tokens.from_bytes(same), edition.entries)]
    with edition.directory() as directory, pytest.raises(BadInput, match="no VOPRF outputs"):
        build_sidecar(tmp_path / "never", directory, chunks, size=32, memory=100_000)


def test_a_folder_that_is_not_there(tmp_path, edition):
    with edition.directory() as directory, pytest.raises(OurError, match="cannot be built"):
        build_sidecar(tmp_path / "no" / "never", directory, [], size=32)


# ---- places through deltas --------------------------------------------------------------------------------


def changed(outputs, seed, gone, came):
    rng = np.random.default_rng(seed)
    kept = np.delete(outputs, rng.choice(len(outputs), gone, replace=False), axis=0)
    return np.concatenate([kept, outputs_of(came, seed=100 + seed)])


@pytest.mark.parametrize("wide", [False, True])
def test_places_through_a_chain_of_deltas(tmp_path, wide):
    first = publish(tmp_path, "0", outputs_of(3000), [b""] * 3000, wide=wide)
    editions, chain = [first], []
    for seed in range(1, 5):
        outputs = changed(editions[-1].outputs, seed, 40 * seed, 30)
        if seed == 3:  # some come back
            outputs = np.concatenate([outputs, first.outputs[-5:], first.outputs[:5]])
            outputs = np.unique(outputs, axis=0)
        editions.append(publish(tmp_path, str(seed), outputs, [b""] * len(outputs), wide=wide))
        with editions[-2].directory() as old, editions[-1].directory() as new:
            write_delta(tmp_path / f"d{seed}", old, new, from_edition=seed, to_edition=seed + 1)
        chain.append(read_delta(tmp_path / f"d{seed}"))
        everybody = Tokens.concatenate(
            [one.tokens for one in editions] + [Tokens.from_bytes(outputs_of(50, 9))]
        )
        with first.directory() as held, editions[-1].directory() as now:
            expected = places(now, [], everybody)
            assert np.array_equal(places(held, chain, everybody), expected)
            assert (expected == -1).any()
            assert sorted(set(expected[expected >= 0].tolist())) == list(range(len(outputs)))


def test_no_token_has_no_place(edition):
    with edition.directory() as directory:
        assert places(directory, [], Tokens.concatenate([])).shape == (0,)
        assert (places(directory, [], Tokens.from_bytes(outputs_of(200, seed=5))) == -1).all()


# ---- attacks ----------------------------------------------------------------------------------------------


def forged(edition, tmp_path, change, *, expect=True):
    data = bytearray(edition.sidecar.read_bytes())
    data = change(data) or data
    (tmp_path / "forged").write_bytes(data)
    return open_sidecar(tmp_path / "forged", expect=edition.info if expect else None)


def flip(at):
    def change(data):
        data[at] ^= 1

    return change


def header(**fields):
    names = [
        "magic",
        "version",
        "slot_bits",
        "size",
        "zero",
        "count",
        "buckets",
        "pages",
        "index",
        "data",
        "length",
    ]

    def change(data):
        values = dict(zip(names, HEADER.unpack_from(data), strict=True)) | fields
        HEADER.pack_into(data, 0, *(values[name] for name in names))

    return change


def swap_buckets(data):
    layout = SidecarLayout.unpack(bytes(data[:64]), "")
    a = layout.data_offset
    data[a : a + 480], data[a + 480 : a + 960] = data[a + 480 : a + 960], data[a : a + 480]


ATTACKS = {
    "nothing": (lambda data: data.clear(), "wrong-length"),
    "one octet less": (lambda data: data[:-1], "wrong-length"),
    "one entry less": (lambda data: data[:-48], "wrong-length"),
    "one octet more": (lambda data: data + b"\0", "wrong-length"),
    "another magic": (header(magic=b"CSDIR\r\n\x1a"), "wrong-kind"),
    "a later version": (header(version=2), "unknown-version"),
    "an earlier version": (header(version=0), "unknown-version"),
    "another size": (header(size=48), "malformed"),
    "a size that is none": (header(size=33), "out-of-range"),
    "more entries than there can be": (header(count=1 << 63), "too-full"),
    "one entry more": (header(count=30_001), "malformed"),
    "slot bits beyond all": (header(slot_bits=255), "out-of-range"),
    "other slot bits": (header(slot_bits=16), "malformed"),
    "a field that is zero": (header(zero=1), "malformed"),
    "an index elsewhere": (header(index=64), "malformed"),
    "the top table": (flip(64), "bad-hash"),
    "the index": (flip(64 + 32 + 5), "bad-hash"),
    "an entry": (flip(-1), "bad-hash"),
    "two parts of entries that changed places": (swap_buckets, "bad-hash"),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_no_other_file_passes(tmp_path, edition, name):
    change, refusal = ATTACKS[name]
    with pytest.raises(BadDirectory) as raised:
        forged(edition, tmp_path, change)
    assert raised.value.refusal == refusal
    assert raised.value.hint
    with pytest.raises(BadDirectory):
        forged(edition, tmp_path, change, expect=False)


@pytest.mark.parametrize("name", ATTACKS)
def test_damage_on_the_disk_is_found_by_the_fast_check(tmp_path, edition, name):
    data = bytearray(edition.sidecar.read_bytes())
    data = ATTACKS[name][0](data) or data
    (tmp_path / "damaged").write_bytes(data)
    with pytest.raises(BadDirectory):
        open_sidecar(tmp_path / "damaged", expect=edition.info, check="xxh3")


def test_the_file_itself_passes_each_check(edition):
    for expect, check in ((edition.info, "sha256"), (edition.info, "xxh3"), (None, "sha256")):
        with open_sidecar(edition.sidecar, expect=expect, check=check) as sidecar:
            assert sidecar.info == edition.info
    with pytest.raises(ValueError, match="closed"):
        sidecar.entries(np.array([0]))


def test_the_sidecar_of_another_edition_is_refused(tmp_path, edition):
    texts = [*edition.texts[:-1], b"another"]
    other = publish(tmp_path, "other", edition.outputs, texts)
    with pytest.raises(BadDirectory) as raised:
        open_sidecar(other.sidecar, expect=edition.info)
    assert raised.value.refusal == "bad-hash"
    fewer = publish(tmp_path, "fewer", edition.outputs[1:], edition.texts[1:])
    with pytest.raises(BadDirectory) as raised:
        open_sidecar(fewer.sidecar, expect=edition.info)
    assert raised.value.refusal == "wrong-length"


def rehashed(data, change):
    """The octets with an index page that was changed, and a top table that fits it."""
    layout = SidecarLayout.unpack(bytes(data[:64]), "")
    a, b = layout.index_offset, layout.data_offset
    page = bytearray(data[a:b])
    change(page)
    data[a:b] = page
    data[64:a] = hashlib.sha256(page).digest()
    return data


@pytest.mark.parametrize(
    ("place", "value"), [(0, 1), (1, 30_001), (1, 0xFFFFFFFF), (2, 0), (-1, 29_999), (-1, 30_001)]
)
def test_an_index_that_is_hashed_but_wrong_is_refused(tmp_path, edition, place, value):
    k = edition.info.layout.page_buckets
    assert k == 8
    at = 4 * (place % (k + 1))
    data = rehashed(
        bytearray(edition.sidecar.read_bytes()), lambda page: struct.pack_into("<I", page, at, value)
    )
    (tmp_path / "forged").write_bytes(data)
    with pytest.raises(BadDirectory) as raised:
        open_sidecar(tmp_path / "forged", expect=None)
    assert raised.value.refusal == "malformed"


def test_a_bucket_that_is_not_what_the_index_says_is_found_without_a_manifest(tmp_path, edition):
    data = rehashed(bytearray(edition.sidecar.read_bytes()), flip(40))
    (tmp_path / "forged").write_bytes(data)
    with pytest.raises(BadDirectory, match="bucket 0 does not match") as raised:
        open_sidecar(tmp_path / "forged", expect=None)
    assert raised.value.refusal == "bad-hash"


@pytest.mark.parametrize("places_", [[-1], [30_000], [0, 1 << 40]])
def test_no_place_beyond_the_entries(edition, places_):
    with edition.open() as sidecar, pytest.raises(ValueError, match="none of 30000"):
        sidecar.entries(np.array(places_))


def test_a_file_that_is_not_there(tmp_path, edition):
    with pytest.raises(BadInput, match="cannot be opened"):
        open_sidecar(tmp_path / "none", expect=edition.info)
    with pytest.raises(BadInput):
        open_directory(tmp_path / "none", expect=None)
