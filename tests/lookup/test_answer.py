"""Answers: against a twin in plain integers, through both servers to the row, in parts; what is refused."""

import mmap

import numpy as np
import pytest

from contactsync.foundation.errors import BadInput
from contactsync.lookup import answer as answering
from contactsync.lookup import dpf
from contactsync.lookup.answer import answer, arrange


def twin(rows, selections, places, position_bits):
    """docs/lookup.md, "The answer": one client, one sub-database, one row at a time."""
    numbers = [int.from_bytes(row.tobytes(), "little") for row in rows]
    a_group = selections.shape[1] // 3
    out = np.empty((*selections.shape[:2], rows.shape[1]), np.uint8)
    for client, of_client in enumerate(selections):
        sums = [0] * (3 * a_group)
        for group in range(3):
            for number, place in zip(numbers, places[group].tolist(), strict=True):
                sub, position = group * a_group + (place >> position_bits), place % (1 << position_bits)
                if of_client[sub, position // 8] >> position % 8 & 1:
                    sums[sub] ^= number
        out[client] = [list(total.to_bytes(rows.shape[1], "little")) for total in sums]
    return out


class Service:
    """Random rows at random places: each place of a group has one row at most."""

    def __init__(self, n, width, a_group, position_bits, seed=1):
        self.rng = np.random.default_rng(seed)
        self.rows = self.rng.integers(0, 256, (n, width), np.uint8)
        self.places = np.stack([self.rng.permutation(a_group << position_bits)[:n] for _ in range(3)])
        self.places = self.places.astype(np.uint32)
        self.position_bits, self.a_group = position_bits, a_group
        self.arrangement = arrange(self.places, position_bits, a_group)

    def selections(self, clients):
        return self.rng.integers(
            0, 256, (clients, 3 * self.a_group, (1 << self.position_bits) // 8), np.uint8
        )

    def answer(self, selections):
        return answer(self.rows, selections, self.arrangement)

    def expected(self, selections):
        return twin(self.rows, selections, self.places, self.position_bits)


@pytest.mark.parametrize("clients", [1, 2, 8, 9, 17])
def test_clients_get_what_the_twin_says(clients):
    service = Service(500, 72, 4, 7)
    selections = service.selections(clients)
    assert (service.answer(selections) == service.expected(selections)).all()


@pytest.mark.parametrize("clients", [1, 3])
@pytest.mark.parametrize("width", [8, 24, 32, 56, 64, 96, 104, 128, 488])
def test_rows_of_any_width(width, clients):
    service = Service(130, width, 4, 6, seed=width)
    selections = service.selections(clients)
    assert (service.answer(selections) == service.expected(selections)).all()


@pytest.mark.parametrize("clients", [1, 3])
@pytest.mark.parametrize("n", [0, 1, 3, 255, 256, 257, 511, 513])
def test_numbers_of_rows_beside_those_of_blocks(n, clients):
    service = Service(n, 16, 32, 5, seed=n)
    assert service.arrangement.block == 256
    selections = service.selections(clients)
    assert (service.answer(selections) == service.expected(selections)).all()


@pytest.mark.parametrize("clients", [1, 8])
@pytest.mark.parametrize("a_group", [1, 4, 256])
def test_few_and_many_sub_databases(a_group, clients):
    """With one, all rows of a block are in it; with 256, hardly two."""
    service = Service(300, 16, a_group, 9 if a_group == 1 else 7)
    selections = service.selections(clients)
    assert (service.answer(selections) == service.expected(selections)).all()


@pytest.mark.parametrize("clients", [1, 2])
def test_none_selected_and_all(clients):
    service = Service(256, 40, 4, 6)
    none = np.zeros_like(service.selections(clients))
    assert not service.answer(none).any()
    everything = np.bitwise_xor.reduce(service.rows)
    by_group = service.answer(~none).reshape(clients, 3, 4, 40)
    assert (np.bitwise_xor.reduce(by_group, axis=2) == everything).all()


@pytest.mark.parametrize("clients", [1, 8])
def test_two_servers_give_the_row(clients):
    """A key for each sub-database, expanded and answered at each of two servers; also where no row stands."""
    service = Service(1000, 488, 8, 7)
    indices = service.rng.integers(0, 128, (clients, 24)).astype(np.uint32)
    keys = dpf.generate(indices.reshape(-1), 7)
    first, second = (
        service.answer(dpf.expand(server, 7).reshape(clients, 24, 16)).astype(np.uint8) for server in keys
    )
    stands_at = [{int(place): row for row, place in enumerate(group)} for group in service.places]
    found = 0
    for client in range(clients):
        for sub in range(24):
            row = stands_at[sub // 8].get(sub % 8 << 7 | int(indices[client, sub]))
            wanted = service.rows[row] if row is not None else np.zeros(488, np.uint8)
            assert (first[client, sub] ^ second[client, sub] == wanted).all()
            assert first[client, sub].any()
            found += row is not None
    assert found > 0


def test_parts_of_the_rows_add_up():
    service = Service(700, 64, 4, 8)
    selections = service.selections(5)
    parts = [
        answer(service.rows[a:b], selections, arrange(service.places[:, a:b], 8, 4))
        for a, b in ((0, 300), (300, 301), (301, 700))
    ]
    assert (np.bitwise_xor.reduce(parts) == service.answer(selections)).all()


def test_blocks_of_the_largest_size():
    """2,048 rows, and what is left over; every row of it selected by one of two clients, none by both."""
    service = Service(5000, 8, 512, 4)
    assert service.arrangement.block == 2048
    selections = service.selections(1)
    selections = np.concatenate([selections, ~selections])
    assert (service.answer(selections) == service.expected(selections)).all()


@pytest.mark.parametrize("clients", [1, 2])
def test_rows_are_read_from_a_read_only_map(tmp_path, clients):
    service = Service(300, 40, 4, 7)
    selections = service.selections(clients)
    (tmp_path / "rows").write_bytes(service.rows.tobytes())
    with (
        (tmp_path / "rows").open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
    ):
        rows = np.frombuffer(mapped, np.uint8).reshape(300, 40)
        found = answer(rows, selections, service.arrangement)
        del rows
    assert (found == service.answer(selections)).all()
    assert service.rows.flags.writeable, "whose own array is left as it was"


# --- what is refused -----------------------------------------------------------------------------------


def test_selections_of_another_shape():
    service = Service(100, 16, 4, 6)
    good = service.selections(2)
    for wrong in (good[0], good[:, :-1], good[:, :, :-1], good.astype(np.int64), good.reshape(2, 24, 4)):
        with pytest.raises(BadInput, match=r"selections are no uint8\[clients, 12, 8\]"):
            service.answer(wrong)
    assert service.answer(good[:0]).shape == (0, 12, 16)


def test_rows_that_are_not_those_of_the_arrangement():
    service = Service(100, 16, 4, 6)
    selections = service.selections(1)
    for wrong, message in (
        (service.rows[:99], "99 rows, and places for 100"),
        (service.rows[:, :12].copy(), "rows of 12 octets"),
        (service.rows[:, :0].copy(), "rows of 0 octets"),
        (service.rows[:, :8], "one after another"),
        (service.rows[::-1], "one after another"),
        (service.rows.view(np.uint16), "no uint8"),
        (service.rows.reshape(-1), "no uint8"),
        (np.empty(1601, np.uint8)[1:].reshape(100, 16), "no whole words"),
    ):
        with pytest.raises(BadInput, match=message):
            answer(wrong, selections, service.arrangement)


def test_places_that_there_are_not():
    places = np.zeros((3, 9), np.uint32)
    places[2, 5] = 4 << 6
    with pytest.raises(BadInput, match="a row stands at place 256, in none of 4 sub-databases"):
        arrange(places, 6, 4)
    for wrong in (places[:2], places[0], places.astype(np.int64)):
        with pytest.raises(BadInput, match=r"no uint32\[3, rows\]"):
            arrange(wrong, 7, 4)
    for position_bits, a_group in ((2, 4), (6, 0), (6, -4), (33, 1)):
        with pytest.raises(BadInput, match="no sub-databases"):
            arrange(places, position_bits, a_group)


def test_an_arrangement_keeps_its_own_places():
    """What was checked cannot be changed by who gave it."""
    places = np.zeros((3, 9), np.uint32)
    arrangement = arrange(places, 3, 1)
    places[:] = 0xFFFF_FFFF
    assert not arrangement.places.any()
    assert arrangement.order.dtype == np.uint16
    assert answering.GROUPS == 3
