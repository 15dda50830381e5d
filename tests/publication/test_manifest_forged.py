"""Forged manifests: refused, unless a builder could have stated it by a second reading of the documents.

CONTACTSYNC_FORGERIES=100000 python -m pytest tests/publication/test_manifest_forged.py
"""

import copy
import json
import math
import os
from pathlib import Path

import manifest_twin as twin
import pytest
from cases import each
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from contactsync.audit.vectors.octets import resolved
from contactsync.directory import bounds
from contactsync.directory.format import Layout, slot_bits_for
from contactsync.foundation.errors import BadReply
from contactsync.identifiers import KINDS
from contactsync.publication.manifest import Manifest

FOLDER = Path(__file__).parents[2] / "contactsync" / "vectors"
VECTORS = json.loads((FOLDER / "manifest.json").read_bytes())
FORGERIES = int(os.environ.get("CONTACTSYNC_FORGERIES", "2000"))
EDGES = (1, 2, 63, 64, 65, 5792, 5793, 11_585, 11_586, 131_071, 131_072, 1_482_911, 10**8, 1_568_314_447)
EDGES += (1_568_314_448, 6_074_000_999)
COUNTS = st.sampled_from(EDGES) | st.integers(1, 6_074_000_999) | st.integers(1, 200_000)
NAMES = st.sampled_from(["1", "44", "49", "353", "86", "500", "290", "7"])


@st.composite
def honest_manifests(draw):
    """What a builder could have stated of some members; of some with rows, or the epoch that comes next."""
    partitions = draw(honest_partitions())
    tree = twin.honest(partitions)
    is_patched = any("patches" in one for one in partitions.values())
    if not is_patched and twin.can_have_rows(partitions) and draw(st.booleans()):
        tree["rows"] = twin.honest_rows(partitions, draw(st.sampled_from([0.0, 0.2, 1.0])))
    if draw(st.booleans()):
        tree["next"] = twin.honest_next(draw(honest_partitions(of="next ")), tree["epoch"])
    return tree


@st.composite
def honest_partitions(draw, of=""):
    partitions = {}
    for name in draw(st.lists(NAMES, max_size=3, unique=True)):
        count = min(draw(COUNTS), twin.CAPACITY[name])
        width = draw(st.sampled_from([32, 40]))
        spread, editions = draw(st.floats(0, 1)), draw(st.sampled_from([1, 2, 3, 40]))
        one = twin.honest_partition(name, count, width, spread=spread, editions=editions, of=of)
        size, changes = draw(st.sampled_from([None, 16, 32, 48, 64])), draw(st.sampled_from([1, 2, 40]))
        if size is not None and count < 1 << 32:
            one["labels"] = twin.honest_labels(name, count, size, edition=editions, editions=changes, of=of)
        elif not of and draw(st.booleans()):
            more = min(max(1, count + draw(st.integers(-20, 20))), twin.CAPACITY[name])
            one = twin.honest_patches(name, one, draw(st.sampled_from([1, 2, 9, 64])), more) or one
        partitions[name] = one
    return partitions


def places(tree, path=()):
    """The path of everything in a manifest."""
    found = [path] if path else []
    members = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for name, value in members:
        found += places(value, (*path, name))
    return found


def value_at(tree, path):
    for step in path:
        tree = tree[step]
    return tree


NEAR = st.sampled_from([-4096, -64, -48, -16, -8, -7, -4, -1, 1, 4, 7, 8, 16, 48, 64, 4096])
FIGURES = [0, 1, 2, 12, 13, 32, 33, 40, 168, 184, 2**17, 2**33, 2**34, 2**53, 2**53 + 1, 10**12]
ANYTHING = (
    st.none()
    | st.booleans()
    | st.sampled_from(FIGURES)
    | st.sampled_from(["", "ab" * 32, "AB" * 32, "1.00e-09", "critical", [], {}, ["labels"], [[1]], 0.5, -1])
    | st.sampled_from([["patches"], ["labels", "patches"]])
)
OTHER_NAMES = ["1", "49", "491", "4", "999", "83", "049", "mailto", "critical", "labels", "X", "next", "name"]
OTHER_NAMES += ["rows", "most", "patches"]


