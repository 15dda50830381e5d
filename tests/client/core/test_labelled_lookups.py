"""Labels that come with rows: whose are shown, and that nothing that is asked depends on them."""

import contextlib
from dataclasses import replace

import numpy as np
import pytest
from row_blocks import put_in_blocks, records_of

from contactsync.client.core.holdings import Known
from contactsync.client.core.row_lookups import look_up
from contactsync.client.core.states import Question
from contactsync.directory import DataFile, build, open_directory
from contactsync.directory.sidecar import open_sidecar
from contactsync.directory.sidecar_build import build_sidecar
from contactsync.labels import context, seal, unseal
from contactsync.lookup.table import usual_fold_bits
from contactsync.lookup.table_file import build_table
from contactsync.publication.labels import Labels
from contactsync.publication.manifest import Manifest, Partition
from contactsync.publication.rows import PublishedRows
from contactsync.tokens import Tokens

SIZES = {"49": 32, "39": 16}  # "mail" has no labels
MEMBERS = {"49": 300, "39": 40, "mail": 7}
PREFIXES = {"49": b"tel:+49151%07d", "39": b"tel:+39320%07d", "mail": b"mailto:p%d@example.org"}
CONTEXT = context("people", 1)


def identifiers_of(name, first, many):
    return [PREFIXES[name] % i for i in range(first, first + many)]


def outputs_of(identifiers):
    """Token and label key of each, as an evaluation would give them."""
    rows = [np.random.default_rng(list(one)).integers(0, 256, 42, np.uint8) for one in identifiers]
    return np.array(rows, np.uint8).reshape(-1, 42)


def label_of(identifier):
    return b"" if identifier[-1] % 5 == 0 else b"@" + identifier[-7:]


class World:
    """An edition with labels in its rows; the entry of `victim` is sealed for nobody."""

    def __init__(self, folder, victim=None):
        partitions = {}
        with contextlib.ExitStack() as opened:
            directories, sidecars = {}, {}
            for name, many in MEMBERS.items():
                identifiers = identifiers_of(name, 0, many)
                outputs = outputs_of(identifiers)
                tokens = Tokens.from_bytes(np.ascontiguousarray(outputs[:, :10]))
                info = build(folder / name, [tokens])
                directories[name] = opened.enter_context(open_directory(folder / name, expect=info))
                stated = None
                if size := SIZES.get(name):
                    path = folder / f"{name}.labels"
                    keys = np.ascontiguousarray(outputs[:, 10:])
                    if victim in identifiers:
                        keys[identifiers.index(victim)] = 0
                    entries = seal(keys, list(map(label_of, identifiers)), size, CONTEXT)
                    made = build_sidecar(path, directories[name], [(tokens, entries)], size=size)
                    sidecars[name] = opened.enter_context(open_sidecar(path, expect=made))
                    stated = Labels(3, size, made.top_sha256, made.file)
                figures = name, 3, info.count, info.slot_bits, 32, info.top_sha256, info.file
                partitions[name] = Partition(*figures, labels=stated)
            slot_bits = [directory.info.slot_bits for directory in directories.values()]
            built = build_table(folder / "rows", directories, sidecars, usual_fold_bits(slot_bits))
        self.table, self.level = built.table, built.level
        self.records = records_of(np.fromfile(folder / "rows", np.uint8), built.table.layout)
        file = DataFile(built.root.hex(), len(built.level), "0" * 16)
        self.manifest = Manifest(
            *("people", 1, 3, bytes(32), 1, partitions, None),
            rows=PublishedRows(file, built.table.shape.most, True, built.table.fold_bits),
        )

    def look_up(self, book, known=None, last=None, **options):
        """What was found, and the sizes of the batches that were asked."""
        looking = look_up(
            Question.about(book), self.manifest, known or known_of(book), self.level, last, **options
        )
        request = next(looking)
        padded = np.zeros((1 << self.table.row_bits, self.table.width), np.uint8)
        padded[: len(self.records)] = self.records
        with pytest.raises(StopIteration) as end:
            looking.send([padded[plan.row.ravel()] for plan in request.batches])
        return end.value.value, [plan.sharing.size for plan in request.batches]


def known_of(book):
    outputs = outputs_of(book)
    tokens, keys = Tokens.from_bytes(np.ascontiguousarray(outputs[:, :10])), outputs[:, 10:]
    return Known.nothing(len(book)).with_tokens(np.arange(len(book)), tokens, keys)


def opened(book, found):
    """The labels of members by identifier, None where an entry does not open."""
    keys, labels = known_of(book).keys, {}
    for sealed in found.sealed.values():
        for i, octets in zip(
            sealed.of.tolist(), unseal(keys[sealed.of], sealed.entries, CONTEXT), strict=True
        ):
            labels[book[i]] = octets
    return labels


@pytest.fixture(scope="module", params=[False, True], ids=["rows", "blocks"])
def world(tmp_path_factory, request):
    with pytest.MonkeyPatch.context() as patched:
        if request.param:
            put_in_blocks(patched)
        world = World(tmp_path_factory.mktemp("labelled"))
        assert world.table.fold_bits == 2 * request.param
        yield world


def mixed_book():
    book = [b"tel:+33612345678"]
    for name, many in MEMBERS.items():
        book += identifiers_of(name, many - 6, 12)
    return book


