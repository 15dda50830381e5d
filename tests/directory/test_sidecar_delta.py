"""Deltas of sidecars: an old sidecar and a chain say what the new one says, and nothing forged passes."""

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from labelled import outputs_of, publish, resealed, texts_of

from contactsync.directory.bounds import sidecar_delta_lengths, sidecar_length
from contactsync.directory.format import DataFile
from contactsync.directory.sidecar import places
from contactsync.directory.sidecar_delta import (
    HEADER,
    SidecarDelta,
    check_chain,
    entries_through,
    read_sidecar_delta,
    write_sidecar_delta,
)
from contactsync.foundation.errors import BadDirectory, BadInput

NAMES = [
    "magic",
    "version",
    "slot_bits",
    "size",
    "zero",
    "from_",
    "to",
    "old",
    "new",
    "dropped",
    "placed",
    "length",
    "old_sha",
    "new_sha",
]


def delta_between(folder, one, other, editions=(1, 2)):
    path = folder / f"delta{editions[0]}"
    with one.open() as old, other.open() as new:
        file = write_sidecar_delta(path, old, new, from_edition=editions[0], to_edition=editions[1])
    return path, file


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    """Five editions: members renamed, gone, come, come back; and the deltas between them."""
    folder = tmp_path_factory.mktemp("chain")
    rng = np.random.default_rng(3)
    outputs, texts = outputs_of(20_000), texts_of(20_000)
    editions, deltas = [publish(folder, "0", outputs, texts)], []
    first = outputs[:30], texts[:30]
    for number in range(1, 5):
        gone = rng.choice(len(outputs), 100, replace=False)
        outputs = np.concatenate([np.delete(outputs, gone, axis=0), outputs_of(70, seed=number + 50)])
        texts = [t for i, t in enumerate(texts) if i not in set(gone.tolist())] + [b"new %d" % number] * 70
        if number == 3:
            here = {row.tobytes() for row in outputs}
            back = [i for i, row in enumerate(first[0]) if row.tobytes() not in here]
            outputs, texts = np.concatenate([outputs, first[0][back]]), texts + [first[1][i] for i in back]
        for i in rng.choice(len(texts), 50, replace=False):
            texts[i] = b"renamed %d" % number
        editions.append(publish(folder, str(number), outputs, list(texts)))
        path, file = delta_between(folder, editions[-2], editions[-1], (number, number + 1))
        deltas.append(read_sidecar_delta(path, expect=file))
    return editions, deltas, folder


def test_a_chain_says_what_the_new_sidecar_says(chain):
    editions, deltas, _ = chain
    for start in range(5):
        for end in range(start, 5):
            some = deltas[start:end]
            check_chain(editions[start].info, some, editions[end].info)
            everything = np.arange(editions[end].info.count)
            with editions[start].open() as old, editions[end].open() as new:
                assert np.array_equal(entries_through(old, some, everything), new.entries(everything))
                shuffled = np.random.default_rng(1).permutation(everything)[:500]
                assert np.array_equal(entries_through(old, some, shuffled), new.entries(shuffled))


def test_each_member_reads_the_own_label_through_the_chain(chain):
    editions, deltas, _ = chain
    now = editions[-1]
    with now.directory() as directory, editions[0].open() as old:
        assert now.says(entries_through(old, deltas, places(directory, [], now.tokens))) == now.texts


def test_a_delta_costs_what_changed(chain):
    _, deltas, folder = chain
    for number, delta in enumerate(deltas, 1):
        length = (folder / f"delta{number}").stat().st_size
        assert length == 168 + 4 * (len(delta.dropped) + len(delta.placed)) + 48 * len(delta.placed)
        assert len(delta.placed) <= 70 + 50 + 30
        assert length < sidecar_length(20_000, 32, 14) / 100


def test_the_bounds_have_every_delta(chain):
    editions, _, folder = chain
    for number in range(1, 5):
        length = (folder / f"delta{number}").stat().st_size
        info = editions[number].info
        assert length in sidecar_delta_lengths(info.count, 32, info.slot_bits, last=True)
        assert length in sidecar_delta_lengths(editions[-1].info.count, 32, info.slot_bits, last=False)
        assert sidecar_length(info.count, 32, info.slot_bits) == info.file.length


