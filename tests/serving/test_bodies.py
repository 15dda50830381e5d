"""Bodies of small requests: whole, or not at all, whatever pieces they come in."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contactsync.serving.bodies import read_body

LIMIT = 64


def read(pieces, limit=LIMIT, seconds=60.0, wait=0.0):
    taken = []

    async def stream():
        for piece in pieces:
            await asyncio.sleep(wait)
            taken.append(piece)
            yield piece

    return asyncio.run(read_body(stream(), limit, seconds)), taken


@given(st.lists(st.binary(max_size=24), max_size=8))
def test_a_body_is_its_pieces_and_nothing_is_read_beyond_the_limit(pieces):
    body, taken = read(pieces)
    whole = b"".join(pieces)
    assert body == (whole if len(whole) <= LIMIT else None)
    assert len(b"".join(taken[:-1])) <= LIMIT
    assert body is None or taken == pieces


@pytest.mark.parametrize(("length", "fits"), [(0, True), (LIMIT, True), (LIMIT + 1, False)])
def test_the_limit_itself_fits(length, fits):
    assert (read([bytes(length)])[0] is not None) == fits


def test_a_body_that_does_not_end_in_time():
    with pytest.raises(TimeoutError):
        read([b"x"] * 1000, limit=10**6, seconds=0.05, wait=0.01)
