"""Where a member is published: compared with what the served files really contain."""

import numpy as np
import pytest
from server_tools import AMERICAN, GERMAN, numbers

from contactsync.directory import match, open_directory
from contactsync.directory.delta import read_delta
from contactsync.server.presence import presences
from contactsync.server.settings import EDITIONS_SERVED
from contactsync.server.storage.records import Origin
from contactsync.tokens import Tokens

APP = Origin("app 3.1")
WHO = numbers(GERMAN)


def said(operator):
    (record,) = operator.registry.show(WHO)
    return {one.audience: str(one) for one in presences(operator.registry, operator.repository, record)}


def token_of(operator):
    (record,) = operator.registry.show(WHO)
    return Tokens.from_bytes(np.frombuffer(record.tokens["people", 1], np.uint8).reshape(1, -1))


def files_with(operator, token):
    """The served bases and deltas of the partition that hold the token: as a member, or as one who left."""
    found = set()
    for manifest in operator.repository.history("people", EDITIONS_SERVED):
        partition = manifest.partitions.get("49")
        if partition is None:
            continue
        path = operator.folder.data / partition.base.sha256
        with open_directory(path, expect=partition.directory) as directory:
            if match(token, directory)[0]:
                found.add(path.name)
        for delta in partition.deltas:
            change = read_delta(operator.folder.data / delta.file.sha256)
            gone, new = (change.apply_to_mask(token, np.array([mask])) for mask in (True, False))
            if not gone[0] or new[0]:
                found.add(delta.file.sha256)
    return found


@pytest.fixture
def published(operator):
    operator.add(GERMAN, *range(GERMAN + 1, GERMAN + 50), AMERICAN)
    assert said(operator) == {"people": "in the directory from the next publish on"}
    operator.publish()
    return operator


@pytest.mark.slow
def test_a_member_since_its_own_edition(published):
    assert said(published) == {"people": "in the directory since edition 1 of epoch 1"}
    published.registry.consent(WHO, "business", granted=True, origin=APP)
    published.add(GERMAN + 60)
    published.publish()
    assert said(published) == {
        "people": "in the directory since edition 1 of epoch 1",
        "business": "in the directory since edition 1 of epoch 1",
    }
    published.publish(new_epoch=True)
    assert said(published)["people"] == "in the directory since edition 1 of epoch 1"


@pytest.mark.slow
def test_who_left_is_in_older_files_until_none_is_served(published):
    token = token_of(published)
    published.registry.consent(WHO, "people", granted=False, origin=APP)
    assert said(published) == {"people": "still in the directory, until the next publish"}
    published.publish()
    for edition in range(2, 60):
        text = said(published)["people"]
        if not files_with(published, token):
            break
        assert (
            text
            == "not in the directory since edition 2 of epoch 1, but in older files that are still served"
        )
        assert published.manifest().edition == edition
        published.add(GERMAN + 100 + edition)
        published.publish()
    assert edition > EDITIONS_SERVED, "files of earlier editions were served"
    assert text == f"in no served file since edition {edition} of epoch 1"
    published.add(GERMAN + 1000)
    published.publish()
    assert said(published)["people"] == text, "it is told the same later"


@pytest.mark.slow
def test_a_new_epoch_and_a_partition_that_is_gone_hold_nobody(published):
    published.registry.consent(numbers(AMERICAN), "people", granted=False, origin=APP)
    published.registry.consent(WHO, "people", granted=False, origin=APP)
    published.publish(new_epoch=True)
    assert "in older files" in said(published)["people"]
    for step in range(2):
        published.add(GERMAN + 100 + step)
        published.publish()
    for who in (GERMAN, AMERICAN):
        (record,) = published.registry.show(numbers(who))
        (one,) = presences(published.registry, published.repository, record)
        assert str(one) == "in no served file since edition 3 of epoch 2"


def test_who_was_never_in_it_has_no_place_in_it(operator):
    operator.add(GERMAN + 1)
    operator.registry.consent(WHO, "people", granted=False, origin=APP)
    operator.publish()
    assert said(operator) == {}


def test_members_of_a_registry_without_serials(operator):
    operator.add(GERMAN)
    operator.registry._database.change("UPDATE members_tel SET since = 0")
    operator.publish()
    assert said(operator) == {"people": "not known: the editions of that time were not recorded"}
