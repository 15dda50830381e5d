"""A server that states another file, or another history, where a client holds something: who finds out."""

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from contactsync.client.cache import Cache
from contactsync.client.core.labels import Labelled
from contactsync.client.transport import Transport
from contactsync.directory import build, open_directory
from contactsync.directory.delta import Delta, check_against
from contactsync.directory.format import truncate
from contactsync.foundation.errors import BadDirectory, ContactSyncError
from contactsync.tokens import Tokens

NUMBERS = [f"+49151{i:07}" for i in range(60)]


def swap_base(service, *numbers, patches):
    """Publish another base under the edition of the one that is held, as only a malicious server would."""
    held = service.manifest.partitions["49"]
    service.patched = frozenset()
    service.publish(*numbers)
    other = replace(service.manifest.partitions["49"], edition=held.edition, deltas=())
    if patches:
        service.manifest = replace(service.manifest, partitions={"49": other})
        service.patched = frozenset({"49"})
        # a patch that leads on from the other base
        service.publish(*numbers[1:])
        return
    manifest = replace(
        service.manifest,
        edition=service.manifest.edition + 1,
        previous=service.manifest.sha256(),
        partitions={"49": other},
    )
    service.repository.publish([manifest], service.signers, datetime.now(UTC))
    service.manifest = manifest


@pytest.mark.parametrize("held_patches", [False, True], ids=["bare before", "patched before"])
@pytest.mark.parametrize("new", ["+49151000099" + "9", "+33123456789"], ids=["in the partition", "elsewhere"])
def test_another_base_of_the_held_edition_is_found_whoever_is_in_the_book(patched, person, new, held_patches):
    """Or the error, and the base that is fetched next, tell who has a new contact in the partition."""
    if held_patches:
        patched.publish(*NUMBERS[1:30])
    person.sync(*NUMBERS[:5])
    swap_base(patched, *NUMBERS[3:40], patches=False)
    points = len(patched.asked("/evaluate/"))
    with pytest.raises(ContactSyncError):
        person.sync(*NUMBERS[:5], new)
    assert len(patched.asked("/evaluate/")) == points, "before anything was asked"


def test_a_chain_that_takes_out_who_is_not_there_and_brings_them_back_is_refused(tmp_path):
    """directory-format.md, (4): the JavaScript client refuses it, this one does not."""
    rng = np.random.default_rng(5)
    tokens = Tokens.from_bytes(rng.integers(0, 256, (501, 10), np.uint8))
    info = build(tmp_path / "base", [tokens.take(np.arange(500))])
    stranger = truncate(tokens.take(np.array([500])), *info.widths)
    none = truncate(tokens.take(np.array([], np.int64)), *info.widths)
    first = Delta(1, 2, *info.widths, 500, 499, info.file.sha256, "aa" * 32, stranger, none)
    second = Delta(2, 3, *info.widths, 499, 500, "aa" * 32, "bb" * 32, none, stranger)
    with (
        open_directory(tmp_path / "base", expect=info) as base,
        pytest.raises(BadDirectory, match="not present"),
    ):
        check_against([first, second], base)


def test_of_partitions_that_stay_after_a_gap_no_label_stays(tmp_path):
    """An edition of labels of another history is not this one's, even where a partition has no labels now."""
    there = b"tel:+491510000001"
    with Cache(tmp_path / "cache", "https://one.example") as cache:
        tokens = Tokens.from_bytes(np.zeros((1, 10), np.uint8))
        cache.add_tokens("people", 1, [there], tokens, np.zeros((1, 32), np.uint8))
        labelled = Labelled(["Ada"], np.array([5]), wanted=True)
        one = {"member": np.ones(1, bool), "edition": np.array([2])}
        cache.finish("people", 1, [there], holdings={}, labelled=labelled, **one)
        cache.drop_matches("people", 1, but={"49"})
        known = cache.tokens("people", 1, [there])
        assert (known.member.tolist(), known.edition.tolist()) == ([True], [2])
        assert (list(known.labels), known.labelled.tolist()) == ([None], [-1])


@pytest.mark.parametrize("new", [NUMBERS[20], "+33123456789"], ids=["a member", "a stranger"])
def test_another_sidecar_of_the_held_edition_is_found_whoever_matches(service, person, new):
    """Or the next sync, which fetches everything again, tells that somebody new has matched."""
    service.labels = {number: f"N{number[-2:]}" for number in NUMBERS}
    service.crowd = {"49": 2000}
    service.publish(*NUMBERS[:30])
    person.sync(*NUMBERS[:5])
    held = service.manifest.partitions["49"]
    service.labels = {number: f"M{number[-2:]}" for number in NUMBERS}
    service.publish(*NUMBERS[:30])
    now = service.manifest.partitions["49"].labels
    assert now.file != held.labels.file
    other = replace(held, labels=replace(now, edition=held.labels.edition, deltas=()))
    service.manifest = replace(
        service.manifest,
        edition=service.manifest.edition + 1,
        previous=service.manifest.sha256(),
        partitions={"49": other},
    )
    service.repository.publish([service.manifest], service.signers, datetime.now(UTC))
    points = len(service.asked("/evaluate/"))
    with pytest.raises(ContactSyncError):
        person.sync(*NUMBERS[:5], new)
    assert len(service.asked("/evaluate/")) == points, "before anything was asked"


def test_after_a_gap_the_time_until_the_next_request_does_not_tell_how_large_the_book_is(
    patched, person, monkeypatch
):
    """What is dropped and kept then is gone through row by row: 1 ms for 100 contacts, 70 ms for 10,000."""
    person.sync(*NUMBERS[:5])
    for turn in range(40):
        patched.merge = 8 if turn % 8 == 7 else 0
        patched.publish(*NUMBERS[turn % 20 : 35])
    events = []
    pace, drop = Transport.pace, Cache.drop_matches

    def paced(self, beats=1):
        events.append("pace")
        pace(self, beats)

    def dropped(self, *args, **how):
        events.append("drop")
        drop(self, *args, **how)

    def asked(request, _reply):
        if "/data/" in request.path:
            events.append("data")

    monkeypatch.setattr(Transport, "pace", paced)
    monkeypatch.setattr(Cache, "drop_matches", dropped)
    patched.tamper = asked
    person.sync(*NUMBERS[:5])
    events = events[events.index("drop") :]
    assert events[:2] == ["drop", "pace"]
