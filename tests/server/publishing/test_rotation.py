"""Epochs with overlap, on a real registry, keyring and repository: what is published, kept and destroyed."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from server_tools import AMERICAN, GERMAN, FolderFetcher

from contactsync.directory import match, open_directory
from contactsync.foundation.errors import BadInput, OurError
from contactsync.publication.tuf.follower import Follower
from contactsync.publication.tuf.summary import describe
from contactsync.server.keyring import Keyring
from contactsync.server.prepared import Preparation, prepare_to_publish
from contactsync.server.publishing import publisher
from contactsync.server.publishing.publisher import Publisher
from contactsync.server.publishing.rotation import Aim, Order
from contactsync.server.settings import EDITIONS_SERVED
from contactsync.tokens import Tokens
from contactsync.voprf.server import evaluate

WEEK = 7 * 86_400


class Time:
    """The publisher's clock."""

    def __init__(self, monkeypatch):
        self.ahead = timedelta()
        time = self

        class Clock(datetime):
            @classmethod
            def now(cls, tz=None):
                return datetime.now(tz) + time.ahead

        monkeypatch.setattr(publisher, "datetime", Clock)

    def pass_by(self, seconds):
        self.ahead += timedelta(seconds=seconds)


@pytest.fixture
def time(monkeypatch):
    return Time(monkeypatch)


@pytest.fixture
def published(operator):
    """An operator with two partitions published, who is one edition further."""
    operator.add(GERMAN, GERMAN + 1, AMERICAN)
    operator.publish()
    operator.add(GERMAN + 2)
    operator.publish()
    return operator


def order(operator, aim, overlap=WEEK, **options):
    return Publisher(operator.folder, operator.registry, operator.keyring).publish(
        order=Order(aim, overlap), **options
    )


def rotate(operator, **options):
    return order(operator, Aim.ROTATE, **options)


def found(operator, epoch, partition, *values):
    """Which of these numbers a partition of an epoch matches."""
    key = operator.keyring.key_pair("people", epoch)
    identifiers = [b"tel:+%d" % value for value in values]
    tokens = Tokens.from_outputs(evaluate(key, identifiers))
    path = operator.folder.data / partition.base.sha256
    with open_directory(path, expect=partition.directory) as directory:
        return match(tokens, directory).tolist()


def count_tokens(operator, epoch):
    return sum(
        len(tokens)
        for partition in ("1", "49")
        for tokens in operator.registry.tokens("people", epoch, partition)
    )


def test_the_next_epoch_is_built_beside_the_current_one(published):
    before = published.manifest()
    outcomes = rotate(published)
    after = published.manifest()
    assert (after.epoch, after.edition, after.previous) == (1, 3, before.sha256())
    assert after.partitions == before.partitions
    assert after.public_key == before.public_key
    assert (after.next.epoch, after.next.edition) == (2, 1)
    assert after.next.public_key != before.public_key
    assert abs(after.next.until - datetime.now(UTC).timestamp() - WEEK) < 60
    assert [(o.epoch, o.edition, o.evaluated, o.until) for o in outcomes] == [
        (1, 3, 0, None),
        (2, 1, 4, after.next.until),
    ]
    assert found(published, 2, after.next.partitions["49"], GERMAN, GERMAN + 2, GERMAN + 3) == [
        True,
        True,
        False,
    ]
    assert found(published, 1, after.partitions["49"], GERMAN) == [True]
    assert set(after.files()) <= published.data_files()


@pytest.mark.slow
def test_a_publish_in_the_overlap_updates_both(published):
    rotate(published)
    until, key = published.manifest().next.until, published.manifest().next.public_key
    published.add(GERMAN + 3)
    published.registry.remove(published.registry.unevaluated("people", 9, "1", None, 9))
    outcomes = published.publish()
    after = published.manifest()
    assert (after.edition, after.next.edition) == (4, 2)
    assert (after.next.until, after.next.public_key) == (until, key)
    assert [(o.epoch, o.evaluated, o.changed) for o in outcomes] == [(1, 1, ("1", "49")), (2, 1, ("1", "49"))]
    assert list(after.partitions) == list(after.next.partitions) == ["49"]
    for epoch, partition in ((1, after.partitions["49"]), (2, after.next.partitions["49"])):
        assert found(published, epoch, partition, GERMAN + 3, AMERICAN) == [True, False]
        assert partition.edition == partition.deltas[-1].to_edition
    stamp = published.manifest().sha256()
    assert [o.changed for o in published.publish()] == [None, None], "nothing changed"
    assert published.manifest().sha256() == stamp


