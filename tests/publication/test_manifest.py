"""The manifest's bytes: canonical, strict, bounded."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contactsync.foundation.errors import BadReply
from contactsync.publication.manifest import MAX_BYTES, MAX_DELTAS, DataFile, DeltaFile, Manifest


def test_round_trip_and_canonical_form(make_manifest):
    manifest = make_manifest(edition=5)
    data = manifest.to_bytes()
    assert Manifest.from_bytes(data) == manifest
    assert data == json.dumps(json.loads(data), sort_keys=True, separators=(",", ":")).encode()
    assert manifest.count == 2000
    assert len(manifest.files()) == 1 + 4 + 1  # base and screen are shared by both partitions


def test_order_of_partitions_does_not_change_the_bytes(make_manifest):
    manifest = make_manifest()
    turned = replace(manifest, partitions=dict(reversed(manifest.partitions.items())))
    assert turned.to_bytes() == manifest.to_bytes()


def _spoil(path, value):
    def change(tree):
        *parents, last = path
        for key in parents:
            tree = tree[key]
        if value is KeyError:
            del tree[last]
        else:
            tree[last] = value

    return change


P49 = ("partitions", "49")
BAD = {
    "unknown member": (("surplus",), 1),
    "missing member": (("epoch",), KeyError),
    "other format": (("format",), "contactsync-manifest-2"),
    "other suite": (("suite",), "P256-SHA256"),
    "other audience": (("audience",), "everybody"),
    "epoch zero": (("epoch",), 0),
    "epoch true": (("epoch",), True),
    "epoch a fraction": (("epoch",), 1.0),
    "edition a string": (("edition",), "3"),
    "edition beyond 2^53": (("edition",), 2**53 + 1),
    "short key": (("public_key",), "ab" * 31),
    "upper-case key": (("public_key",), "AB" * 32),
    "previous of another length": (("previous",), "ab"),
    "partitions a list": (("partitions",), []),
    "code with a zero": (("partitions",), {"049": {}}),
    "code with other digits": (("partitions",), {"४९": {}}),
    "partition null": (P49, None),
    "partition of a later edition": ((*P49, "edition"), 6),
    "empty partition": ((*P49, "count"), 0),
    "count beyond any directory": ((*P49, "count"), 2**41),
    "remainder of 65 bits": ((*P49, "remainder_bits"), 65),
    "remainder of 33 bits": ((*P49, "remainder_bits"), 33),
    "remainder of another width": ((*P49, "remainder_bits"), 40),
    "too few slot bits": ((*P49, "slot_bits"), 11),
    "too many slot bits": ((*P49, "slot_bits"), 33),
    "more slots than the base can have": ((*P49, "slot_bits"), 20),
    "more tokens than slots can hold": ((*P49, "count"), 8193),
    "base shorter than its index": ((*P49, "base", "length"), 600),
    "a rate of another count": ((*P49, "false_positive_rate"), "5.69e-10"),
    "a rate as a number": ((*P49, "false_positive_rate"), 0),
    "base missing": ((*P49, "base"), None),
    "base of no length": ((*P49, "base", "length"), 0),
    "base too long": ((*P49, "base", "length"), 2**45),
    "hash that is a path": ((*P49, "base", "sha256"), "../../../../etc/passwd"),
    "corruption hash too short": ((*P49, "base", "xxh3_64"), "0"),
    "screen a string": ((*P49, "screen"), "screen"),
    "deltas null": ((*P49, "deltas"), None),
}


@pytest.mark.parametrize("name", BAD)
def test_refused(make_manifest, name):
    tree = json.loads(make_manifest(edition=5).to_bytes())
    _spoil(*BAD[name])(tree)
    data = json.dumps(tree, sort_keys=True, separators=(",", ":")).encode()
    with pytest.raises(BadReply, match="the manifest") as raised:
        Manifest.from_bytes(data)
    assert raised.value.hint


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b" " * (MAX_BYTES + 1),
        b'{"epoch":NaN}',
    ],
    ids=["empty", "no members", "list", "null", "not ASCII", "deep list", "deep object", "huge", "NaN"],
)
def test_refused_bytes(data):
    with pytest.raises(BadReply):
        Manifest.from_bytes(data)


def test_refused_unless_canonical(make_manifest):
    data = make_manifest().to_bytes()
    twice = data.replace(b'"epoch":1', b'"epoch":2,"epoch":1')
    for other in (data + b"\n", b" " + data, json.dumps(json.loads(data)).encode(), twice):
        with pytest.raises(BadReply, match="canonical"):
            Manifest.from_bytes(other)


def _with_deltas(manifest, *spans):
    file = DataFile("ab" * 32, 1, "cd" * 8)
    deltas = tuple(DeltaFile(start, end, file) for start, end in spans)
    partition = replace(manifest.partitions["1"], deltas=deltas)
    return replace(manifest, partitions={"1": partition}).to_bytes()


def test_deltas_are_one_chain_that_ends_at_the_edition(make_manifest):
    manifest = make_manifest(edition=40)
    assert len(manifest.partitions["1"].deltas) == MAX_DELTAS
    assert Manifest.from_bytes(_with_deltas(manifest, (3, 7), (7, 40)))
    for spans in ([(3, 7), (8, 40)], [(3, 7)], [(40, 40)], [(7, 3), (3, 40)], [(0, 40)], [(3, 41)]):
        with pytest.raises(BadReply):
            Manifest.from_bytes(_with_deltas(manifest, *spans))
    with pytest.raises(BadReply):
        Manifest.from_bytes(_with_deltas(manifest, *((e, e + 1) for e in range(7, 40))))


@given(st.data())
def test_a_changed_byte_never_passes_as_the_same_manifest(data):
    manifest = Manifest("people", 1, 1, bytes(32), 1, {}, None)
    raw = bytearray(manifest.to_bytes())
    place = data.draw(st.integers(0, len(raw) - 1))
    raw[place] ^= data.draw(st.integers(1, 255))
    try:
        other = Manifest.from_bytes(bytes(raw))
    except BadReply:
        return
    assert other != manifest
    assert other.to_bytes() == bytes(raw)
