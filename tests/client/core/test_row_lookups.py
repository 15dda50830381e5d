"""Private look-up, without any server: which rows are asked for, what is found, and who waits."""

import contextlib
from dataclasses import replace

import numpy as np
import pytest
from row_blocks import put_in_blocks, records_of

from contactsync.client.core.holdings import Known
from contactsync.client.core.row_lookups import LastTable, answer_octets, key_of, look_up, rows_of
from contactsync.client.core.states import Question
from contactsync.directory import DataFile, build, open_directory
from contactsync.foundation.errors import BadDirectory, BadReply
from contactsync.lookup.table import usual_fold_bits
from contactsync.lookup.table_file import build_table
from contactsync.mirror.editions import NoRows
from contactsync.mirror.editions import rows_of as mirrored_rows
from contactsync.publication.manifest import Manifest, Partition
from contactsync.publication.partition import UnusablePartition
from contactsync.publication.rows import PublishedRows
from contactsync.tokens import Tokens

PREFIXES = {"49": b"tel:+49151%07d", "39": b"tel:+39320%07d", "mail": b"mailto:p%d@example.org"}
MEMBERS = {"49": 300, "39": 40, "mail": 7}
ABSENT = b"tel:+33612345678"


def identifiers_of(name, first, many):
    return [PREFIXES[name] % i for i in range(first, first + many)]


def token_of(identifier):
    """A token for each identifier, as an evaluation would give it: the same one each time."""
    return np.random.default_rng(list(identifier)).integers(0, 256, 10, np.uint8)


def tokens_of(identifiers):
    return Tokens.from_bytes(np.array([token_of(one) for one in identifiers], np.uint8).reshape(-1, 10))


class World:
    """An edition of three partitions and its rows."""

    def __init__(self, folder, members=MEMBERS, edition=3):
        partitions = {}
        folder.mkdir(exist_ok=True)
        with contextlib.ExitStack() as opened:
            directories = {}
            for name, many in members.items():
                info = build(folder / name, [tokens_of(identifiers_of(name, 0, many))])
                directories[name] = opened.enter_context(open_directory(folder / name, expect=info))
                bits = info.slot_bits, 32
                partitions[name] = Partition(name, edition, info.count, *bits, info.top_sha256, info.file)
            slot_bits = [directory.info.slot_bits for directory in directories.values()]
            built = build_table(folder / "rows", directories, None, usual_fold_bits(slot_bits))
        self.table, self.level = built.table, built.level
        self.records = records_of(np.fromfile(folder / "rows", np.uint8), built.table.layout)
        file = DataFile(built.root.hex(), len(built.level), "0" * 16)
        self.manifest = Manifest(
            *("people", 1, edition, bytes(32), 1, partitions, None),
            rows=PublishedRows(file, built.table.shape.most, fold_bits=built.table.fold_bits),
        )
        self.requests = []

    def answers(self, request):
        self.requests.append(request)
        padded = np.zeros((1 << self.table.row_bits, self.table.width), np.uint8)
        padded[: len(self.records)] = self.records
        return [padded[plan.row.ravel()] for plan in request.batches]

    def look_up(self, book, known=None, last=None, lie=lambda answers: answers):
        question = Question.about(book)
        known = known or with_tokens(book)
        looking = look_up(question, self.manifest, known, self.level, last)
        request = next(looking)
        with pytest.raises(StopIteration) as end:
            looking.send(lie(self.answers(request)))
        return end.value.value


def with_tokens(book):
    everybody = np.arange(len(book))
    return Known.nothing(len(book)).with_tokens(
        everybody, tokens_of(book), np.zeros((len(book), 32), np.uint8)
    )


@pytest.fixture(scope="module", params=[False, True], ids=["rows", "blocks"])
def world(tmp_path_factory, request):
    with pytest.MonkeyPatch.context() as patched:
        if request.param:
            put_in_blocks(patched)
        world = World(tmp_path_factory.mktemp("world") / "one")
        assert world.table.fold_bits == 2 * request.param
        yield world


def mixed_book():
    """Members and strangers of each partition, and somebody of a country without members."""
    book = [ABSENT]
    for name, many in MEMBERS.items():
        book += identifiers_of(name, many - 3, 6)  # half of them
    return book


def test_members_of_all_partitions_are_found_in_one_batch(world):
    book = mixed_book()
    found = world.look_up(book)
    assert found.settled.all()
    expected = [False] + [True, True, True, False, False, False] * 3
    assert found.member.tolist() == expected
    assert found.edition.tolist() == [0] + [3] * 18
    assert found.last == LastTable(key_of(world.manifest), 1, 3, (), False)
    assert [plan.sharing.size for plan in world.requests[-1].batches] == [64]