@pytest.mark.slow
def test_the_first_publish_after_the_overlap_begins_the_epoch(published, time):
    rotate(published)
    last = published.manifest()
    time.pass_by(WEEK - 60)
    published.publish()
    assert published.manifest() == last
    time.pass_by(120)
    published.add(GERMAN + 3)
    outcomes = published.publish()
    second, first, *_ = published.repository.history("people", 9)
    assert (first.epoch, first.edition, first.previous, first.next) == (2, 1, last.sha256(), None)
    assert first.public_key == last.next.public_key
    for name, partition in first.partitions.items():
        assert partition.base == last.next.partitions[name].base, "the same file"
        assert (partition.edition, partition.deltas) == (1, ())
    assert (second.epoch, second.edition) == (2, 2)
    assert [d.from_edition for d in second.partitions["49"].deltas] == [1], "clients go on by a delta"
    assert [(o.epoch, o.edition, o.evaluated) for o in outcomes] == [(2, 1, 0), (2, 2, 1)]
    assert not published.keyring.has_seed("people", 1), "the old key could open archived directories"
    assert count_tokens(published, 1) == 0
    assert found(published, 2, second.partitions["49"], GERMAN, GERMAN + 3) == [True, True]


@pytest.mark.slow
def test_old_files_go_after_the_promotion_as_after_a_new_epoch(published, time):
    rotate(published)
    old = set(published.manifest().files()) - {
        p.base.sha256 for p in published.manifest().next.partitions.values()
    }
    time.pass_by(WEEK + 1)
    for number in range(EDITIONS_SERVED):
        assert (old <= published.data_files()) is (number < EDITIONS_SERVED)
        published.publish()
        published.add(GERMAN + 10 + number)
    published.publish()
    assert not old & published.data_files()
    assert set(published.manifest().files()) <= published.data_files()


@pytest.mark.slow
def test_a_follower_of_any_edition_accepts_the_whole_history(published, time, tmp_path):
    """At each edition of a rotation a client looks for the first time; all of them come to the end of it."""
    root, clients = published.repository.root_bytes(), []

    def look():
        clients.append(tmp_path / f"client {len(clients)}")
        for folder in clients:
            follower = Follower(folder, "http://x", FolderFetcher(published.folder.public), root)
            assert follower.manifest("people") == published.manifest()
            assert follower.unchecked("people") is None

    look()
    rotate(published)
    look()
    published.add(GERMAN + 3)
    published.publish()
    look()
    time.pass_by(WEEK + 1)
    published.publish()
    look()
    rotate(published)
    order(published, Aim.TAKE_BACK)
    look()
    rotate(published)
    look()
    published.publish(new_epoch=True)
    look()
    assert published.manifest().epoch == 4, "and 3 was passed over"


@pytest.mark.slow
def test_taken_back(published):
    before = published.manifest()
    rotate(published)
    announced = published.manifest().next
    order(published, Aim.TAKE_BACK)
    after = published.manifest()
    assert (after.epoch, after.edition, after.next) == (1, 4, None)
    assert after.partitions == before.partitions
    assert not published.keyring.has_seed("people", 2)
    assert count_tokens(published, 2) == 0
    rotate(published)
    assert published.manifest().next.public_key != announced.public_key
    assert published.manifest().next.edition == 1
    assert found(published, 2, published.manifest().next.partitions["49"], GERMAN) == [True]


def test_nothing_to_take_back_or_finish(published):
    for aim in (Aim.TAKE_BACK, Aim.FINISH):
        with pytest.raises(BadInput, match="no rotation is running"):
            order(published, aim)
    rotate(published)
    with pytest.raises(BadInput, match="the overlap lasts until 20"):
        order(published, Aim.FINISH)


def test_nothing_to_rotate(operator):
    with pytest.raises(BadInput, match="nothing is published"):
        rotate(operator)
    assert not operator.keyring.has_seed("people", 1)


def test_the_end_of_the_overlap_can_be_asked_for(published, time):
    rotate(published)
    time.pass_by(WEEK + 1)
    order(published, Aim.FINISH)
    assert (published.manifest().epoch, published.manifest().edition) == (2, 1)


