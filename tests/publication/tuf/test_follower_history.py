"""What a follower makes of the walk: what it asks for and keeps, and what it says could not be checked."""

import json
from dataclasses import replace

import pytest
from tuf.api.exceptions import DownloadError, DownloadHTTPError

from contactsync.foundation import durable
from contactsync.foundation.errors import BadSignature, NetworkError, Refused
from contactsync.publication.history import MANIFESTS_KEPT, Gap, Position
from contactsync.publication.manifest import MAX_BYTES
from contactsync.publication.tuf.follower import Follower


@pytest.fixture
def state(tmp_path):
    return tmp_path / "state"


@pytest.fixture
def publish(operator, make_manifest):
    """Publish editions up to this one, each after the one before; the last of them."""

    def publish(edition, after=None, epoch=1, **changes):
        first = 1 if after is None or after.epoch != epoch else after.edition + 1
        for number in range(first, edition + 1):
            after = replace(make_manifest(number, epoch, previous=after), **changes)
            operator.publish(after)
        return after

    return publish


def seen(state):
    return json.loads((state / "manifests" / "people.json").read_bytes())


def fetched(operator):
    """The manifests that were asked for since the last time, by their hash."""
    names = [path.removeprefix("targets/") for path in operator.fetcher.asked if path.startswith("targets/")]
    operator.fetcher.asked.clear()
    return [name.removesuffix(".people.json") for name in names]


def test_nothing_between_costs_nothing_and_each_edition_between_one_request(operator, publish, state):
    first = publish(1)
    operator.follow(state)
    second = publish(2, after=first)
    fetched(operator)
    assert operator.follow(state) == second
    assert operator.follow(state) == second
    assert fetched(operator) == [second.sha256()] * 2
    third = publish(3, after=second)
    fourth = publish(4, after=third)
    rotated = publish(1, after=fourth, epoch=2)
    assert operator.follow(state) == rotated
    assert fetched(operator) == [rotated.sha256(), fourth.sha256(), third.sha256()]


def test_a_fork_that_rejoins(operator, publish, state):
    """The attack: at edition 2 this client alone is shown another one, and everybody the same from 3 on."""
    first = publish(1)
    operator.follow(state)
    shown = publish(2, after=first, normalisation=2)
    assert operator.follow(state) == shown
    before = seen(state)
    second = publish(2, after=first)
    for edition in (3, 4, 20):
        publish(edition, after=second)
        for _ in range(2):  # that it was refused once does not make it known
            with pytest.raises(BadSignature, match="this server shows another history"):
                operator.follow(state)
        assert seen(state) == before
    publish(1, after=publish(20, after=second), epoch=2)
    with pytest.raises(BadSignature, match="this server shows another history"):
        operator.follow(state)
    third = publish(3, after=shown)
    assert operator.follow(state) == third


def test_a_new_epoch_with_an_invented_past(operator, make_manifest, publish, state):
    """The attack: a new epoch whose `previous` nobody has ever seen, or is not what was seen."""
    first = publish(1)
    third = publish(3, after=first)
    operator.follow(state)
    other = publish(5, after=first, normalisation=2)
    for previous in ("ab" * 32, other.sha256(), first.sha256()):
        operator.publish(replace(make_manifest(1, epoch=2), previous=previous))
        with pytest.raises(BadSignature, match="this server shows another history") as raised:
            operator.follow(state)
        assert "forget" not in raised.value.hint
    fifth = publish(5, after=third)
    rotated = publish(1, after=fifth, epoch=2)
    assert operator.follow(state) == rotated


def test_a_link_that_is_withheld_or_changed_or_endless(operator, publish, state):
    first = publish(1)
    operator.follow(state)
    second = publish(2, after=first)
    publish(3, after=second)
    name = f"targets/{second.sha256()}.people.json"
    for tamper, match in [
        (lambda data: data.replace(b'"normalisation":1', b'"normalisation":2'), "different manifest"),
        (lambda _: b"", "different manifest"),
        (lambda _: first.to_bytes(), "different manifest"),
        (lambda data: data + bytes(MAX_BYTES), "size limit"),
    ]:
        operator.fetcher.tamper = lambda path, data, tamper=tamper: tamper(data) if path == name else data
        with pytest.raises(BadSignature, match=match):
            operator.follow(state)
    operator.fetcher.tamper = lambda _, data: data
    (operator.public / name).rename(operator.public / "withheld")
    with pytest.raises(BadSignature, match="it lacks the manifests"):
        operator.follow(state)
    (operator.public / "withheld").rename(operator.public / name)
    assert seen(state)["edition"] == 1
    assert operator.follow(state).edition == 3


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (DownloadError("cut"), NetworkError),
        (DownloadHTTPError("busy", 502), NetworkError),
        (Refused("no", status=429), Refused),
    ],
)
def test_trouble_on_the_way_is_no_other_history(operator, publish, state, error, expected):
    """It can be tried again, and until then the state is as it was."""
    first = publish(1)
    operator.follow(state)
    second = publish(2, after=first)
    publish(4, after=second)
    fetch = operator.fetcher._fetch

    def fail(url):
        if second.sha256() in url:
            raise error
        return fetch(url)

    operator.fetcher._fetch = fail
    for _ in range(2):
        with pytest.raises(expected):
            operator.follow(state)
    assert seen(state)["edition"] == 1
    operator.fetcher._fetch = fetch
    assert operator.follow(state).edition == 4