@st.composite
def forged_manifests(draw):
    """An honest one of which some figures, names or members are others."""
    tree = draw(honest_manifests())
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(places(tree)))
        *parents, last = path
        place, old = value_at(tree, parents), value_at(tree, path)
        way = draw(st.sampled_from(["near", "near", "replace", "swap", "rename", "remove", "add"]))
        if way == "near" and type(old) is int:
            place[last] = old + draw(NEAR)
        elif way == "swap":
            place[last] = copy.deepcopy(value_at(tree, draw(st.sampled_from(places(tree)))))
        elif way == "rename" and isinstance(place, dict):
            place[draw(st.sampled_from(OTHER_NAMES))] = place.pop(last)
        elif way == "remove":
            del place[last]
        elif way == "add" and isinstance(place, dict):
            place[draw(st.sampled_from(OTHER_NAMES))] = copy.deepcopy(draw(ANYTHING))
        else:
            place[last] = copy.deepcopy(draw(ANYTHING))
        if draw(st.booleans()):
            correct_rates(tree)
    return tree


def correct_rates(tree):
    """A forger states the rate that belongs to the figures."""
    partitions = tree.get("partitions")
    for partition in partitions.values() if isinstance(partitions, dict) else ():
        if not isinstance(partition, dict):
            continue
        figures = [partition.get(name) for name in ("count", "slot_bits", "remainder_bits")]
        if all(type(figure) is int and 0 <= figure < 2**54 for figure in figures):
            partition["false_positive_rate"] = f"{figures[0] / 2.0 ** min(999, figures[1] + figures[2]):.2e}"


def taken(data):
    try:
        manifest = Manifest.from_bytes(data)
    except BadReply as error:
        refused = error
    else:
        assert manifest.to_bytes() == data
        return True
    assert refused.refusal
    assert refused.hint
    return False


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(honest_manifests())
def test_what_a_builder_states_is_taken(tree):
    totals = [
        sum(p.get("patches", p)["count"] for p in partitions)
        for partitions in (tree["partitions"].values(), tree.get("next", {}).get("partitions", ()))
    ]
    data = twin.canonical(tree)
    assert taken(data) == twin.acceptable(data) == (max(totals) <= 2**34)
    earlier = twin.acceptable(
        data, knows_next=False, knows_labels=False, knows_rows=False, knows_patches=False
    )
    known = [p["count"] for p in tree["partitions"].values() if "patches" not in p]
    assert earlier == (sum(known) <= 2**34), "who does not know patches leaves those partitions out"


@pytest.mark.slow
def test_a_rotation_of_every_calling_code_is_taken_by_clients_that_know_no_overlap():
    """They keep members that they do not know within limits, of which one is 64 members of an object."""
    partitions = {
        code: twin.honest_partition(code, min(1000, capacity), editions=20)
        for code, capacity in twin.CAPACITY.items()
    }
    tree = twin.honest(partitions)
    tree["next"] = twin.honest_next(
        {
            code: twin.honest_partition(code, min(1000, capacity), editions=20, of="next ")
            for code, capacity in twin.CAPACITY.items()
        },
        1,
    )
    data = twin.canonical(tree)
    assert len(partitions) > 200
    assert twin.acceptable(data, knows_next=False)
    assert taken(data)
    as_an_object = tree | {
        "next": tree["next"] | {"partitions": {p["name"]: p for p in tree["next"]["partitions"]}}
    }
    assert not twin.acceptable(twin.canonical(as_an_object), knows_next=False)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@settings(
    max_examples=FORGERIES,
    deadline=None,
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)
@given(forged_manifests())
def test_nothing_else_is(tree):
    try:
        data = twin.canonical(tree)
    except (UnicodeEncodeError, TypeError):
        return
    assert taken(data) == twin.acceptable(data)


@pytest.mark.parametrize("group", VECTORS["groups"], ids=lambda group: group["name"])
def test_the_second_reading_agrees_with_the_vectors(group):
    """Other implementations have both: they must say the same."""
    files = {name: resolved(value, {}) for name, value in VECTORS["files"].items()}

    def agrees(case):
        data = resolved(case["given"]["file"], files)
        assert twin.acceptable(data) == (case["expected"]["refusal"] is None)

    each([(case["reason"], case) for case in group["cases"]], agrees)


