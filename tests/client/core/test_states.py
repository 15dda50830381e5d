"""A sync in memory: each state leads to the next, without a socket, a database or a state folder."""

import numpy as np
import pytest

from contactsync.client.core.holdings import Known
from contactsync.client.core.mode import FetchFiles, LookedUp, LookUpBuckets, Memory
from contactsync.client.core.planner import Options
from contactsync.client.core.states import Evaluated, Fetched, Prepared, Question
from contactsync.client.files import FolderFiles
from contactsync.client.privacy import load_modes
from contactsync.directory import RangeReader, build, open_directory
from contactsync.directory.screen import build_screen
from contactsync.foundation.errors import BadProof, BadReply, ChoiceNeeded
from contactsync.publication.manifest import Manifest, Partition
from contactsync.tokens import Tokens
from contactsync.voprf.server import blind_evaluate, derive_key_pair, evaluate

KEY = derive_key_pair(bytes(32), b"contactsync/v1/people/1")
MEMBERS = [b"tel:+49151%07d" % i for i in range(3)]
OTHERS = [b"tel:+49171%07d" % i for i in range(40)]
ABROAD = b"tel:+33612345678"
CROWD = 400_000
MEMORY = Memory(bytes(32), 1, {}, {})


class World:
    """One edition with one partition, whose files lie in a folder."""

    def __init__(self, folder, crowd):
        strangers = np.random.default_rng(1).integers(0, 256, (crowd, 10), np.uint8)
        info = build(
            folder / "new", [Tokens.from_outputs(evaluate(KEY, MEMBERS)), Tokens.from_bytes(strangers)]
        )
        base = info.file
        with open_directory(folder / "new", expect=info) as directory:
            screen = build_screen(folder / "screen", directory)
        (folder / "new").rename(folder / base.sha256)
        (folder / "screen").rename(folder / screen.sha256)
        partition = Partition("49", 1, info.count, info.slot_bits, 32, info.top_sha256, base, (), screen)
        self.folder = folder
        self.partition = partition
        self.manifest = Manifest("people", 1, 1, KEY.public, 1, {"49": partition}, None)

    def prepared(self, identifiers=(*MEMBERS, *OTHERS, ABROAD), **options):
        count = len(identifiers)
        return Prepared.of(
            Question.about(identifiers),
            self.manifest,
            Known.nothing(count),
            {},
            options=Options(**options),
            modes=load_modes(),
        )

    def answer(self, request):
        if isinstance(request, FetchFiles):
            return None
        data = (self.folder / self.partition.base.sha256).read_bytes()
        reader = RangeReader(
            self.partition.directory, lambda places: [data[p.start : p.stop] for p in places]
        )
        return LookedUp.of(request, reader.match(request.tokens, request.asked.numbers), None)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return World(tmp_path_factory.mktemp("world"), CROWD)


def reply_to(blinded):
    rows = np.frombuffer(blinded.body, np.uint8).reshape(-1, 32)
    evaluated, proof = blind_evaluate(KEY, rows)
    return evaluated.tobytes() + proof


def evaluated_of(fetched):
    blinded = [batch.blind([]) for batch in fetched.round().fresh]
    return fetched.evaluated(one.finish(reply_to(one), KEY.public) for one in blinded)


def settle(world, evaluated, spent=0):
    """Run the settling; the requests it made, and what came of it."""
    requests, answer = [], None
    settling = evaluated.settle(FolderFiles(world.folder), MEMORY, spent)
    try:
        while True:
            requests.append(settling.send(answer))
            answer = world.answer(requests[-1])
    except StopIteration as end:
        return requests, end.value


def test_download_mode_asks_nothing_once_the_files_are_there(world):
    prepared = world.prepared()
    assert prepared.files == [world.partition.base]
    requests, matched = settle(world, evaluated_of(prepared.fetched()))
    assert requests == []
    assert matched.member.tolist() == [True] * 3 + [False] * 41
    assert matched.edition.tolist() == [1] * 43 + [-1], "nobody is published for the last one's country"
    assert set(matched.holdings({})) == {("49", "base")}


def test_screen_mode_asks_for_one_list_of_buckets_and_finds_the_same(world):
    prepared = world.prepared(privacy="screen")
    assert prepared.files == [world.partition.screen]
    (request,), matched = settle(world, evaluated_of(prepared.fetched()))
    assert isinstance(request, LookUpBuckets)
    assert len(request.asked.numbers) == 64
    assert matched.member.tolist() == [True] * 3 + [False] * 41
    assert matched.spent > 0


def test_a_state_offers_only_what_may_follow(world):
    """The order cannot be written wrong: what would jump ahead does not exist."""
    prepared = world.prepared()
    steps = {"fetched", "round", "evaluated", "settle"}
    offered = [
        {name for name in dir(state) if name in steps}
        for state in (prepared, prepared.fetched(), evaluated_of(prepared.fetched()))
    ]
    assert offered == [{"fetched"}, {"round", "evaluated"}, {"settle"}]
    assert all("__dict__" not in dir(kind) for kind in (Prepared, Fetched, Evaluated))


def test_an_evaluation_must_be_of_the_whole_round(world):
    fetched = world.prepared().fetched()
    with pytest.raises(ValueError, match="round"):
        fetched.evaluated([])


def test_a_proof_by_another_key_leads_nowhere(world):
    (batch,) = world.prepared().fetched().round().fresh
    blinded = batch.blind([])
    other = derive_key_pair(b"x" * 32, b"other")
    with pytest.raises(BadProof):
        blinded.finish(reply_to(blinded), other.public)
    with pytest.raises(BadReply):
        blinded.finish(reply_to(blinded)[:-1], KEY.public)


def test_what_is_too_large_is_said_before_anything_can_be_sent(world):
    with pytest.raises(ChoiceNeeded):
        world.prepared(max_download=1000)


def test_nothing_new_is_an_empty_round(world):
    fetched = world.prepared([], cover=False).fetched()
    assert fetched.round().fresh == ()
    _, matched = settle(world, fetched.evaluated([]))
    assert matched.member.size == 0
