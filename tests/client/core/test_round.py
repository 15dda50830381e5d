"""What is sent: padded to a power of two, shuffled, split; and what was cut is finished as it was."""

import pytest

from contactsync.client.core.round import PendingBatch, make_round, padded


@pytest.mark.parametrize(
    ("new", "points"), [(0, 0), (1, 8), (8, 8), (9, 16), (500, 512), (4096, 4096), (4097, 8192)]
)
def test_padding(new, points):
    assert padded(new) == points


def test_every_input_once_the_rest_of_nobody_and_nothing_in_its_place():
    new = [b"tel:+4915123%05d" % i for i in range(5000)]
    made = make_round(new, [], cover=True)
    assert [batch.size for batch in made.fresh] == [4096, 4096]
    assert made.points == 8192
    sent = [identifier for batch in made.fresh for identifier in batch.identifiers]
    assert sorted(sent) == new
    assert sent != new
    first = made.fresh[0]
    assert 2300 < len(first.identifiers) < 2700, "5000 among 8192, wherever"
    assert len({batch.name for batch in made.fresh}) == 2


def test_points_of_nobody_are_hashed_from_inputs_as_long_as_real_ones():
    real = [b"tel:+4915123456789", b"tel:+35312345"]
    blinded = PendingBatch("name", 200, tuple(real)).blind(real)
    inputs = blinded.blinding.inputs
    assert len(inputs) == len(set(inputs)) == 200
    assert {len(one) for one in inputs} == {len(one) for one in real}
    assert [inputs[place] for place in sorted(range(200), key=lambda i: blinded.places[i])[-2:]] == real
    order = [place >= 0 for place in blinded.places]
    assert order != sorted(order)


def test_nothing_new_is_a_round_of_nobody_unless_it_is_switched_off():
    (cover,) = make_round([], [], cover=True).fresh
    assert (cover.size, cover.identifiers) == (8, ())
    assert len(set(cover.blind([]).blinding.inputs)) == 8
    assert make_round([], [], cover=False).fresh == ()


def test_unfinished_batches_go_first_and_as_they_are():
    left = [PendingBatch("a", 4096, (b"tel:+1", b"tel:+2")), PendingBatch("b", 4096, (b"tel:+3",))]
    made = make_round([b"tel:+2", b"tel:+3"], left, cover=True)
    assert made.unfinished == tuple(left)
    assert [(batch.size, batch.identifiers) for batch in made.fresh] == [(8, ())], (
        "as if nothing had been cut"
    )
    assert made.is_cover
    made = make_round([b"tel:+2", b"tel:+4"], left, cover=True)
    assert made.unfinished == tuple(left)
    assert [(batch.size, batch.identifiers) for batch in made.fresh] == [(8, (b"tel:+4",))]
    assert not made.is_cover


@pytest.mark.parametrize(("most", "size"), [(5000, 4096), (4096, 4096), (100, 64), (64, 64), (9, 8), (1, 8)])
def test_batches_that_a_small_budget_lets_pass(most, size):
    made = make_round([b"tel:+49151%07d" % i for i in range(3000)], [], cover=True, most=most)
    assert {batch.size for batch in made.fresh} == {size}
    assert made.points == 4096