# ---- one figure at a time: the last that passes, the first that does not ----------------------------------


def with_figures(count, **members):
    partition = twin.honest_partition("49", count) | members
    q, r = partition["slot_bits"], partition["remainder_bits"]
    partition["false_positive_rate"] = f"{partition['count'] / 2.0 ** (q + r):.2e}"
    return twin.canonical(twin.honest({"49": partition}))


def refusal(data):
    with pytest.raises(BadReply, match=r"partition 49|the manifest states more than") as raised:
        Manifest.from_bytes(data)
    return raised.value.refusal


@pytest.mark.parametrize("count", [1, 26, 5792, 5793, 131_071, 131_072, 10**6, 6_074_000_999])
def test_slot_bits_are_those_of_the_count(count):
    q = slot_bits_for(count)
    assert Manifest.from_bytes(with_figures(count))
    for other in range(q - 3, q + 4):
        if other != q:
            lengths = Layout(count, other, 32, 0).lengths if 12 <= other <= 32 else [5000]
            file = twin.a_file("base", lengths[0])
            assert refusal(with_figures(count, slot_bits=other, base=file)) in {"out-of-range", "too-full"}


@pytest.mark.parametrize("count", [1, 26, 5792, 5793, 131_072, 10**6, 6_074_000_999])
@pytest.mark.parametrize("width", [32, 40])
def test_a_base_is_as_long_as_its_values_are(count, width):
    lengths = Layout(count, slot_bits_for(count), width, 0).lengths
    for length in (lengths[0], lengths[-1]):
        file = twin.a_file("base", length)
        assert Manifest.from_bytes(with_figures(count, remainder_bits=width, base=file))
    for length in (lengths[0] - 8, lengths[-1] + 8, lengths[0] + 4, lengths[-1] - 1, 1 << 40):
        file = twin.a_file("base", length)
        assert refusal(with_figures(count, remainder_bits=width, base=file)) == "out-of-range"


@pytest.mark.parametrize(("count", "has"), [(26, 0), (131_071, 0), (131_072, 1), (1_568_314_447, 1)])
def test_a_screen_is_there_where_one_is_due_and_as_long_as_it_is(count, has):
    assert bounds.has_screen(count) is bool(has)
    right = bounds.screen_length(count)
    other = twin.a_file("screen", right) if not has else None
    assert refusal(with_figures(count, screen=other)) == "out-of-range"
    for length in (right - 1, right + 1, 1 << 41):
        assert refusal(with_figures(count, screen=twin.a_file("screen", length))) == "out-of-range"


def test_above_one_and_a_half_billion_there_is_none():
    assert not bounds.has_screen(1_568_314_448)
    assert refusal(with_figures(1_568_314_448, screen=twin.a_file("screen", 1 << 31))) == "out-of-range"


@pytest.mark.parametrize("width", [32, 40])
def test_a_delta_is_longer_than_nothing_and_shorter_than_the_base(width):
    count = 5000
    base = Layout(count, 12, width, 0).lengths[0]

    def chain(*lengths):
        deltas = [
            {"from": i, "to": i + 1, "file": twin.a_file(f"delta {i}", length)}
            for i, length in enumerate(lengths, 1)
        ]
        edition = len(lengths) + 1
        file = twin.a_file("base", base)
        partition = twin.honest_partition("49", count, width) | {"base": file}
        return twin.canonical(twin.honest({"49": partition | {"edition": edition, "deltas": deltas}}))

    least = 168 + twin.set_length(1, 12, width)
    largest = Layout(5792, 12, width, 0).lengths[0]  # of any directory of 12 slot bits
    assert Manifest.from_bytes(chain(least, largest - 8, base - 8))
    one = [(168,), (least - 8,), (least + 4,), (base,), (1 << 40,)]
    for wrong in (*one, (largest, least), (least, base), (1 << 40, least)):
        assert refusal(chain(*wrong)) == "out-of-range"


