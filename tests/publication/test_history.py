"""The walk from the newest manifest to the one seen last, and every other history that it must not end in."""

import hashlib
import itertools
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contactsync.foundation.errors import BadReply, BadSignature
from contactsync.publication import canonical
from contactsync.publication.history import MANIFESTS_KEPT, Gap, Link, Position, walk
from contactsync.publication.manifest import MAX_BYTES
from contactsync.server.settings import EDITIONS_SERVED


def octets(epoch, edition, previous, *, key=None, audience="people", **more):
    """A manifest of a later version, with what this program knows nothing of."""
    value = {
        "format": "contactsync-manifest-7",
        "audience": audience,
        "epoch": epoch,
        "edition": edition,
        "public_key": f"{epoch if key is None else key:064x}",
        "previous": previous,
        "tomorrow": [{"a": None, "b": True}],
    }
    return canonical.encode(value | more)


@dataclass
class Kept:
    """The manifests that a server keeps; `asked` are those that a client asked for."""

    by_hash: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def add(self, epoch, edition, previous, **more):
        data = octets(epoch, edition, None if previous is None else previous.sha256, **more)
        link = Link.from_bytes(data)
        self.by_hash[link.sha256] = data
        return link

    def chain(self, *lengths, after=None, first=1, **more):
        """Epochs of so many editions; the first of them may begin in the middle."""
        links = [] if after is None else [after]
        begin = 1 if after is None else after.position.epoch
        for epoch, length in enumerate(lengths, begin):
            editions = range(first if epoch == begin else 1, length + 1)
            for edition in editions:
                links.append(self.add(epoch, edition, links[-1] if links else None, **more))
        return links if after is None else links[1:]

    def walk(self, newest, seen):
        self.asked.clear()
        steps = walk(newest, seen)
        try:
            wanted = next(steps)
            while True:
                self.asked.append(wanted)
                wanted = steps.send(self.by_hash[wanted])
        except StopIteration as end:
            return end.value


@pytest.fixture
def kept():
    return Kept()


@pytest.mark.slow
def test_every_manifest_is_reached_from_every_later_one_that_is_near_enough(kept):
    links = kept.chain(3, 1, 2, 40, 1, 1, 5)
    gaps = 0
    for old, new in itertools.combinations_with_replacement(range(len(links)), 2):
        seen, newest, steps = links[old], links[new], new - old
        gap = kept.walk(newest, seen)
        if steps <= MANIFESTS_KEPT:
            assert gap is None
            assert kept.asked == [link.sha256 for link in links[old + 1 : new]][::-1]
        else:
            gaps += 1
            assert gap == Gap(seen.position, newest.position)
            within = seen.position.epoch == newest.position.epoch
            assert len(kept.asked) <= (0 if within else MANIFESTS_KEPT - 1)
    assert gaps > 100


def test_first_contact_asks_for_nothing(kept):
    assert kept.walk(kept.chain(5)[-1], None) is None
    assert kept.asked == []


def test_the_last_manifest_that_servers_keep_is_the_last_that_is_needed(kept):
    links = kept.chain(MANIFESTS_KEPT + 1)
    for lost in links[:-MANIFESTS_KEPT]:
        del kept.by_hash[lost.sha256]
    assert kept.walk(links[-1], links[0]) is None
    # The same across an epoch, where it shows only on the way that too much lies between.
    kept = Kept()
    links = kept.chain(3, MANIFESTS_KEPT - 1)
    for lost in links[:-MANIFESTS_KEPT]:
        del kept.by_hash[lost.sha256]
    assert kept.walk(links[-1], links[1]) is None
    assert kept.walk(links[-1], links[0]) == Gap(Position(1, 1), links[-1].position)


@pytest.mark.parametrize(("fork", "rejoin"), [(2, 4), (2, 34), (33, 35), (5, 6)])
def test_a_fork_that_rejoins(kept, fork, rejoin):
    """The attack: one client is shown an edition of its own, then the history of everybody else."""
    links = kept.chain(rejoin)
    shown = kept.add(1, fork, links[fork - 2], own="this client's")
    assert kept.walk(shown, links[fork - 2]) is None
    with pytest.raises(BadSignature, match=f"another history: epoch 1 edition {fork + 1} does not continue"):
        kept.walk(links[-1], shown)


