"""The JavaScript client and patches: what it accepts in a manifest, plans, and finds by them."""

import hashlib
import json
from copy import deepcopy
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from javascript import ROOT, WEB, Person, found, needs_node, node
from simulated_service import CREDENTIAL, service

from contactsync.directory import DataFile, DirectoryInfo, build, open_directory, slot_bits_for, truncate
from contactsync.directory.bounds import has_screen
from contactsync.directory.delta import write_changes, write_delta
from contactsync.directory.format import Layout
from contactsync.directory.screen import build_screen
from contactsync.directory.sidecar_format import SidecarLayout
from contactsync.publication.manifest import FORMAT, DeltaFile, Partition
from contactsync.publication.named_files import file_to_json
from contactsync.publication.patches import Patches
from contactsync.tokens import Tokens
from contactsync.voprf.server import evaluate

__all__ = ["service"]
SCRIPT = ROOT / "tests" / "web" / "patches.mjs"
pytestmark = [
    needs_node,
    pytest.mark.skipif(
        not (WEB / "node_modules").is_dir(), reason="needs `npm ci --ignore-scripts` in contactsync/web"
    ),
]


def name_of(number):
    """The name of a state: of no file."""
    return hashlib.sha256(b"state %d" % number).hexdigest()


def tokens_of(rows):
    return Tokens.from_bytes(np.frombuffer(b"".join(rows), np.uint8).reshape(-1, 10))


def put(folder, path, file):
    path.rename(folder / file.sha256)
    return file


def write_patch(folder, info, states, changes, editions):
    """A patch between two states, (name, count) each, of a base; `changes`: who left, and who joined."""
    here, there = (replace(info, count=count, file=replace(info.file, sha256=name)) for name, count in states)
    values = [truncate(tokens_of(sorted(rows)), info.slot_bits, info.remainder_bits) for rows in changes]
    first, last = editions
    path = folder / "patch"
    file = write_changes(path, (here, there), tuple(values), from_edition=first, to_edition=last)
    return put(folder, path, file)