def test_the_same_sidecars_give_the_same_octets(chain, tmp_path):
    editions, _, folder = chain
    path, _ = delta_between(tmp_path, editions[0], editions[1])
    assert path.read_bytes() == (folder / "delta1").read_bytes()


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_two_sidecars_by_the_rule_of_the_document(data):
    """Entry by entry: those that are not dropped fill the places that are not placed, in order."""
    old = data.draw(st.lists(st.integers(0, 40), max_size=30))
    dropped = (
        sorted(data.draw(st.sets(st.integers(0, max(0, len(old) - 1)), max_size=len(old)))) if old else []
    )
    kept = [x for i, x in enumerate(old) if i not in dropped]
    fresh = data.draw(st.lists(st.integers(100, 140), max_size=10))
    total = len(kept) + len(fresh)
    placed = sorted(data.draw(st.permutations(range(total)))[: len(fresh)])
    rest = iter(kept)
    new = [fresh[placed.index(i)] if i in placed else next(rest) for i in range(total)]
    rows = np.repeat(np.array(fresh, np.uint8).reshape(-1, 1), 32, axis=1)
    delta = SidecarDelta(
        1, 2, 16, 12, len(old), total, "", "", np.array(dropped, int), np.array(placed, int), rows
    )

    class Held:
        count = len(old)
        info = type("I", (), {"layout": type("L", (), {"entry_bytes": 32})})

        def entries(self, places):
            return np.repeat(np.array(old, np.uint8).reshape(-1, 1), 32, axis=1)[places]

    assert entries_through(Held(), [delta], np.arange(total))[:, 0].tolist() == new


# ---- when there is none -----------------------------------------------------------------------------------


def test_no_delta_where_it_would_be_as_large(tmp_path):
    one = publish(tmp_path, "one", outputs_of(50), [b"a"] * 50)
    all_new = publish(tmp_path, "new", outputs_of(50), [b"b"] * 50)
    larger = publish(tmp_path, "larger", outputs_of(50), [b"a"] * 50, size=48)
    wider = publish(tmp_path, "wider", outputs_of(9000), [b"a"] * 9000)
    for other in (all_new, larger, wider):
        path, file = delta_between(tmp_path, one, other)
        assert file is None
        assert not path.exists()


def test_sidecars_without_change_have_an_empty_delta(tmp_path):
    one = publish(tmp_path, "one", outputs_of(50), [b"a"] * 50)
    _, file = delta_between(tmp_path, one, one)
    assert file.length == 168
    assert file.length not in sidecar_delta_lengths(50, 32, 12, last=True), "nobody publishes it"


def test_members_who_only_leave(tmp_path):
    """Nothing is placed."""
    outputs = outputs_of(50)
    one, fewer = (
        publish(tmp_path, "one", outputs, [b"a"] * 50),
        publish(tmp_path, "2", outputs[3:], [b"a"] * 47),
    )
    path, file = delta_between(tmp_path, one, fewer)
    delta = read_sidecar_delta(path, expect=file)
    assert (len(delta.dropped), delta.entries.shape) == (3, (0, 48))
    with one.open() as old, fewer.open() as new:
        assert np.array_equal(entries_through(old, [delta], np.arange(47)), new.entries(np.arange(47)))


def test_entries_that_do_not_differ_are_all_written(tmp_path):
    """Not what sealing gives, and still right: entries that agree have no order of their own."""
    from contactsync.directory.sidecar_delta import _common

    same = np.zeros((5, 48), np.uint8)
    assert [len(part) for part in _common(same, same)] == [0, 0]


# ---- attacks ----------------------------------------------------------------------------------------------


def fields(**changes):
    def change(data):
        values = dict(zip(NAMES, HEADER.unpack_from(data), strict=True))
        values |= {name: new(values[name]) if callable(new) else new for name, new in changes.items()}
        HEADER.pack_into(data, 0, *(values[name] for name in NAMES))
        return resealed(data)

    return change


def put(at, value):
    def change(data):
        struct.pack_into("<I", data, at, value)
        return resealed(data)

    return change


def flipped(at):
    def change(data):
        data[at] ^= 1
        return data

    return change