def test_a_new_epoch_with_an_invented_past(kept):
    """The attack: a new epoch that comes after a manifest that nobody has seen."""
    links = kept.chain(4)
    invented = kept.chain(3, after=links[0], first=2, own="invented")
    twin = kept.add(1, 4, links[2], own="invented")
    for before in (links[2], invented[0], invented[-1], twin):  # that it went back, or another 2, 3 and 4
        with pytest.raises(BadSignature, match="is not the one seen before"):
            kept.walk(kept.add(2, 1, before), links[3])
        assert kept.asked == [before.sha256], "nothing further back can lead to what was seen"
    with pytest.raises(BadSignature, match="does not continue"):
        kept.walk(kept.add(2, 1, kept.chain(5, after=invented[-1], first=4)[-1]), links[3])
    honest = kept.add(2, 1, links[3])
    other = kept.add(2, 1, invented[-1])
    with pytest.raises(BadSignature, match="published twice"):
        kept.walk(other, honest)
    with pytest.raises(BadSignature, match="does not continue"):
        kept.walk(kept.add(2, 2, other), honest)
    with pytest.raises(BadSignature, match="another history"):
        kept.walk(kept.add(3, 1, other), honest)


def test_what_lies_between_must_have_its_hash(kept):
    links = kept.chain(6)
    for link, data in [(links[3], kept.by_hash[links[2].sha256]), (links[4], b""), (links[4], b"x" * 999)]:
        good, kept.by_hash[link.sha256] = kept.by_hash[link.sha256], data
        with pytest.raises(BadSignature, match="different manifest"):
            kept.walk(links[-1], links[0])
        kept.by_hash[link.sha256] = good
    assert kept.walk(links[-1], links[0]) is None


def test_what_lies_between_must_be_a_manifest(kept):
    first = kept.chain(1)[0]
    for data in (b"", b"{}", b"[" * 100_000, octets(1, 2, first.sha256) + b" "):
        name = hashlib.sha256(data).hexdigest()
        kept.by_hash[name] = data
        newest = Link.from_bytes(octets(1, 3, name))
        with pytest.raises(BadReply, match="cannot be read"):
            kept.walk(newest, first)


# A link between the one seen last, epoch 2 edition 2, and the newest, epoch 2 edition 4; in its place there
# should be epoch 2 edition 3.
@pytest.mark.parametrize(
    ("link", "match"),
    [
        ({"epoch": 2, "edition": 2}, "before epoch 2 edition 4 comes epoch 2 edition 2"),
        ({"epoch": 2, "edition": 4}, "before epoch 2 edition 4 comes epoch 2 edition 4"),
        ({"epoch": 2, "edition": 5}, "comes epoch 2 edition 5"),
        ({"epoch": 3, "edition": 3}, "comes epoch 3 edition 3"),
        ({"epoch": 1, "edition": 3}, "comes epoch 1 edition 3"),
        ({"key": 7}, "key of epoch 2 changed"),
        ({"audience": "business"}, "another audience"),
        ({"previous": None}, "has no previous manifest"),
        ({"previous": "ab" * 32}, "does not continue epoch 2 edition 2"),
    ],
)
def test_every_step_must_fit(kept, link, match):
    seen = kept.chain(2, 2)[-1]
    data = octets(**({"epoch": 2, "edition": 3, "previous": seen.sha256} | link))
    name = hashlib.sha256(data).hexdigest()
    kept.by_hash[name] = data
    with pytest.raises(BadSignature, match=match) as raised:
        kept.walk(Link.from_bytes(octets(2, 4, name)), seen)
    assert "forget" not in raised.value.hint