@dataclass
class World:
    """A partition of random tokens: bases of editions 1 and 2, and the patches after them."""

    folder: Path
    count: int
    remainder_bits: int = 32
    changes: int = 40
    patches: list[dict] = field(default_factory=list)

    def __post_init__(self):
        self.random = np.random.default_rng(self.count)
        self.folder.mkdir()
        rows = [row.tobytes() for row in self.random.integers(0, 256, (self.count + 1000, 10), np.uint8)]
        self.first, self.pool = set(rows[: self.count]), rows[self.count :]
        self.everybody = rows
        self.base = set(self.first)
        self.change(self.base)
        self.old, self.new = (self.built(members) for members in (self.first, self.base))
        data = self.folder
        with (
            open_directory(data / self.old.file.sha256, expect=self.old) as old,
            open_directory(data / self.new.file.sha256, expect=self.new) as new,
        ):
            delta = write_delta(data / "delta", old, new, from_edition=1, to_edition=2)
            self.delta = put(data, data / "delta", delta)
            self.old_screen, self.screen = (self.screen_of(one) for one in (old, new))
        self.state, self.now, self.edition = self.new.file.sha256, set(self.base), 2

    def screen_of(self, directory):
        path = self.folder / "screen"
        return put(self.folder, path, build_screen(path, directory)) if has_screen(self.count) else None

    def built(self, members):
        path = self.folder / "base"
        info = build(path, [tokens_of(sorted(members))], remainder_bits=self.remainder_bits)
        put(self.folder, path, info.file)
        return info

    def change(self, members):
        """Let some leave and some join, of the pool mostly, so that some do both."""
        inside = sorted(members)
        few = [one for one in self.pool if one in members][: self.changes // 4]
        left = {*few, *(inside[i] for i in self.random.integers(0, len(inside), self.changes))}
        outside = [one for one in self.everybody if one not in members]
        joined = {outside[i] for i in self.random.integers(0, len(outside), self.changes)}
        members -= left
        members |= joined
        return left, joined

    def patch(self, to, *, left=None, joined=None, **wrong):
        """One patch more. `wrong`: other figures of the state before it, or of its file's editions."""
        before = len(self.now)
        if left is None and joined is None:
            left, joined = self.change(self.now)
        else:
            self.now = (self.now - set(left)) | set(joined)
        count = wrong.get("count", before) - len(left) + len(joined)
        states = ((wrong.get("state", self.state), wrong.get("count", before)), (name_of(to), count))
        editions = wrong.get("editions", (self.edition, to))
        file = write_patch(self.folder, wrong.get("info", self.new), states, (left, joined), editions)
        self.patches.append({"from": self.edition, "to": to, "file": file_to_json(file)})
        self.state, self.edition = name_of(to), to
        return file.sha256

    def partition(self):
        deltas = (DeltaFile(1, 2, self.delta),)
        value = Partition.of("49", 2, self.new, deltas=deltas, screen=self.screen).to_json()
        if self.patches:
            value["critical"] = ["patches"]
            value["patches"] = {
                "count": len(self.now), "edition": self.edition, "files": deepcopy(self.patches),
                "state": self.state,
            }  # fmt: skip
        return value

    def manifest(self, change=lambda _: None, *, edition=9):
        """The text of a manifest, after a change of its value."""
        value = {
            "audience": "people", "edition": edition, "epoch": 1, "format": FORMAT, "normalisation": 1,
            "partitions": {"49": self.partition()}, "previous": "0" * 64, "public_key": "0" * 64,
            "suite": "ristretto255-SHA512",
        }  # fmt: skip
        change(value)
        return json.dumps(value, sort_keys=True, separators=(",", ":"))

    def holding(self, info, edition, screen=None, **more):
        """What is stored of an edition."""
        base = {
            "count": info.count, "slot_bits": info.slot_bits, "remainder_bits": info.remainder_bits,
            "top_sha256": info.top_sha256, "length": info.file.length, "sha256": info.file.sha256,
        }  # fmt: skip
        screens = {"screen": {"length": screen.length, "sha256": screen.sha256}} if screen else {}
        return {"edition": edition, "base": base, "deltas": [], **screens, **more}

    def held(self, patches):
        """The base of now with the first patches."""
        state = self.state_after(patches)
        return self.holding(self.new, 2, patches=self.patches[:patches], state=state)

    def state_after(self, patches):
        return name_of(self.patches[patches - 1]["to"]) if patches else None

    def subjects(self, how_many=120):
        """Contacts of whom nothing is known, or what an earlier base or this one said."""
        chosen = self.random.choice(len(self.everybody), how_many, replace=False)
        subjects = []
        for row in {*(self.everybody[i] for i in chosen), *self.pool[:200]}:
            edition = int(self.random.choice([-1, 1, 2]))
            member = row in {1: self.first, 2: self.base, -1: ()}[edition]
            subjects.append({"token": row.hex(), "member": member, "edition": edition})
        return subjects

    def ask(self, *cases):
        given = {"folder": str(self.folder), "cases": cases}
        return json.loads(node(SCRIPT, given=json.dumps(given)).stdout)

    def truth(self, subjects, members):
        return [bytes.fromhex(one["token"]) in members for one in subjects]


@pytest.fixture
def world(tmp_path):
    return World(tmp_path / "data", 20_000)


@pytest.fixture
def patched(world):
    for to in (3, 5, 6):
        world.patch(to)
    return world


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """With a screen. Its tests add no patches."""
    world = World(tmp_path_factory.mktemp("large") / "data", 150_000)
    for to in (3, 5, 6):
        world.patch(to)
    return world


# ---- the manifest -----------------------------------------------------------------------------------------


def test_a_manifest_with_patches(patched):
    """Their files are files of the manifest, and its members are those of now."""
    (result,) = patched.ask({"manifest": patched.manifest()})
    assert result["count"] == len(patched.now) != len(patched.base)
    assert result["files"][2:] == [one["file"]["sha256"] for one in patched.patches]


def file_of(number, length):
    return {"sha256": name_of(number), "length": length, "xxh3_64": "0" * 16}


def chain(count, length=168):
    return [{"from": 2 + i, "to": 3 + i, "file": file_of(i, length)} for i in range(count)]


def test_what_a_manifest_may_have_at_most_and_at_least(world):
    world.patch(9)
    changes = [on_patches(edition=2 + many, files=chain(many)) for many in (1, 64)]
    results = world.ask(*({"manifest": world.manifest(change, edition=66)} for change in changes))
    assert all("count" in one for one in results)


def on_partition(**changes):
    return lambda value: value["partitions"]["49"].update(changes)


def on_patches(**changes):
    return lambda value: value["partitions"]["49"]["patches"].update(changes)


def without(name):
    return lambda value: value["partitions"]["49"].pop(name)


def on_file(number, **changes):
    return lambda value: value["partitions"]["49"]["patches"]["files"][number]["file"].update(changes)


def long_files(length_of):
    def change(value):
        for one, length in zip(
            value["partitions"]["49"]["patches"]["files"],
            length_of(value["partitions"]["49"]["base"]["length"]), strict=True,
        ):  # fmt: skip
            one["file"]["length"] = length

    return change


def labelled(value):
    partition = value["partitions"]["49"]
    file = file_of(1, SidecarLayout(partition["count"], 16, partition["slot_bits"]).length)
    partition["labels"] = {"edition": 2, "size": 16, "top_sha256": "0" * 64, "file": file, "deltas": []}


def announced(value):
    partition = value["partitions"]["49"]
    value["next"] = {
        "edition": 9, "epoch": 2, "public_key": "0" * 64, "until": 2_000_000_000,
        "partitions": [{**deepcopy(partition), "name": "49"}],
    }  # fmt: skip


REFUSED = {
    "not critical": (without("critical"), "malformed"),
    "critical with labels": (
        lambda value: (labelled(value), on_partition(critical=["labels", "patches"])(value)), "malformed",
    ),
    "only labels critical": (
        lambda value: (labelled(value), on_partition(critical=["labels"])(value)), "malformed",
    ),
    "labels": (labelled, "malformed"),
    "critical, and not there": (without("patches"), "bad-value"),
    "no object": (on_partition(patches=[]), "wrong-members"),
    "a member more": (on_patches(more=1), "wrong-members"),
    "a member less": (lambda value: value["partitions"]["49"]["patches"].pop("state"), "wrong-members"),
    "another state": (on_patches(state="A" * 64), "bad-value"),
    "a short state": (on_patches(state="0" * 63), "bad-value"),
    "the edition of the base": (on_patches(edition=2), "bad-value"),
    "a later edition": (on_patches(edition=10), "bad-value"),
    "no members": (on_patches(count=0), "bad-value"),
    "a count as text": (on_patches(count="1"), "bad-value"),
    "too high a count": (on_patches(count=2**53 + 1), "bad-value"),
    "files of another kind": (on_patches(files={}), "bad-value"),
    "no files": (on_patches(files=[]), "bad-value"),
    "65 files": (on_patches(files=chain(65)), "bad-value"),
    "another member of a file": (
        lambda value: value["partitions"]["49"]["patches"]["files"][0].update(more=1), "wrong-members",
    ),
    "another first": (
        lambda value: value["partitions"]["49"]["patches"]["files"][0].update({"from": 1}), "malformed",
    ),
    "a gap": (lambda value: value["partitions"]["49"]["patches"]["files"].pop(1), "malformed"),
    "the last is missing": (lambda value: value["partitions"]["49"]["patches"]["files"].pop(), "malformed"),
    "a length that is odd": (on_file(0, length=172), "out-of-range"),
    "too short": (on_file(0, length=160), "out-of-range"),
    "as long as the base": (long_files(lambda base: [base, 168, 168]), "out-of-range"),
    "together as long as the base": (
        long_files(lambda base: [base - 336 - base % 8, 168, 168]), "out-of-range",
    ),
    "other slot bits": (on_patches(count=30_000), "out-of-range"),
    "rows": (lambda value: value.update(rows={}), "malformed"),
    "labelled rows": (lambda value: value.update(labelled_rows={}), "malformed"),
    "folded rows": (lambda value: value.update(folded_rows={}), "malformed"),
    "announced": (lambda value: (announced(value), without_both(value)), "malformed"),
    "two lengths of a file": (
        lambda value: value["partitions"]["49"]["patches"]["files"][1].update(
            file={**value["partitions"]["49"]["patches"]["files"][0]["file"], "length": 176}
        ),
        "malformed",
    ),
}  # fmt: skip


def without_both(value):
    """The partition of now, unlike that of `next`, has none."""
    for name in ("critical", "patches"):
        value["partitions"]["49"].pop(name)


def test_manifests_that_are_refused(patched):
    texts = [patched.manifest(change) for change, _ in REFUSED.values()]
    words = [one.get("refusal") for one in patched.ask(*({"manifest": text} for text in texts))]
    expected = {name: word for name, (_, word) in REFUSED.items()}
    assert dict(zip(REFUSED, words, strict=True)) == expected


def stated(name, count, patched_count):
    """A partition with these counts, whose files are nowhere."""
    bits = slot_bits_for(count)
    length = Layout(count, bits, 32, 0).lengths[0]
    info = DirectoryInfo(count, bits, 32, "0" * 64, DataFile(name_of(count), length, "0" * 16))
    patches = {"count": patched_count, "edition": 3, "files": chain(1), "state": "0" * 64}
    return Partition.of(name, 2, info).to_json() | {"critical": ["patches"], "patches": patches}


def test_more_members_than_are_possible(world):
    """In +290, whose numbers have four or five digits, and in all partitions together."""
    few, most = 110_000, 5_720_000_000
    cases = {
        "all numbers": {"290": stated("290", few - 1, few)},
        "one more": {"290": stated("290", few, few + 1)},
        "as many as may be": {name: stated(name, most, most + 1) for name in ("1", "49", "mail")},
        "too many": {name: stated(name, most, most + 10**7) for name in ("1", "49", "mail")},
        "fewer than before": {name: stated(name, most + 10**7, most) for name in ("1", "49", "mail")},
    }
    texts = [world.manifest(lambda value, one=one: value.update(partitions=one)) for one in cases.values()]
    results = world.ask(*({"manifest": text} for text in texts))
    words = [one.get("refusal") for one in results]
    assert dict(zip(cases, words, strict=True)) == dict.fromkeys(cases) | {
        "one more": "too-full", "too many": "too-full",
    }  # fmt: skip
    assert results[2]["count"] == 3 * (most + 1)


def test_a_sum_of_lengths_below_the_base(patched):
    text = patched.manifest(long_files(lambda base: [base - 344 - base % 8, 168, 168]))
    assert "count" in patched.ask({"manifest": text})[0]


# ---- plans ------------------------------------------------------------------------------------------------


def test_only_patches_that_are_not_stored_are_fetched(patched):
    names = [one["file"]["sha256"] for one in patched.patches]
    base, delta = patched.new.file.sha256, patched.delta.sha256
    stored = [
        {},
        {"held": patched.holding(patched.new, 2)},  # of an earlier version
        {"held": patched.held(0)},
        {"held": patched.held(2)},
        {"held": patched.held(3)},
        {"held": patched.holding(patched.old, 1)},
    ]
    text = patched.manifest()
    plans = patched.ask(*({"manifest": text, "name": "49", "stored": one} for one in stored))
    assert [one["fetch"] for one in plans] == [
        [base, *names], names, names, names[2:], [], [delta, *names],
    ]  # fmt: skip
    assert [one["unchecked"] for one in plans] == [True] * 4 + [False, True]
    for plan in plans:
        assert plan["holding"]["patches"] == patched.patches
        assert plan["kept"][-3:] == names


def test_patches_that_go_are_no_longer_kept(patched):
    """And what is left is checked anew: it leads elsewhere."""
    held = patched.held(3)
    patched.patches.clear()
    (plan,) = patched.ask({"manifest": patched.manifest(), "name": "49", "stored": {"held": held}})
    assert (plan["fetch"], plan["unchecked"], plan["holding"]["patches"]) == ([], True, [])
    assert plan["kept"] == [patched.new.file.sha256]


def test_patches_change_nothing_of_what_is_chosen(large):
    """Whether a screen costs less, and what a list takes."""
    texts = [large.manifest(), large.manifest(without_both)]
    stored = [
        {"buckets": 8, "wanted": True},
        {"buckets": 8, "wanted": False},
        {"buckets": 64, "wanted": True},  # more than there are
        {"buckets": 8, "screen": large.holding(large.new, 2, large.screen)},
        {"buckets": 8, "held": large.holding(large.old, 1)},
    ]
    plans = large.ask(*({"manifest": t, "name": "49", "stored": s} for s in stored for t in texts))
    sizes = sum(one["file"]["length"] for one in large.patches)
    for more, bare in zip(plans[::2], plans[1::2], strict=True):
        assert (more["kind"], more["later"]) == (bare["kind"], bare["later"])
        assert more["fetch"][: len(bare["fetch"])] == bare["fetch"]
        assert more["cost"] == bare["cost"] + sizes
    assert {one["kind"] for one in plans} == {"base", "screen"}


def test_patches_that_one_kind_of_file_has_are_not_fetched_again_for_the_other(large):
    names = [one["file"]["sha256"] for one in large.patches]
    stored = [
        {"held": large.held(2), "buckets": 8},  # a base that is there costs nothing more
        {"screen": large.holding(large.new, 2, large.screen, patches=large.patches[:1]), "buckets": 8},
        {"screen": large.holding(large.new, 2, large.screen, patches=large.patches)},
    ]
    text = large.manifest()
    plans = large.ask(*({"manifest": text, "name": "49", "stored": one} for one in stored))
    assert [(one["kind"], one["fetch"]) for one in plans] == [
        ("base", names[2:]), ("screen", names[1:]), ("base", [large.new.file.sha256]),
    ]  # fmt: skip
    assert all(one["unchecked"] for one in plans)


# ---- who is a member --------------------------------------------------------------------------------------


@pytest.mark.parametrize("remainder_bits", [32, 40])
def test_who_is_a_member_by_base_and_patches(tmp_path, remainder_bits):
    world = World(tmp_path / "data", 9_000, remainder_bits)
    stored = [{}, {"held": world.holding(world.old, 1)}, {"held": world.held(0)}]
    for to in (3, 4, 6, 7):
        world.patch(to)
        stored.append({"held": world.held(len(world.patches))})
    assert len(world.pool) > len(world.now.intersection(world.pool)) > 0
    asked = [(one, world.subjects()) for one in stored]
    text = world.manifest()
    results = world.ask(
        *({"manifest": text, "name": "49", "stored": one, "subjects": who} for one, who in asked)
    )
    for (_, subjects), result in zip(asked, results, strict=True):
        assert result["by_base"] == world.truth(subjects, world.base)
        assert result["members"] == world.truth(subjects, world.now)
        assert result["by_base"] != result["members"]


def test_who_is_a_member_by_screen_buckets_and_patches(large):
    stored = [
        {"buckets": 8},
        {"buckets": 8, "screen": large.holding(large.old, 1, large.old_screen)},
        {"buckets": 8, "screen": large.holding(large.new, 2, large.screen, patches=large.patches[:1])},
    ]
    few, many = large.subjects(3)[:12], large.subjects(400)
    asked = [(one, who) for one in stored for who in (few, many)]
    text = large.manifest()
    results = large.ask(
        *({"manifest": text, "name": "49", "stored": one, "subjects": who} for one, who in asked)
    )
    for (_, subjects), result in zip(asked, results, strict=True):
        assert result["kind"] == "screen"
        assert result["by_base"] == large.truth(subjects, large.base)
        assert result["members"] == large.truth(subjects, large.now)
    assert {one["crowded"] for one in results} == {True, False}
    for one in results:
        assert one["fetched"] == ([large.new.file.sha256] if one["crowded"] else [])
        assert one["kept"][-3:] == [patch["file"]["sha256"] for patch in large.patches]


# ---- attacks ----------------------------------------------------------------------------------------------


def refusal_of(world, change=lambda _: None, **stored):
    """With nobody in the book."""
    case = {"manifest": world.manifest(change), "name": "49", "stored": stored, "subjects": []}
    return world.ask(case)[0].get("refusal")


@pytest.mark.parametrize(
    "wrong",
    [{"state": name_of(77)}, {"count": 20_001}, {"editions": (2, 5)}, {"editions": (3, 4)}],
    ids=["another state", "another count", "another end", "another start"],
)
@pytest.mark.parametrize("earlier", [0, 1])
def test_a_patch_that_does_not_follow(world, wrong, earlier):
    for to in (3, 4)[:earlier]:
        world.patch(to)
    world.patch(8, **wrong)
    assert refusal_of(world) == "not-following"
    assert refusal_of(world, held=world.held(earlier)) == "not-following"


def test_a_patch_that_begins_with_another_count(world):
    """Though it ends with the one that the manifest says."""
    world.patch(3)
    world.patch(4, count=len(world.now) + 1)
    assert refusal_of(world, on_patches(count=len(world.now) + 1)) == "not-following"


def test_a_patch_of_other_widths(world):
    world.patch(3, info=replace(world.new, remainder_bits=40))
    assert refusal_of(world) == "not-following"


def test_patches_that_lead_elsewhere_than_the_manifest_says(patched):
    for change in (on_patches(state=name_of(77)), on_patches(count=len(patched.now) + 1)):
        assert refusal_of(patched, change) == "not-following"
    assert refusal_of(patched) is None
    assert refusal_of(patched, on_patches(state=name_of(77)), held=patched.held(3)) == "not-following"


def test_a_patch_that_contradicts(world):
    world.patch(3)
    inside, outside = sorted(world.now), [one for one in world.pool if one not in world.now]
    for left, joined in (([], inside[:1]), (outside[:1], []), (inside[:5], [*outside[1:9], inside[9]])):
        now, patches, state, edition = set(world.now), list(world.patches), world.state, world.edition
        world.patch(4, left=left, joined=joined)
        count = len(now) - len(left) + len(joined)
        for held in ({}, {"held": world.held(1)}):
            assert refusal_of(world, on_patches(count=count), **held) == "contradicting"
        world.now, world.patches, world.state, world.edition = now, patches, state, edition


def test_with_a_screen_patches_must_not_contradict_each_other(large):
    """What the base has nobody knows."""
    now, patches, state, edition = set(large.now), list(large.patches), large.state, large.edition
    came = sorted(now.intersection(large.pool) - large.base)
    try:
        large.patch(8, left=[], joined=came[:1])
        changed = on_patches(count=len(now) + 1)
        screened = {"buckets": 8, "screen": large.holding(large.new, 2, large.screen, patches=patches)}
        for stored in ({"buckets": 8}, screened):
            assert refusal_of(large, changed, **stored) == "contradicting"
    finally:
        large.now, large.patches, large.state, large.edition = now, patches, state, edition


def test_one_octet_of_a_patch_that_was_changed(patched):
    path = patched.folder / patched.patches[1]["file"]["sha256"]
    octets = bytearray(path.read_bytes())
    for place in (20, 150, len(octets) - 1):
        octets[place] ^= 1
        path.write_bytes(octets)
        assert refusal_of(patched) == "bad-hash"
        octets[place] ^= 1


# ---- whole syncs ------------------------------------------------------------------------------------------

ANNA, BEN, NEW, STRANGER = "+4915100000001", "+4915100000002", "+4915100000077", "+4915900000009"
ABROAD = "+447911123456"


@pytest.fixture
def published(service):
    service.crowd = {"49": 5_000}
    service.publish(ANNA, BEN, ABROAD)
    return service


@pytest.fixture
def crowded(service):
    service.crowd = {"49": 150_000}
    service.publish(ANNA, BEN, ABROAD)
    return service


@pytest.fixture
def person(tmp_path, service):
    return Person(tmp_path / "person", service.url, service.repository.root_bytes(), CREDENTIAL)


def tokens_under(key, numbers):
    if not numbers:
        return []
    return [row[:10].tobytes() for row in evaluate(key, [b"tel:" + one.encode() for one in numbers])]


def publish_patch(service, *, left=(), joined=()):
    """An edition in which these numbers leave +49 and join it, by a patch. Returns the name of that."""
    last = service.manifest
    partition, edition = last.partitions["49"], last.edition + 1
    changes = [tokens_under(service.key, some) for some in (left, joined)]
    count, name = partition.members - len(left) + len(joined), name_of(edition)
    states = (partition.state, partition.members), (name, count)
    editions = partition.reached, edition
    file = write_patch(service.folder / "data", partition.directory, states, changes, editions)
    before = partition.patches.files if partition.patches is not None else ()
    patches = Patches(edition, count, name, (*before, DeltaFile(*editions, file)))
    partition = replace(partition, patches=patches)
    partitions = {**last.partitions, "49": partition}
    service.manifest = replace(last, edition=edition, partitions=partitions, previous=last.sha256())
    service.repository.publish([service.manifest], service.signers, datetime.now(UTC))
    return file.sha256


def fetched(service):
    """The data files that were asked for since the last call."""
    names = [one.path.rpartition("/")[2] for one in service.requests if "/v1/data/" in one.path]
    service.requests.clear()
    return names


def rows_of(person):
    """Of each identifier that was looked up, whether it is a member by the base, and of which edition."""
    kept = json.loads(person.kept()["audience-people.json"])["epochs"]["1"]["tokens"]
    return {one.removeprefix("tel:"): tuple(row[1:3]) for one, row in kept.items()}


def named(people):
    return [one["name"] for one in people]


@pytest.mark.slow
def test_editions_come_by_patches_until_there_is_another_base(published, person):
    book = (ANNA, BEN, NEW, STRANGER)
    assert found(person.sync(*book)) == [ANNA, BEN]
    fetched(published)
    first = publish_patch(published, left=[BEN], joined=[NEW])
    result = person.sync(*book)
    assert (found(result), named(result["joined"]), named(result["left"])) == ([ANNA, NEW], [NEW], [BEN])
    assert (fetched(published), result["edition"], result["members"]) == ([first], 2, 5_003)
    assert rows_of(person) == {ANNA: (True, 1), BEN: (True, 1), NEW: (False, 1), STRANGER: (False, 1)}
    for _ in range(2):
        result = person.sync(*book)
        assert (found(result), result["joined"], result["left"]) == ([ANNA, NEW], [], [])
        assert fetched(published) == []
    more = [publish_patch(published, joined=[BEN, STRANGER]), publish_patch(published, left=[STRANGER, ANNA])]
    result = person.sync(*book)
    assert (found(result), named(result["joined"]), named(result["left"])) == ([BEN, NEW], [BEN], [ANNA])
    assert (sorted(fetched(published)), result["members"]) == (sorted(more), 5_003)
    assert {f"data-{one}" for one in (first, *more)} < set(person.kept())
    published.publish(BEN, NEW, ABROAD)
    result = person.sync(*book)
    assert (found(result), result["joined"], result["left"]) == ([BEN, NEW], [], [])
    (delta,) = published.manifest.partitions["49"].deltas
    assert (fetched(published), result["edition"]) == ([delta.file.sha256], 5)
    assert rows_of(person) == {ANNA: (False, 5), BEN: (True, 5), NEW: (True, 5), STRANGER: (False, 5)}
    assert not {f"data-{one}" for one in (first, *more)} & set(person.kept())


@pytest.mark.slow
def test_who_syncs_for_the_first_time_and_who_adds_contacts_finds_the_same(published, person):
    names = [publish_patch(published, left=[BEN], joined=[NEW]), publish_patch(published, joined=[STRANGER])]
    assert found(person.sync(ANNA, BEN)) == [ANNA]
    assert set(names) < set(fetched(published))
    result = person.sync(ANNA, BEN, NEW, STRANGER)
    assert (found(result), result["joined"], fetched(published)) == ([ANNA, NEW, STRANGER], [], [])


@pytest.mark.slow
@pytest.mark.parametrize("book", [(ABROAD,), (ANNA,)])
def test_a_bad_patch_is_refused_whoever_is_in_the_book_and_before_a_point_is_sent(published, person, book):
    person.sync(*book)
    published.requests.clear()
    publish_patch(published, joined=[ANNA])
    error = person.sync(*book, code=5)
    assert (error["kind"], error["refusal"]) == ("bad-directory", "contradicting")
    assert published.asked("/evaluate/") == []


@pytest.mark.slow
def test_a_stored_patch_that_was_damaged_is_fetched_again(published, person):
    name = publish_patch(published, left=[BEN], joined=[NEW])
    person.sync(ANNA, BEN, NEW)
    fetched(published)
    (folder,) = person.state.iterdir()
    path = folder / f"data-{name}"
    octets = bytearray(path.read_bytes())
    octets[150] ^= 1
    path.chmod(0o600)
    path.write_bytes(octets)
    assert (found(person.sync(ANNA, BEN, NEW)), fetched(published)) == ([ANNA, NEW], [name])


@pytest.mark.slow
def test_in_screen_mode_patches_ask_for_no_list(crowded, person):
    book, screen = (ANNA, BEN, NEW, STRANGER), ("--privacy", "screen", "--buckets", "8")
    assert found(person.sync(*book, more=screen)) == [ANNA, BEN]
    fetched(crowded)
    names = [publish_patch(crowded, left=[BEN], joined=[NEW])]
    result = person.sync(*book, more=screen)
    assert (found(result), named(result["joined"]), named(result["left"])) == ([ANNA, NEW], [NEW], [BEN])
    assert (fetched(crowded), result["leak_odds"]) == (names, {"49": 4.0})
    names.append(publish_patch(crowded, left=[ANNA]))
    other = "+4915900000010"
    result = person.sync(*book, other, more=screen)
    assert found(result) == [NEW]
    asked = fetched(crowded)
    base = crowded.manifest.partitions["49"].base.sha256
    assert (asked[0], set(asked[1:]), result["leak_odds"]) == (names[1], {base}, {"49": 16.0})
    assert rows_of(person)[other] == (False, 1)
    result = person.sync(*book, other)  # in download mode: the base, and no patch anew
    assert (found(result), fetched(crowded)) == ([NEW], [base])
    result = person.sync(*book, other, more=screen)
    assert (found(result), fetched(crowded)) == ([NEW], [])


@pytest.mark.slow
def test_after_a_gap_in_the_history_a_base_is_known_by_its_hash(published, person):
    """Editions of another history may have the numbers of these, a base of that SHA-256 is that base."""
    book = (ANNA, BEN, NEW, STRANGER)
    person.sync(*book)
    for turn in range(36):
        publish_patch(published, **({"left": [BEN]} if turn % 2 == 0 else {"joined": [BEN]}))
    fetched(published)
    result = person.sync(*book)
    assert result["unchecked_history"] is not None
    assert found(result) == [ANNA, BEN]
    partition = published.manifest.partitions["49"]
    names = fetched(published)
    assert partition.base.sha256 not in names
    assert len(names) == 36


@pytest.mark.slow
def test_after_a_gap_another_base_of_that_edition_is_fetched(published, person):
    book = (ANNA, BEN, NEW, STRANGER)
    person.sync(*book)
    partition = published.manifest.partitions["49"]
    publish_patch(published, left=[BEN])
    # The same edition, and another base: as after a restore of an older backup that went on in another way.
    other = np.frombuffer(b"".join(tokens_under(published.key, [ANNA, NEW])), np.uint8).reshape(-1, 10)
    info = build(published.folder / "data" / "new", [Tokens.from_bytes(other)])
    (published.folder / "data" / "new").rename(published.folder / "data" / info.file.sha256)
    for _ in range(36):
        last = published.manifest
        published.manifest = replace(
            last,
            edition=last.edition + 1,
            previous=last.sha256(),
            partitions={"49": Partition.of("49", partition.edition, info)},
        )
        published.repository.publish([published.manifest], published.signers, datetime.now(UTC))
    assert found(person.sync(*book)) == [ANNA, NEW]


@pytest.mark.slow
@pytest.mark.parametrize("book", [(ANNA, BEN), (ABROAD,)], ids=["a book", "a book of strangers"])
def test_another_base_of_the_held_edition_is_found_whoever_is_in_the_book(published, person, book):
    """Nothing is fetched then: who has a new contact there must not be the only one to find out."""
    person.sync(*book)
    partition = published.manifest.partitions["49"]
    other = np.frombuffer(b"".join(tokens_under(published.key, [ANNA, NEW])), np.uint8).reshape(-1, 10)
    info = build(published.folder / "data" / "new", [Tokens.from_bytes(other)])
    (published.folder / "data" / "new").rename(published.folder / "data" / info.file.sha256)
    last = published.manifest
    published.manifest = replace(
        last,
        edition=last.edition + 1,
        previous=last.sha256(),
        partitions=last.partitions | {"49": Partition.of("49", partition.edition, info)},
    )
    published.repository.publish([published.manifest], published.signers, datetime.now(UTC))
    published.requests.clear()
    error = person.sync(*book, code=5)
    assert error["refusal"] == "not-following"
    assert published.asked("/evaluate/") == []
