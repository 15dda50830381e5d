"""What is sent: padded to a power of two, shuffled, split."""

import pytest

from contactsync.client.core.round import make_round, padded


@pytest.mark.parametrize(
    ("new", "points"), [(0, 0), (1, 8), (8, 8), (9, 16), (500, 512), (4096, 4096), (4097, 8192)]
)
def test_padding(new, points):
    assert padded(new) == points


def test_every_input_once_the_rest_random_and_nothing_in_its_place():
    new = [b"tel:+4915123%05d" % i for i in range(5000)]
    made = make_round(new)
    assert [len(batch.inputs) for batch in made] == [4096, 4096]
    real = {}
    padding = []
    for batch in made:
        for value, place in zip(batch.inputs, batch.places, strict=True):
            if place < 0:
                padding.append(value)
            else:
                real[place] = value
    assert [real[i] for i in range(5000)] == new
    assert len(set(padding)) == 8192 - 5000
    assert {len(value) for value in padding} == {32}
    order = [place for batch in made for place in batch.places if place >= 0]
    assert order != sorted(order)
    assert {place < 0 for place in made[0].places[:200]} == {True, False}


def test_nothing_new_is_nothing_sent():
    assert make_round([]) == []