@pytest.mark.slow
def test_another_rotate_continues_and_does_not_begin_a_second_one(published, time):
    rotate(published)
    announced = published.manifest().next
    rotate(published, overlap=99)
    assert published.manifest().next == announced
    time.pass_by(WEEK + 1)
    rotate(published)
    assert (published.manifest().epoch, published.manifest().next) == (2, None)
    rotate(published)
    assert published.manifest().next.epoch == 3


@pytest.mark.slow
@pytest.mark.parametrize("over", [False, True], ids=["in the overlap", "after it"])
def test_an_emergency_abandons_the_announced_key(published, tmp_path, time, over):
    """Its epoch is passed over: it has a place in the history, and was never in force."""
    root = published.repository.root_bytes()
    follower = Follower(tmp_path / "client", "http://x", FolderFetcher(published.folder.public), root)
    rotate(published)
    announced = published.manifest()
    assert follower.manifest("people") == announced
    time.pass_by(WEEK + 1 if over else 0)
    published.publish(new_epoch=True)
    new, passed, before, *_ = published.repository.history("people", 9)
    assert before == announced
    assert (passed.epoch, passed.edition, passed.public_key) == (2, 1, announced.next.public_key)
    assert (new.epoch, new.edition, new.next) == (3, 1, None)
    assert new.public_key not in {announced.public_key, announced.next.public_key}
    assert found(published, 3, new.partitions["49"], GERMAN, GERMAN + 2) == [True, True]
    seeds = {path.name for path in published.folder.keys.glob("voprf-*")}
    assert seeds == {"voprf-people-3.json"}, "the announced seed is gone as well"
    assert count_tokens(published, 1) == count_tokens(published, 2) == 0
    later = Follower(tmp_path / "client", "http://x", FolderFetcher(published.folder.public), root)
    assert later.manifest("people") == new


@pytest.mark.slow
def test_an_emergency_that_was_killed_continues_with_the_same_seed(published, monkeypatch):
    rotate(published)
    announced = published.manifest()
    killed(monkeypatch, publisher, "announcing", lambda: published.publish(new_epoch=True))
    assert published.manifest() == announced, "served until the switch"
    key = published.keyring.key_pair("people", 3).public
    published.add(GERMAN + 9)
    published.publish()
    assert published.manifest().next.public_key == announced.next.public_key
    published.publish(new_epoch=True)
    assert (published.manifest().epoch, published.manifest().public_key) == (3, key)
    assert found(published, 3, published.manifest().partitions["49"], GERMAN + 9) == [True]


@pytest.mark.slow
def test_an_emergency_while_the_announced_seed_is_lost(published):
    rotate(published)
    (published.folder.keys / "voprf-people-2.json").unlink()
    published.publish(new_epoch=True)
    assert published.manifest().epoch == 3