def test_no_more_members_than_numbers_and_than_people_have():
    falklands = twin.honest({"500": twin.honest_partition("500", 10**5)})
    assert Manifest.from_bytes(twin.canonical(falklands)).count == 10**5
    with pytest.raises(BadReply, match="partition 500 than are possible") as raised:
        Manifest.from_bytes(twin.canonical(twin.honest({"500": twin.honest_partition("500", 10**5 + 1)})))
    assert raised.value.refusal == "too-full"
    names = ("1", "44", "49", "86")
    most = [6_074_000_999, 6_074_000_999, 5_031_867_186]
    parts = {name: twin.honest_partition(name, n) for name, n in zip(names, most, strict=False)}
    assert Manifest.from_bytes(twin.canonical(twin.honest(parts))).count == 2**34
    parts["86"] = twin.honest_partition("86", 1)
    assert refusal(twin.canonical(twin.honest(parts))) == "too-full"


def test_sums_that_planning_makes_stay_far_below_2_to_the_53():
    """Every calling code at its most, and every delta as long as the largest base of its slot bits."""
    worst = 0
    for code in KINDS["tel"].partitions():
        count = min(bounds.MOST, KINDS["tel"].capacity(code))
        q = slot_bits_for(count)
        largest = Layout(math.isqrt(1 << (2 * q + 1)), q, 40, 0).lengths[-1]
        worst += 33 * largest + (bounds.screen_length(count) if bounds.has_screen(count) else 0)
    assert worst < 2**48


def test_one_file_is_described_in_one_way():
    tree = twin.honest({"49": twin.honest_partition("49", 1000), "1": twin.honest_partition("1", 1000)})
    tree["partitions"]["1"]["base"] = dict(tree["partitions"]["49"]["base"])
    assert Manifest.from_bytes(twin.canonical(tree))
    tree["partitions"]["1"]["base"]["xxh3_64"] = "0" * 16
    with pytest.raises(BadReply, match="the same file in two ways") as raised:
        Manifest.from_bytes(twin.canonical(tree))
    assert raised.value.refusal == "malformed"


@pytest.mark.parametrize("code", ["491", "4", "12", "21", "1234", "049"])
def test_a_code_that_overlaps_one_is_refused(code):
    tree = twin.honest({code: twin.honest_partition("49", 1000)})
    with pytest.raises(BadReply, match="not a calling code"):
        Manifest.from_bytes(twin.canonical(tree))


@pytest.mark.parametrize("code", ["999", "83", "210"])
def test_a_code_that_nobody_has_yet_is_unusable_and_its_figures_are_not_looked_at(code):
    tree = twin.honest({"49": twin.honest_partition("49", 1000)})
    tree["partitions"][code] = {"base": {"length": 10**15}, "count": 2**50, "screen": "of ones"}
    data = twin.canonical(tree)
    manifest = Manifest.from_bytes(data)
    assert (set(manifest.partitions), manifest.unknown[code].refusal) == ({"49"}, "unknown-family")
    assert not manifest.is_understood
    assert manifest.to_bytes() == data


def test_a_manifest_of_version_1_only_continues_a_history():
    old = twin.honest({"49": twin.honest_partition("49", 81_234)}, format="contactsync-manifest-1")
    old["partitions"]["49"]["base"]["length"] -= 8 * 1024  # whatever its lengths were
    data = twin.canonical(old)
    with pytest.raises(BadReply, match="earlier version") as raised:
        Manifest.from_bytes(data)
    assert raised.value.refusal == "unknown-version"
    assert "operator" in raised.value.hint
    kept = Manifest.from_bytes(data, earlier=True)
    assert (kept.is_current, kept.edition, kept.to_bytes()) == (False, 1, data)
    assert Manifest.from_bytes(with_figures(1000), earlier=True).is_current
    for change in ({"epoch": 0}, {"format": "contactsync-manifest-3"}, {"partitions": {"491": {}}}):
        with pytest.raises(BadReply):
            Manifest.from_bytes(twin.canonical(old | change), earlier=True)
    broken = json.loads(data)
    broken["partitions"]["49"]["slot_bits"] = 11
    with pytest.raises(BadReply):
        Manifest.from_bytes(with_figures(1000, slot_bits=11), earlier=True)
