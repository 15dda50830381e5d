"""The manifest's bytes: canonical, strict, bounded."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from manifest_twin import base_lengths

from contactsync.foundation.errors import BadReply
from contactsync.identifiers import KINDS
from contactsync.publication import manifest as module
from contactsync.publication import partition
from contactsync.publication.manifest import MAX_BYTES, MAX_DELTAS, DataFile, DeltaFile, Manifest, Partition


def test_round_trip_and_canonical_form(make_manifest):
    manifest = make_manifest(edition=5)
    data = manifest.to_bytes()
    assert Manifest.from_bytes(data) == manifest
    assert data == json.dumps(json.loads(data), sort_keys=True, separators=(",", ":")).encode()
    assert manifest.count == 2000
    assert len(manifest.files()) == 1 + 4  # the base is shared by both partitions


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
    "unknown member of a file": (("partitions", "49", "base", "surplus"), 1),
    "missing member": (("epoch",), KeyError),
    "other format": (("format",), "contactsync-manifest-3"),
    "earlier format": (("format",), "contactsync-manifest-1"),
    "format a list": (("format",), ["contactsync-manifest-2"]),
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
    "name of a partition in capitals": (("partitions", "Mail"), {}),
    "name of a partition that is too long": (("partitions", "a" * 33), {}),
    "name of a partition that is a path": (("partitions", "../49"), {}),
    "partition of an unknown kind that is no object": (("partitions", "mailto"), []),
    "critical null": (("critical",), None),
    "critical empty": (("critical",), []),
    "critical a string": (("critical",), "cards"),
    "critical names what is not there": (("critical",), ["cards"]),
    "critical names what everybody knows": (("critical",), ["epoch"]),
    "critical names itself": (("critical",), ["critical"]),
    "critical of a partition empty": ((*P49, "critical"), []),
    "critical of a partition names what is not there": ((*P49, "critical"), ["cards"]),
    "critical of an unknown kind of partition empty": (("partitions", "mailto"), {"critical": []}),
    "unknown member with a fraction": (("surplus",), 0.5),
    "unknown member beyond 2^53": (("surplus",), 2**53 + 1),
    "unknown member below -2^53": (("surplus",), {"a": [-(2**53) - 1]}),
    "unknown member with half a surrogate pair": (("surplus",), "\ud83d"),
    "unknown member with a capital name": (("Surplus",), 1),
    "unknown member with a capital name within": (("surplus",), {"A": 1}),
    "unknown member nested nine levels": (("surplus",), [[[[[[[[1]]]]]]]]),
    "65 unknown members": (("surplus",), {f"m{i}": i for i in range(65)}),
    "unknown member of a partition with half a surrogate pair": ((*P49, "surplus"), ["\udc00"]),
    "unknown kind of partition nested nine levels": (
        ("partitions", "mailto"),
        {"a": [[[[[[[[1]]]]]]]]},
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_refused(make_manifest, name):
    tree = json.loads(make_manifest(edition=5).to_bytes())
    _spoil(*BAD[name])(tree)
    data = json.dumps(tree, sort_keys=True, separators=(",", ":")).encode()
    with pytest.raises(BadReply, match="the manifest") as raised:
        Manifest.from_bytes(data)
    assert raised.value.hint
    assert raised.value.refusal


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
    file = DataFile("ab" * 32, 400, "cd" * 8)
    deltas = tuple(DeltaFile(start, end, file) for start, end in spans)
    other = replace(manifest.partitions["1"], deltas=deltas)
    return replace(manifest, partitions={"1": other}).to_bytes()


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


# ---- members that a newer server adds ----------------------------------------------------------------------


def canonical(tree) -> bytes:
    return json.dumps(tree, sort_keys=True, separators=(",", ":")).encode()


def changed(manifest, **members):
    return canonical(json.loads(manifest.to_bytes()) | members)


def two_partitions() -> Manifest:
    base = DataFile("ab" * 32, base_lengths(1000, 12, 32)[0], "cd" * 8)
    one = Partition("49", 1, 1000, 12, 32, "ab" * 32, base)
    delta = DeltaFile(1, 3, DataFile("ba" * 32, 400, "dc" * 8))
    other = replace(one, name="1", deltas=(delta,), edition=3)
    return Manifest("people", 1, 3, bytes(32), 1, {"49": one, "1": other}, None)


def with_partition(manifest, name, **members):
    tree = json.loads(manifest.to_bytes())
    tree["partitions"][name] = tree["partitions"].get(name, {}) | members
    return canonical(tree)


NAMES = st.from_regex(r"[a-z0-9_.-]{1,12}", fullmatch=True).filter(lambda name: name != "critical")
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
LEAVES = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXTS
VALUES = st.recursive(
    LEAVES, lambda v: st.lists(v, max_size=4) | st.dictionaries(NAMES, v, max_size=4), max_leaves=8
)
MEMBERS = st.dictionaries(NAMES, VALUES, max_size=4)


@pytest.mark.slow
@given(st.data())
def test_any_manifest_with_more_members_is_kept_as_it_is(data):
    tree = json.loads(two_partitions().to_bytes())
    of_all = data.draw(MEMBERS) | tree
    of_all["partitions"]["49"] = data.draw(MEMBERS) | tree["partitions"]["49"]
    others = st.dictionaries(st.from_regex(r"[a-z][a-z0-9._-]{0,31}", fullmatch=True), MEMBERS, max_size=3)
    of_all["partitions"] |= data.draw(others)
    raw = canonical(of_all)
    manifest = Manifest.from_bytes(raw)
    assert manifest.to_bytes() == raw
    assert set(manifest.partitions) == {"1", "49"}
    assert set(manifest.unknown) == set(of_all["partitions"]) - {"1", "49"}
    assert set(manifest.extra) == set(of_all) - set(tree)
    assert manifest.is_understood == (raw == two_partitions().to_bytes())


@pytest.mark.slow
@given(st.data())
def test_nothing_but_the_canonical_form_of_unknown_members_passes(data):
    """Another order, another escape, white space or a member said twice is another spelling of it."""
    value = data.draw(st.dictionaries(NAMES, VALUES, min_size=1, max_size=4))
    raw = changed(two_partitions(), surplus=value)
    assert Manifest.from_bytes(raw).extra == {"surplus": value}
    tree = json.loads(raw)
    turned = {"surplus": dict(reversed(value.items()))} | tree
    spellings = [
        json.dumps(tree, sort_keys=True).encode(),
        json.dumps(turned, separators=(",", ":")).encode(),
        raw.replace(b'"surplus":', b'"surplus":1,"surplus":'),
        raw.replace(b'"surplus"', b'"s\\u0075rplus"'),
        json.dumps(tree, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode(),
    ]
    for other in spellings:
        if other != raw:
            with pytest.raises(BadReply):
                Manifest.from_bytes(other)


def nested(levels: int):
    return [nested(levels - 1)] if levels else 1


def test_limits_of_unknown_members(make_manifest):
    """What is just within them is kept; `BAD` has what is just beyond."""
    manifest = make_manifest()
    within = [
        nested(7),
        2**53,
        -(2**53),
        {f"m{i}": i for i in range(64)},
        "\U0001f600\x7f",
        list(range(5000)),
    ]
    for value in within:
        assert Manifest.from_bytes(changed(manifest, surplus=value)).extra == {"surplus": value}
    with pytest.raises(BadReply, match="too many levels"):
        Manifest.from_bytes(changed(manifest, surplus=nested(8)))
    many = {f"m{i}": i for i in range(65)}
    with pytest.raises(BadReply, match="more than 64 members"):
        Manifest.from_bytes(changed(manifest, **many))
    with pytest.raises(BadReply, match="more than 999 partitions"):
        Manifest.from_bytes(
            canonical(json.loads(manifest.to_bytes()) | {"partitions": {f"p{i}": {} for i in range(1000)}})
        )
    with pytest.raises(BadReply, match="larger than"):
        Manifest.from_bytes(changed(manifest, surplus="x" * MAX_BYTES))


def test_a_manifest_that_must_be_understood_is_refused_with_the_way_out(make_manifest):
    data = changed(make_manifest(), cards={"a": 1}, rows=2, critical=["cards", "rows"])
    with pytest.raises(BadReply, match='needs "cards", "rows"; this program may be too old') as raised:
        Manifest.from_bytes(data)
    assert raised.value.refusal == "unknown-critical"
    assert "update" in raised.value.hint


def test_critical_is_sorted_and_has_each_name_once(make_manifest):
    for names in (["rows", "cards"], ["cards", "cards"], ["cards", 1], [["cards"]]):
        with pytest.raises(BadReply, match="critical") as raised:
            Manifest.from_bytes(changed(make_manifest(), cards=1, rows=2, critical=names))
        assert raised.value.refusal == "bad-value"


def test_a_partition_that_must_be_understood_is_unusable_and_not_empty(make_manifest):
    manifest = make_manifest()
    data = with_partition(manifest, "49", cards=1, critical=["cards"])
    read = Manifest.from_bytes(data)
    assert set(read.partitions) == {"1"}
    assert read.unknown["49"].refusal == "unknown-critical"
    assert 'needs "cards"' in read.unknown["49"].reason
    assert read.count == 1000
    assert read.to_bytes() == data
    assert read.sha256() != manifest.sha256()


def test_a_partition_of_a_later_kind_is_unusable(make_manifest):
    data = with_partition(make_manifest(), "mailto.example", whatever=[{"a": None}])
    read = Manifest.from_bytes(data)
    assert set(read.partitions) == {"1", "49"}
    assert read.unknown["mailto.example"].refusal == "unknown-family"
    assert read.to_bytes() == data


def test_what_is_unknown_in_a_partition_does_not_excuse_the_rest(make_manifest):
    data = with_partition(make_manifest(), "49", cards=1, count=0)
    with pytest.raises(BadReply, match="count of partition 49"):
        Manifest.from_bytes(data)


def test_who_understands_what_is_critical_goes_on(make_manifest, monkeypatch):
    """The same bytes, read by the program that they were written for."""
    tree = json.loads(make_manifest().to_bytes()) | {"leaves": 2, "critical": ["leaves"]}
    tree["partitions"]["49"] |= {"cards": 1, "critical": ["cards"]}
    data = canonical(tree)
    monkeypatch.setattr(module, "UNDERSTOOD", frozenset({"leaves"}))
    assert set(Manifest.from_bytes(data).unknown) == {"49"}
    monkeypatch.setattr(partition, "UNDERSTOOD_IN_PARTITION", frozenset({"cards"}))
    read = Manifest.from_bytes(data)
    assert (set(read.partitions), read.unknown) == ({"1", "49"}, {})
    assert read.to_bytes() == data


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("49", "tel"),
        ("1", "tel"),
        ("999", None),
        ("83", None),
        ("mail", "mailto"),
        ("mailto", None),
        ("0x", None),
    ],
)
def test_families(name, family):
    assert module.family_of(name) is (None if family is None else KINDS[family])


@pytest.mark.parametrize(
    "name",
    ["", "049", "0", "1234", "४९", "-a", "a b", "a" * 33, "49\n", "491", "4", "12", "21", "80", "9"],
)
def test_names_of_no_family(name):
    with pytest.raises(BadReply):
        module.family_of(name)


def test_no_partition_has_too_little_room_for_what_is_not_checked():
    from contactsync.identifiers import tel
    from contactsync.identifiers.kinds import KINDS
    from contactsync.publication.partition import ALWAYS_ROOM

    assert min(KINDS["tel"].capacity(code) for code in tel.calling_codes()) >= ALWAYS_ROOM
    assert KINDS["mailto"].capacity("mail") >= ALWAYS_ROOM
    assert list(KINDS) == ["tel", "mailto"], "another kind: its partitions, too"