@pytest.mark.parametrize("many", [0, 1, 8, 9, 64, 65, 200])
def test_what_is_asked_depends_on_the_count_alone(world, many):
    """Of members, of strangers, of one country or of all: the same batches, and as many octets."""
    members = identifiers_of("49", 0, many)
    strangers = identifiers_of("39", 5000, many)
    mix = [*identifiers_of("mail", 0, many // 2), *identifiers_of("49", 900, many - many // 2)]
    seen = set()
    for book in (members, strangers, mix):
        world.look_up(book)
        request = world.requests[-1]
        seen.add(tuple(plan.sharing.size for plan in request.batches))
        assert request.octets == answer_octets(world.manifest, many)
    assert len(seen) == 1


def test_nothing_is_asked_again_of_the_same_table_but_what_is_new(world):
    book = mixed_book()
    first = world.look_up(book)
    known = replace(with_tokens(book), member=first.member, edition=first.edition)
    again = world.look_up(book, known, first.last)
    assert [plan.sharing.size for plan in world.requests[-1].batches] == [8]
    assert not world.requests[-1].batches[0].query.size
    assert (again.member == first.member).all()
    # In another edition everybody is looked up again, whatever that of the partition is.
    world.look_up(book, known, replace(first.last, key="0" * 64))
    assert world.requests[-1].batches[0].query.size == 18


def sizes(world):
    return [plan.sharing.size for plan in world.requests[-1].batches]


def test_no_edition_that_somebody_signs_shows_how_many_are_in_a_partition(world):
    """Neither other editions of the same rows, nor partitions that come or go, change the sizes."""
    book = [*identifiers_of("49", 0, 60), *identifiers_of("39", 0, 4), *[PREFIXES["49"] % 9000, ABSENT]]
    first = world.look_up(book)
    whole = sizes(world)
    known = replace(with_tokens(book), member=first.member, edition=first.edition)
    partitions = dict(world.manifest.partitions)
    partitions["39"] = replace(partitions["39"], edition=4)
    honest, world.manifest = world.manifest, replace(world.manifest, partitions=partitions, edition=4)
    try:
        world.look_up(book, known, first.last)
        assert sizes(world) == whole
    finally:
        world.manifest = honest
    again = world.look_up(book, known, first.last)
    assert sizes(world) == [8]
    assert again.edition[-1] == 0
    # Of a book of people in no partition as many are asked as of one of members.
    abroad = [b"tel:+336123%05d" % i for i in range(66)]
    world.look_up(abroad)
    assert sizes(world) == whole


def test_who_waits_makes_no_batch_larger_and_comes_first(world):
    """As if thirteen had found no place: nobody sees it in the next sizes, and then they are found."""
    book = identifiers_of("49", 0, 16)
    done = np.arange(16) >= 13
    known = replace(with_tokens(book), member=done, edition=np.where(done, 3, -1))
    last = LastTable(key_of(world.manifest), 1, 3, tuple(one.decode() for one in book[:13]), False)
    found = world.look_up(book, known, last)
    assert sizes(world) == [8]
    asked = found.settled & ~done
    assert asked.sum() + len(found.last.waiting) == 13
    assert set(found.last.waiting) == {book[i].decode() for i in np.flatnonzero(~found.settled)}
    assert found.member[found.settled].all()
    assert not found.member[~found.settled].any()
    # Eight new ones beside those who wait are still eight; who was deleted from the book changes nothing.
    more = [*book, *identifiers_of("49", 100, 8)]
    fresh = np.full(8, -1)
    grown = replace(
        with_tokens(more),
        member=np.append(found.member, fresh >= 0),
        edition=np.append(found.edition, fresh),
    )
    world.look_up(more, grown, found.last)
    assert sizes(world) == [8]
    world.look_up(more[3:], replace(with_tokens(more[3:]), edition=grown.edition[3:]), last)
    assert sizes(world) == [8]
    known = replace(known, member=found.member, edition=found.edition)
    for _ in range(4):
        found = world.look_up(book, known, found.last)
        known = replace(known, member=found.member, edition=found.edition)
    assert found.settled.all()
    assert found.member.all()


def test_the_order_of_those_who_wait_is_drawn_each_time(world):
    """Or the same contact, whose places are always taken, would wait forever."""
    book = identifiers_of("49", 0, 60)
    known = replace(with_tokens(book), edition=np.full(60, -1))
    last = LastTable(key_of(world.manifest), 1, 3, tuple(one.decode() for one in book), False)
    found = [tuple(np.flatnonzero(world.look_up(book, known, last).settled).tolist()) for _ in range(60)]
    assert len(set(found)) > 10
    assert set().union(*found) == set(range(60))


def test_one_wrong_octet_of_one_server_discards_all(world):
    book = mixed_book()

    def lie(answers):
        answers[-1][3, 1] ^= 1
        return answers

    looking = look_up(Question.about(book), world.manifest, with_tokens(book), world.level, None)
    answers = lie(world.answers(next(looking)))
    with pytest.raises(BadDirectory, match="all of it was discarded"):
        looking.send(answers)


def test_a_damaged_level_is_noticed_before_anything_is_asked(world):
    book = mixed_book()
    level = world.level[:-1] + bytes([world.level[-1] ^ 1])
    with pytest.raises(BadDirectory, match="do not match the root"):
        next(look_up(Question.about(book), world.manifest, with_tokens(book), level, None))


def test_what_cannot_be_looked_up_is_not_said_to_be_no_member(world):
    unusable = UnusablePartition("33", "is of another time", "unknown-family", {})
    later = replace(world.manifest, unknown={"33": unusable})
    book = mixed_book()
    looking = look_up(Question.about(book), later, with_tokens(book), world.level, None)
    with pytest.raises(StopIteration) as end:
        looking.send(world.answers(next(looking)))
    assert end.value.value.settled.tolist() == [False] + [True] * 18


def test_a_manifest_without_rows_says_what_to_do(world):
    with pytest.raises(BadReply, match="no rows") as refused:
        rows_of(replace(world.manifest, rows=None))
    assert "--private-lookup yes" in refused.value.hint


def test_rows_of_a_later_form_ask_for_an_update(world):
    """As clients of earlier versions meet those in blocks, and cannot say."""
    later = replace(world.manifest, rows=None, extra={"later_rows": {"any": "thing"}})
    with pytest.raises(BadReply, match="of a form that this program does not know") as refused:
        rows_of(later)
    assert "update contactsync" in refused.value.hint
    with pytest.raises(NoRows, match="of a form that this program does not know") as at_mirror:
        mirrored_rows(later)
    assert at_mirror.value.hint == "update contactsync"
    assert not replace(world.manifest, rows=None, extra={"rows": {}}).has_later_rows