def test_members_have_their_own_labels_and_nobody_else_has_one(world):
    book = mixed_book()
    found, sizes = world.look_up(book, labels=True)
    assert sizes == [64]
    assert found.settled.all()
    members = {one for i, one in enumerate(book) if found.member[i]}
    assert len(members) == 18
    expected = {one: label_of(one) for one in members if not one.startswith(b"mailto")}
    assert opened(book, found) == expected
    assert set(found.sealed) == {"49", "39"}
    assert {sealed.entries.shape[1] for sealed in found.sealed.values()} == {48, 32}


@pytest.mark.parametrize("many", [0, 5, 70])
def test_who_wants_no_labels_asks_for_the_same(world, many):
    book = identifiers_of("49", 0, many)
    with_them, sizes = world.look_up(book, labels=True)
    without, the_same = world.look_up(book, labels=False)
    assert sizes == the_same
    assert not without.sealed
    assert (with_them.member == without.member).all()


def test_once_labels_are_wanted_everybody_is_asked_for(world):
    """Not only who matched: the size of the batch would say how many those are."""
    book = mixed_book()
    first, whole = world.look_up(book, labels=False)
    known = replace(known_of(book), member=first.member, edition=first.edition)
    _, sizes = world.look_up(book, known, first.last, labels=False)
    assert sizes == [8]
    found, sizes = world.look_up(book, known, first.last, labels=True)
    assert sizes == whole
    assert len(opened(book, found)) == 12
    assert found.anew
    assert (first.last.labels, found.last.labels) == (False, True)
    # Once they are not wanted any more, nobody need be asked for.
    known = replace(known, member=found.member, edition=found.edition)
    again, sizes = world.look_up(book, known, found.last, labels=False)
    assert sizes == [8]
    assert not again.anew


def test_an_entry_that_does_not_open_changes_nothing_that_is_asked(tmp_path, world):
    """Or the operator would see who has the contact whose entry it spoiled."""
    book = mixed_book()
    victim = identifiers_of("49", 299, 1)[0]
    bad = World(tmp_path, victim)
    found, sizes = bad.look_up(book, labels=True)
    honest, the_same = world.look_up(book, labels=True)
    assert sizes == the_same
    assert opened(book, found) == opened(book, honest) | {victim: None}
    assert (found.member == honest.member).all()
    known = replace(known_of(book), member=found.member, edition=found.edition)
    _, sizes = bad.look_up(book, known, found.last, labels=True)
    assert sizes == [8]


@pytest.mark.parametrize("labels", [True, False])
def test_an_edition_of_labels_alone_is_another_one_for_everybody(world, labels):
    """Also one that changed nothing: or who signs would see by the sizes who wants labels."""
    book = mixed_book()
    first, whole = world.look_up(book, labels=labels)
    known = replace(known_of(book), member=first.member, edition=first.edition)
    partitions = dict(world.manifest.partitions)
    stated = partitions["39"].labels
    partitions["39"] = replace(partitions["39"], labels=replace(stated, edition=4))
    honest, world.manifest = world.manifest, replace(world.manifest, partitions=partitions, edition=4)
    try:
        found, sizes = world.look_up(book, known, first.last, labels=labels)
    finally:
        world.manifest = honest
    assert sizes == whole
    assert found.anew
    assert bool(opened(book, found)) == labels


def test_who_waited_when_everybody_was_asked_is_asked_next(world):
    """A batch of eight for sixty, all of them known from another table: nobody is forgotten."""
    book = identifiers_of("49", 0, 60)
    earlier = replace(known_of(book), member=np.ones(60, np.bool_), edition=np.full(60, 3))
    first, _ = world.look_up(book[:8], labels=True)
    everybody = tuple(one.decode() for one in book)
    last = replace(first.last, waiting=everybody)
    shown, known, rounds = {}, earlier, 0
    while len(shown) < 60:
        found, sizes = world.look_up(book, known, last, labels=True)
        assert sizes == [8]
        assert found.member.all()
        assert found.settled.all(), "who waits keeps the result"
        shown |= opened(book, found)
        waits = np.array([one.decode() in found.last.waiting for one in book])
        assert (found.edition[waits] == 0).all()
        assert (found.edition[~waits] == 3).all()
        known, last = replace(known, member=found.member, edition=found.edition), found.last
        rounds += 1
        assert rounds < 40
    assert shown == {one: label_of(one) for one in book}
    assert not last.waiting
    # What is marked so is looked up, though nobody remembers that it waited.
    known = replace(known, edition=np.where(np.arange(60) < 20, 0, 3))
    _, sizes = world.look_up(book, known, last, labels=True)
    assert sizes == [64]


def test_who_waits_has_no_entry_of_another(world):
    """Sixty in a batch of eight: only who was asked for has one."""
    book = identifiers_of("49", 0, 60)
    first, _ = world.look_up(book[:8], labels=True)
    known = replace(known_of(book), edition=np.full(60, -1))
    last = replace(first.last, waiting=tuple(one.decode() for one in book))
    found, sizes = world.look_up(book, known, last, labels=True)
    assert sizes == [8]
    asked = {book[i] for i in np.flatnonzero(found.settled)}
    assert 0 < len(asked) < 60
    assert opened(book, found) == {one: label_of(one) for one in asked}
