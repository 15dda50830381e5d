"""Screen mode in `contactsync-js sync`: what it finds and asks for, and what must not be believed."""

import re

import pytest
from javascript import Person, found, needs_node
from simulated_service import CREDENTIAL, service

__all__ = ["service"]
pytestmark = [needs_node, pytest.mark.slow]
MEMBERS = [f"+49151{i:07}" for i in range(5)]
OTHERS = [f"+49171{i:07}" for i in range(60)]
ABROAD = "+447911123456"
CROWD = 150_000  # 32 buckets
SCREEN = ("--privacy", "screen", "--buckets", "8")


@pytest.fixture
def crowded(service):
    service.crowd = {"49": CROWD}
    service.publish(*MEMBERS, ABROAD)
    return service


@pytest.fixture
def person(tmp_path, crowded):
    return Person(tmp_path / "person", crowded.url, crowded.repository.root_bytes(), CREDENTIAL)


def test_the_answer_is_the_same_and_the_base_is_never_fetched(crowded, person):
    result = person.sync(*MEMBERS, *OTHERS, ABROAD, more=SCREEN)
    assert sorted(found(result)) == sorted([*MEMBERS, ABROAD])
    assert result["leak_odds"] == {"49": 4.0}
    assert re.search(r"fetched 8 of 32 buckets of \+49, decoys included \(.* by up to 4\)", result["leak"])