def killed(monkeypatch, place, name, call):
    """Make a call that ends, as a kill would end it, when it comes to a certain function."""

    def kill(*_arguments, **_options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(place, name, kill)
        with pytest.raises(KeyboardInterrupt):
            call()


@pytest.mark.slow
@pytest.mark.parametrize("by", ["publish", "rotate"])
def test_a_rotation_that_was_killed_before_it_was_announced_continues(published, monkeypatch, by):
    killed(monkeypatch, publisher, "announcing", lambda: rotate(published))
    assert published.manifest().next is None
    key = published.keyring.key_pair("people", 2).public
    outcomes = published.publish() if by == "publish" else rotate(published)
    assert published.manifest().next.public_key == key, "no second seed"
    assert [o.evaluated for o in outcomes] == [0, 0], "what was evaluated is kept"
    assert published.manifest().next.until > datetime.now(UTC).timestamp() + WEEK - 60


def test_an_emergency_after_a_rotation_that_was_killed_draws_another_seed(published, monkeypatch):
    """keys/ may have been stolen since: the seed was there."""
    killed(monkeypatch, publisher, "announcing", lambda: rotate(published))
    key = published.keyring.key_pair("people", 2).public
    published.publish(new_epoch=True)
    assert published.manifest().public_key != key
    assert found(published, 2, published.manifest().partitions["49"], GERMAN) == [True]


def test_a_new_epoch_that_was_killed_is_not_taken_for_a_rotation(published, monkeypatch):
    killed(monkeypatch, publisher, "announcing", lambda: published.publish(new_epoch=True))
    key = published.keyring.key_pair("people", 2).public
    with pytest.raises(BadInput, match="a new epoch of people was started"):
        rotate(published)
    published.publish()
    assert published.manifest().next is None
    published.publish(new_epoch=True)
    assert published.manifest().public_key == key


def test_taking_back_what_was_killed_before_it_was_announced(published, monkeypatch):
    before = published.manifest()
    killed(monkeypatch, publisher, "announcing", lambda: rotate(published))
    order(published, Aim.TAKE_BACK)
    assert published.manifest() == before
    assert not published.keyring.has_seed("people", 2)
    assert count_tokens(published, 2) == 0


@pytest.mark.slow
@pytest.mark.parametrize("then", [Aim.PUBLISH, Aim.TAKE_BACK, Aim.ROTATE, Aim.NEW_EPOCH])
@pytest.mark.parametrize("place", ["before the switch", "after the switch"])
def test_taking_back_that_was_killed(published, monkeypatch, place, then):
    rotate(published)
    announced = published.manifest().next
    owner, name = (
        (published.repository.__class__, "publish")
        if place == "before the switch"
        else (Publisher, "_clean_up")
    )
    killed(monkeypatch, owner, name, lambda: order(published, Aim.TAKE_BACK))
    assert (published.manifest().next is None) is (place == "after the switch")
    assert published.keyring.key_pair("people", 2).public == announced.public_key, "served until the switch"
    order(published, then)
    now = published.manifest()
    if then in {Aim.PUBLISH, Aim.TAKE_BACK}:
        assert (now.epoch, now.next) == (1, None)
        assert not published.keyring.has_seed("people", 2)
        assert count_tokens(published, 2) == 0
    else:
        new = now.ahead() or now
        assert new.public_key != announced.public_key
        assert new.epoch == (3 if then is Aim.NEW_EPOCH and place == "before the switch" else 2)
        assert found(published, new.epoch, new.partitions["49"], GERMAN) == [True]


def test_a_promotion_that_was_killed_after_the_switch(published, monkeypatch, time):
    rotate(published)
    time.pass_by(WEEK + 1)
    killed(monkeypatch, Publisher, "_clean_up", published.publish)
    assert (published.manifest().epoch, published.manifest().edition) == (2, 1)
    published.publish()
    assert (published.manifest().epoch, published.manifest().edition) == (2, 1)
    assert not published.keyring.has_seed("people", 1)
    assert count_tokens(published, 1) == 0


@pytest.mark.slow
def test_a_lost_seed_of_the_next_epoch(published):
    rotate(published)
    (published.folder.keys / "voprf-people-2.json").unlink()
    files = published.public_files()
    with pytest.raises(OurError, match="no key at"):
        published.publish()
    assert published.public_files() == files
    order(published, Aim.TAKE_BACK)
    assert published.manifest().next is None
    rotate(published)
    assert found(published, 2, published.manifest().next.partitions["49"], GERMAN) == [True]


def test_an_epoch_does_not_begin_with_another_seed_than_the_announced_one(published, time):
    rotate(published)
    (published.folder.keys / "voprf-people-2.json").unlink()
    published.keyring.new_seed("people", 2, WEEK)
    time.pass_by(WEEK + 1)
    files = published.public_files()
    with pytest.raises(OurError, match="not the one that was announced"):
        published.publish()
    assert published.public_files() == files


@pytest.mark.slow
def test_both_audiences_rotate(published, time):
    published.add(GERMAN + 1, audience="business")
    published.publish()
    rotate(published)
    people, business = published.manifest(), published.manifest("business")
    assert people.next.until == business.next.until
    assert people.next.public_key != business.next.public_key
    assert business.next.count == 1
    time.pass_by(WEEK + 1)
    published.publish()
    assert [published.manifest(who).epoch for who in ("people", "business")] == [2, 2]


@pytest.mark.slow
def test_an_audience_that_appears_in_the_overlap_has_no_rotation_of_its_own(published):
    rotate(published)
    published.add(GERMAN + 1, audience="business")
    published.publish()
    assert published.manifest("business").next is None
    assert published.manifest().next is not None


def test_members_removed_in_the_overlap_leave_both(published):
    rotate(published)
    published.registry.remove(published.registry.unevaluated("people", 9, "49", None, 1))
    assert count_tokens(published, 1) == count_tokens(published, 2) == 3


def test_a_seed_says_when_it_was_drawn_and_nothing_of_itself(published, tmp_path):
    rotate(published)
    facts = published.keyring.facts("people", 2)
    assert abs(facts.drawn - datetime.now(UTC).timestamp()) < 60
    # What is left of it: the second may have ended since it was planned.
    assert 0 <= facts.drawn + facts.overlap - published.manifest().next.end.timestamp() <= 60
    assert WEEK - 60 < facts.overlap <= WEEK
    assert not facts.taken_back
    assert published.keyring.facts("people", 1).overlap is None
    assert published.keyring.facts("people", 3) is None
    body = json.loads((published.folder.keys / "voprf-people-2.json").read_bytes())
    body["drawn"] = "yesterday"
    (published.folder.keys / "voprf-people-2.json").write_text(json.dumps(body))
    with pytest.raises(OurError, match="damaged"):
        published.keyring.facts("people", 2)


def test_a_seed_of_an_earlier_version_is_as_old_as_its_file(version_1):
    keyring = Keyring(version_1 / "server" / "keys", None)
    path = version_1 / "server" / "keys" / "voprf-people-1.json"
    assert keyring.facts("people", 1).drawn == int(path.stat().st_mtime)


# Signed elsewhere


def prepared(operator, aim, overlap=WEEK):
    requests = []
    order(
        operator,
        aim,
        overlap,
        elsewhere=lambda manifests, serial: requests.append(
            prepare_to_publish(operator.folder, operator.keyring, manifests, serial)
        ),
    )
    return requests[0]


def finish(operator):
    preparation = Preparation.read(operator.folder)
    Publisher(operator.folder, operator.registry, operator.keyring).finish(
        preparation.request, preparation.serial
    )
    preparation.remove(operator.folder)


@pytest.mark.slow
def test_a_whole_rotation_signed_elsewhere(published, time):
    before = published.manifest()
    request = prepared(published, Aim.ROTATE)
    assert published.manifest() == before
    text = "\n".join(describe(request))
    assert "announces epoch 2, edition 1, until 20" in text
    assert "CAUTION" not in text
    finish(published)
    announced = published.manifest()
    assert announced.next.epoch == 2
    published.add(GERMAN + 3)
    time.pass_by(WEEK + 1)
    text = "\n".join(describe(prepared(published, Aim.PUBLISH)))
    assert "begins the epoch that was announced, with the same key: and the same files" in text
    assert "CAUTION" not in text
    finish(published)
    after = published.manifest()
    assert (after.epoch, after.edition, after.count) == (2, 1, 4), "who joined comes with the next publish"
    assert not published.keyring.has_seed("people", 1)
    prepared(published, Aim.PUBLISH)
    finish(published)
    assert published.manifest().count == 5


@pytest.mark.slow
def test_taken_back_elsewhere(published):
    prepared(published, Aim.ROTATE)
    finish(published)
    request = prepared(published, Aim.TAKE_BACK)
    assert "CAUTION: takes back what was announced of epoch 2" in "\n".join(describe(request))
    assert not published.keyring.facts("people", 2).taken_back, "nothing is in force yet"
    published.publish()
    assert published.manifest().next is not None
    prepared(published, Aim.TAKE_BACK)
    finish(published)
    assert published.manifest().next is None
    assert not published.keyring.has_seed("people", 2)


@pytest.mark.slow
def test_a_rotation_that_is_signed_too_late(published, time):
    prepared(published, Aim.ROTATE)
    time.pass_by(WEEK + 1)
    with pytest.raises(BadInput, match="the rotation was signed too late"):
        finish(published)
    assert published.manifest().next is None
    prepared(published, Aim.PUBLISH)
    finish(published)
    assert published.manifest().next.until > datetime.now(UTC).timestamp() + 2 * WEEK - 60


@pytest.mark.slow
def test_an_emergency_elsewhere_is_refused_with_a_way_out(published):
    rotate(published)
    with pytest.raises(BadInput, match="a rotation is running") as raised:
        prepared(published, Aim.NEW_EPOCH)
    assert "rotate --undo --offline-targets" in raised.value.hint
    prepared(published, Aim.TAKE_BACK)
    finish(published)
    prepared(published, Aim.NEW_EPOCH)
    finish(published)
    assert published.manifest().epoch == 2


def test_a_request_with_too_few_signatures_takes_nothing_back(published):
    rotate(published)
    secret = (published.folder.keys / "tuf-targets.json").rename(published.folder.path / "elsewhere.json")
    prepared(published, Aim.TAKE_BACK)
    with pytest.raises(BadInput, match="not enough signatures"):
        finish(published)
    assert not published.keyring.facts("people", 2).taken_back
    secret.rename(published.folder.keys / "tuf-targets.json")
    published.publish()
    assert published.manifest().next is not None