def test_the_last_step_must_fit_too(kept):
    """A manifest may name the one seen last by its hash and be no successor of it."""
    seen = kept.chain(2, 3)[-1]
    for epoch, edition, more, match in [
        (2, 5, {}, "before epoch 2 edition 5 comes epoch 2 edition 3"),
        (3, 2, {}, "before epoch 3 edition 2 comes epoch 2 edition 3"),
        (4, 1, {}, "before epoch 4 edition 1 comes epoch 2 edition 3"),
        (2, 4, {"key": 9}, "key of epoch 2 changed"),
        (3, 1, {"audience": "business"}, "business"),
    ]:
        with pytest.raises(BadSignature, match=match):
            kept.walk(kept.add(epoch, edition, seen, **more), seen)
    assert kept.walk(kept.add(3, 1, seen), seen) is None


def test_the_newest_itself(kept):
    links = kept.chain(2, 3)
    seen = links[-1]
    for newest, match in [
        (links[0], "went back from epoch 2 edition 3 to epoch 1 edition 1"),
        (links[3], "went back"),
        (kept.add(2, 3, links[3], more=1), "published twice"),
        (kept.add(2, 40, links[0], key=5), "key of epoch 2 changed"),
        (kept.add(2, 99, None), "has no previous manifest"),
        (kept.add(1, 1, seen), "has no previous manifest"),
    ]:
        with pytest.raises(BadSignature, match=match):
            kept.walk(newest, seen)
    with pytest.raises(BadSignature, match="has no previous manifest"):
        kept.walk(kept.add(3, 1, None), None)


def test_an_epoch_may_end_at_any_edition_but_a_later_one_than_was_seen(kept):
    links = kept.chain(3)
    assert kept.walk(kept.add(2, 1, kept.chain(30, after=links[-1], first=4)[-1]), links[-1]) is None
    far = kept.chain(60, after=links[-1], first=4)
    assert kept.walk(kept.add(2, 1, far[-1]), links[-1]) == Gap(Position(1, 3), Position(2, 1))
    assert kept.asked == [far[-1].sha256], "that too much lies between shows at once"


def test_an_endless_past_is_not_followed(kept):
    """Each epoch has one edition: how many lie between shows only on the way."""
    links = kept.chain(*[1] * 80)
    kept.walk(links[-1], links[0])
    assert kept.asked == []  # so many epochs alone are too much
    first, *past = kept.chain(1, 200)
    assert kept.walk(kept.add(3, 1, past[-1]), first) == Gap(Position(1, 1), Position(3, 1))
    assert len(kept.asked) < MANIFESTS_KEPT


@st.composite
def trees(draw):
    """Manifests that say what they like, each after any earlier one."""
    kept, links = Kept(), []
    for number in range(draw(st.integers(2, 12))):
        previous = draw(st.sampled_from([None, *links])) if links else None
        if previous is not None and draw(st.integers(0, 9)):  # mostly what may come next
            epoch, edition = previous.position.epoch, previous.position.edition
            epoch, edition = draw(st.sampled_from([(epoch, edition + 1), (epoch + 1, 1)]))
        else:
            epoch, edition = draw(st.integers(1, 3)), draw(st.integers(1, 4))
        key = draw(st.sampled_from([None, None, None, 8]))
        links.append(kept.add(epoch, edition, previous, key=key, number=number))
    return kept, links


@pytest.mark.slow
@settings(max_examples=400, deadline=None)
@given(trees(), st.data())
def test_no_walk_ends_well_unless_each_manifest_names_the_one_before(tree, data):
    kept, links = tree
    newest, seen = data.draw(st.sampled_from(links)), data.draw(st.sampled_from(links))
    try:
        gap = kept.walk(newest, seen)
    except BadSignature:
        return
    assert gap is None, "nothing here is that long"
    at = newest
    by_hash = {link.sha256: link for link in links}
    while at != seen:
        before = by_hash[at.previous]
        here, there = at.position, before.position
        assert there == Position(here.epoch, here.edition - 1) or (here.edition, there.epoch) == (
            1,
            here.epoch - 1,
        )
        assert here.edition == 1 or at.public_key == before.public_key
        at = before


