"""Room for those who wait: bounded for all, and for each."""

import random

import pytest

from contactsync.server.admission import Admission, Overloaded


def fill(admission, account, points=512):
    """How many batches of an account get in."""
    count = 0
    try:
        while True:
            admission.enter(account, points)
            count += 1
    except Overloaded:
        return count


def test_one_account_leaves_half_of_the_room_to_the_others():
    admission = Admission(66)
    assert fill(admission, "greedy") == 33
    assert not admission.is_full()
    assert [fill(admission, name) for name in ("b", "c", "d")] == [17, 8, 4]
    admission.leave("greedy", 512)
    admission.check("e")


def test_there_is_always_room_for_the_next_one_until_all_is_taken():
    admission = Admission(10)
    fill(admission, "greedy")
    for i in range(5):
        admission.enter(i, 4096)
    assert admission.is_full()
    with pytest.raises(Overloaded):
        admission.check("another")


def test_small_batches_are_parts_of_one_and_large_ones_are_one():
    assert fill(Admission(4), "a", 8) == 64
    assert fill(Admission(4), "a", 16) == 64
    assert fill(Admission(4), "a", 17) == 61
    assert fill(Admission(4), "a", 4096) == 2


def test_nothing_is_left_behind():
    admission, inside = Admission(20), []
    draw = random.Random(3)
    for _ in range(5000):
        if inside and draw.random() < 0.5:
            admission.leave(*inside.pop(draw.randrange(len(inside))))
        else:
            batch = draw.randrange(9), draw.randrange(1, 700)
            try:
                admission.enter(*batch)
                inside.append(batch)
            except Overloaded:
                pass
    for batch in inside:
        admission.leave(*batch)
    assert (admission._taken, admission._of) == (0, {})