ATTACKS = {
    "nothing": (lambda data: b"", "wrong-length"),
    "nine octets": (lambda data: data[:9], "wrong-length"),
    "half of it": (lambda data: data[: len(data) // 2], "wrong-length"),
    "one octet less": (lambda data: data[:-1], "wrong-length"),
    "one octet more": (lambda data: data + b"\0", "wrong-length"),
    "the magic of a delta of tokens": (fields(magic=b"CSDLT\r\n\x1a"), "wrong-kind"),
    "a later version": (fields(version=2), "unknown-version"),
    "an octet of an entry": (flipped(-40), "bad-hash"),
    "an octet of the trailer": (flipped(-1), "bad-hash"),
    "a size that is none": (fields(size=17), "out-of-range"),
    "another size": (fields(size=48), "malformed"),
    "slot bits beyond all": (fields(slot_bits=33), "out-of-range"),
    "a field that is zero": (fields(zero=1), "out-of-range"),
    "backwards": (fields(from_=2, to=1), "out-of-range"),
    "from an edition to itself": (fields(from_=2, to=2), "out-of-range"),
    "more old entries than there can be": (fields(old=1 << 40), "too-full"),
    "more new entries than there can be": (fields(new=1 << 63), "too-full"),
    "one old entry more": (fields(old=lambda n: n + 1), "malformed"),
    "more dropped than there were": (fields(dropped=1 << 62), "malformed"),
    "more placed than there are octets": (fields(placed=lambda n: n + 1, new=lambda n: n + 1), "malformed"),
    "counts that add up by an overflow": (
        fields(dropped=lambda n: n, placed=(1 << 64) - 1),
        "malformed",
    ),
    "another length": (fields(length=lambda n: n + 4), "wrong-length"),
    "a dropped place twice": (
        lambda data: put(140, struct.unpack_from("<I", data, 136)[0])(data),
        "not-ascending",
    ),
    "dropped places out of order": (put(136, 0xFFFFFFFF), "not-ascending"),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_no_other_delta_is_read(chain, tmp_path, name):
    _, _, folder = chain
    change, refusal = ATTACKS[name]
    data = bytearray((folder / "delta1").read_bytes())
    (tmp_path / "forged").write_bytes(change(data))
    with pytest.raises(BadDirectory) as raised:
        read_sidecar_delta(tmp_path / "forged")
    assert raised.value.refusal == refusal
    assert raised.value.hint


@pytest.mark.parametrize("section", ["dropped", "placed"])
def test_a_last_place_beyond_the_entries_is_refused(chain, tmp_path, section):
    editions, deltas, folder = chain
    d, p = len(deltas[0].dropped), len(deltas[0].placed)
    at, count = (136 + 4 * (d - 1), 20_000) if section == "dropped" else (136 + 4 * (d + p - 1), 19_970)
    assert (editions[0].info.count, editions[1].info.count) == (20_000, 19_970)
    for value, refused in ((count - 1, False), (count, True), (0xFFFFFFFF, True)):
        data = put(at, value)(bytearray((folder / "delta1").read_bytes()))
        (tmp_path / "forged").write_bytes(data)
        if not refused:
            read_sidecar_delta(tmp_path / "forged")
            continue
        with pytest.raises(BadDirectory, match=f"the {section} places") as raised:
            read_sidecar_delta(tmp_path / "forged")
        assert raised.value.refusal == "not-ascending"


def test_another_file_than_the_manifest_names(chain):
    _, _, folder = chain
    with pytest.raises(BadDirectory) as raised:
        read_sidecar_delta(
            folder / "delta1", expect=DataFile("00" * 32, (folder / "delta1").stat().st_size, "")
        )
    assert raised.value.refusal == "bad-hash"
    with pytest.raises(BadDirectory) as raised:
        read_sidecar_delta(folder / "delta1", expect=DataFile("00" * 32, 5, ""))
    assert raised.value.refusal == "wrong-length"
    with pytest.raises(BadInput):
        read_sidecar_delta(folder / "none")


def test_a_chain_that_does_not_lead_from_here_to_there_is_refused(chain):
    editions, deltas, _ = chain
    infos = [edition.info for edition in editions]
    for start, some, end in (
        (0, deltas[1:2], 2),  # begins elsewhere
        (0, [deltas[0], deltas[2]], 3),  # a gap
        (0, deltas[:2], 3),  # ends before
        (0, deltas[:3], 2),  # ends behind
        (1, deltas[:1], 1),  # has been gone
        (0, [], 1),  # none where one is needed
        (0, [deltas[1], deltas[0]], 2),  # in another order
    ):
        with pytest.raises(BadDirectory) as raised:
            check_chain(infos[start], some, infos[end])
        assert raised.value.refusal == "not-following"


def test_a_place_beyond_the_new_edition(chain):
    editions, deltas, _ = chain
    with editions[0].open() as old, pytest.raises(ValueError, match="none of"):
        entries_through(old, deltas, np.array([editions[-1].info.count]))