def test_a_link_is_read_from_any_version_and_from_nothing_else(make_manifest):
    manifest = make_manifest(2, previous=make_manifest())
    link = Link.from_bytes(manifest.to_bytes())
    assert link == Link(
        "people", Position(1, 2), manifest.public_key.hex(), manifest.previous, manifest.sha256()
    )
    good = octets(1, 2, "ab" * 32)
    assert Link.from_bytes(good).position == Position(1, 2)
    for change in (
        {"format": "contactsync-manifest"},
        {"format": "contactsync-delta-1"},
        {"audience": "../people"},
        {"audience": None},
        {"epoch": 0},
        {"epoch": True},
        {"edition": "2"},
        {"edition": (1 << 53) + 1},
        {"public_key": "AB" * 32},
        {"public_key": "ab"},
        {"previous": "../../x"},
    ):
        with pytest.raises(BadReply):
            Link.from_bytes(canonical.encode(canonical.decode(good) | change))
    for name in ("format", "audience", "epoch", "edition", "public_key", "previous"):
        value = canonical.decode(good)
        del value[name]
        with pytest.raises(BadReply):
            Link.from_bytes(canonical.encode(value))
    twice = good.replace(b'"edition":2', b'"edition":1,"edition":2')
    for data in (b"", b"null", b"[]", b"\xff", good[:-1], good + b"\n", twice, good.replace(b":2", b":2.0")):
        with pytest.raises(BadReply):
            Link.from_bytes(data)


def test_the_documents_say_how_many_manifests_are_kept():
    docs = Path(__file__).parents[2] / "docs"
    walk_page = (docs / "http-api.md").read_text().split("### The walk")[1].split("###")[0]
    assert f"at least the newest {MANIFESTS_KEPT} manifests" in walk_page
    assert f"at most {MANIFESTS_KEPT}\nsteps, and fetches at most {MANIFESTS_KEPT - 1} manifests" in walk_page
    assert f"Ours keeps {MANIFESTS_KEPT + EDITIONS_SERVED - 1}:" in walk_page
    assert f"longer than {MAX_BYTES:,} octets" in walk_page
    for page in ("threat-model.md", "operations.md"):
        assert f"more than {MANIFESTS_KEPT} " in (docs / page).read_text()


# ---- what is announced of the next epoch ------------------------------------------------------------------


def announced(epoch=2, key=2, until=9, edition=1, **more):
    return {"epoch": epoch, "public_key": f"{key:064x}", "until": until, "edition": edition} | more


def two(older, newer):
    """Two editions of epoch 1 with these announcements, and the walk from the second to the first."""
    kept = Kept()
    first = kept.add(1, 1, None, **older)
    return kept.walk(kept.add(1, 2, first, **newer), first)


NONE = {}


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        (NONE, {"next": announced()}),
        ({"next": announced()}, {"next": announced()}),
        ({"next": announced()}, {"next": announced(edition=2)}),
        ({"next": announced()}, NONE),
        ({"next": announced(partitions=[])}, {"next": announced(partitions=[1])}),
        ({"next": [1]}, {"next": announced()}),
        ({"next": announced()}, {"next": {"key": 5}}),
        ({"next": None}, {"next": "soon"}),
    ],
)
def test_announcements_that_may_follow_each_other(older, newer):
    assert two(older, newer) is None


@pytest.mark.parametrize("change", [{"key": 3}, {"until": 8}, {"until": 10}, {"epoch": 3}, {"edition": 1}])
def test_an_announcement_that_changes_is_another_history(change):
    with pytest.raises(BadSignature, match="what was announced of epoch 2 changed"):
        two({"next": announced(edition=2)}, {"next": announced(**{"edition": 2} | change)})


def test_a_change_in_between_is_noticed_from_afar():
    kept = Kept()
    first = kept.add(1, 1, None)
    second = kept.add(1, 2, first, next=announced())
    third = kept.add(1, 3, second, next=announced(key=3))
    newest = kept.add(1, 4, third, next=announced(key=3))
    with pytest.raises(BadSignature, match="what was announced"):
        kept.walk(newest, first)
    gone = kept.add(1, 3, second)
    assert kept.walk(kept.add(1, 4, gone, next=announced(key=3)), first) is None, "taken back in between"


@pytest.mark.parametrize("key", [2, 7])
def test_an_epoch_may_begin_with_the_announced_key_or_another(key):
    kept = Kept()
    last = kept.add(1, 1, None, next=announced())
    assert kept.walk(kept.add(2, 1, last, key=key), last) is None