@pytest.fixture
def follower(operator, state):
    def follower():
        return Follower(state, "http://server.test", operator.fetcher, operator.root)

    return follower


def test_what_could_not_be_checked_is_said_until_somebody_was_told(publish, state, follower):
    first = publish(1)
    one = follower()
    one.manifest("people")
    assert one.unchecked("people") is None
    last = publish(MANIFESTS_KEPT + 2, after=first)
    one = follower()
    assert one.manifest("people") == last
    gap = Gap(Position(1, 1), Position(1, MANIFESTS_KEPT + 2))
    assert one.unchecked("people") == gap
    assert (state / "gaps" / "people.json").stat().st_mode & 0o077 == 0
    # The sync after this was cut off. The next one sees a direct successor, and says it all the same.
    last = publish(last.edition + 1, after=last)
    one = follower()
    one.manifest("people")
    assert one.unchecked("people") == gap
    # One that could not be told before a second gap: from the beginning of the first to the end of that one.
    last = publish(last.edition + MANIFESTS_KEPT + 1, after=last)
    one = follower()
    one.manifest("people")
    assert one.unchecked("people") == Gap(Position(1, 1), Position(1, last.edition))
    one.told("people")
    one.told("people")
    one = follower()
    one.manifest("people")
    assert one.unchecked("people") is None


def test_a_gap_is_kept_before_the_manifest(publish, state, follower, monkeypatch):
    first = publish(1)
    follower().manifest("people")
    publish(MANIFESTS_KEPT + 2, after=first)
    write = durable.write

    def fail(path, data, **options):
        if path.parent.name == "manifests":
            raise KeyboardInterrupt
        write(path, data, **options)

    monkeypatch.setattr(durable, "write", fail)
    with pytest.raises(KeyboardInterrupt):
        follower().manifest("people")
    assert seen(state)["edition"] == 1
    assert follower().unchecked("people") is not None


@pytest.mark.slow
@pytest.mark.parametrize("data", [b"", b"{", b"{}", b'{"since": [1], "until": 2}'])
def test_a_damaged_gap_is_all_that_was_seen(publish, state, follower, data):
    first = publish(1)
    follower().manifest("people")
    last = publish(MANIFESTS_KEPT + 2, after=first)
    follower().manifest("people")
    (state / "gaps" / "people.json").write_bytes(data)
    one = follower()
    one.manifest("people")
    assert one.unchecked("people") == Gap(Position(1, 1), Position(1, last.edition))
    one.told("people")
    assert one.unchecked("people") is None


def test_many_editions_are_refused_or_said_but_never_passed_over(operator, publish, state, follower):
    """Up to what servers keep, a fork is refused; beyond, it is said that nobody can tell."""
    first = publish(1)
    operator.follow(state)
    publish(2, after=first, normalisation=2)
    operator.follow(state)
    second = publish(2, after=first)
    last = publish(2 + MANIFESTS_KEPT, after=second)
    with pytest.raises(BadSignature, match="another history"):
        operator.follow(state)
    last = publish(last.edition + 1, after=last)
    one = follower()
    assert one.manifest("people") == last
    assert one.unchecked("people") == Gap(Position(1, 2), Position(1, last.edition))


def test_a_damaged_manifest_is_delivered_again_and_walked_to(operator, publish, state):
    first = publish(1)
    operator.follow(state)
    kept = state / "manifests" / "people.json"
    kept.write_bytes(kept.read_bytes()[:100])
    last = publish(7, after=first)
    fetched(operator)
    assert operator.follow(state) == last
    names = fetched(operator)
    assert len(names) == 2 + 5
    assert names[:2] == [last.sha256(), first.sha256()]
    assert kept.read_bytes() == last.to_bytes()


def test_what_was_seen_in_another_version_of_the_format_counts(operator, make_manifest, publish, state):
    """After an update of this program: the manifest kept is one that it does not write any more."""
    first = publish(1)
    operator.follow(state)
    kept = state / "manifests" / "people.json"
    kept.write_bytes(kept.read_bytes().replace(b"manifest-2", b"manifest-98765"))
    with pytest.raises(BadSignature, match="published twice"):
        operator.follow(state)
    publish(2, after=first)
    with pytest.raises(BadSignature, match="does not continue"):
        operator.follow(state)
