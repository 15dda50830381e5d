"""Answers: against a twin in plain integers, through both servers to the row, in parts; what is refused."""

import mmap

import numpy as np
import pytest

from contactsync.foundation.errors import BadInput
from contactsync.lookup import dpf
from contactsync.lookup.answer import RowLayout, answer
from contactsync.lookup.batch import Sharing

HASH = 32


def twin(records, selections, sharing):
    """docs/lookup.md, "The answer": one client, one sub-database, one whole record at a time."""
    numbers = [int.from_bytes(record.tobytes(), "little") for record in records]
    sub, position = sharing.place(np.arange(len(records), dtype=np.uint32))
    out = np.empty((*selections.shape[:2], records.shape[1]), np.uint8)
    for client, of_client in enumerate(selections):
        sums = [0] * sharing.sub_databases
        for group in range(3):
            for number, u, p in zip(numbers, sub[group].tolist(), position[group].tolist(), strict=True):
                at = group * sharing.a_group + u
                if of_client[at, p // 8] >> p % 8 & 1:
                    sums[at] ^= number
        out[client] = [list(total.to_bytes(records.shape[1], "little")) for total in sums]
    return out


class Service:
    """Random contents and hashes: whole records, and blocks that have each hash once."""

    def __init__(self, blocks, content, *, size=8, row_bits=10, fold=0, path=0, seed=1):
        self.rng = np.random.default_rng(seed)
        self.size, self.layout = size, RowLayout(row_bits, fold, content, path)
        self.sharing = Sharing(size, row_bits, fold)
        rows = blocks << fold
        contents = self._octets(rows, content)
        parts, path_parts = [contents.reshape(blocks, -1)], [contents]
        for height in range(fold):
            siblings = self._octets(rows >> height, HASH)
            parts.append(siblings.reshape(blocks, -1))
            path_parts.append(np.repeat(siblings, 1 << height, axis=0))
        onward = self._octets(blocks, path)
        parts.append(onward)
        path_parts.append(np.repeat(onward, 1 << fold, axis=0))
        self.blocks = np.concatenate(parts, axis=1)
        self.records = np.concatenate(path_parts, axis=1)

    def _octets(self, n, width):
        return self.rng.integers(0, 256, (n, width), np.uint8)

    def selections(self, clients):
        octets = (1 << self.sharing.position_bits) // 8
        return self.rng.integers(0, 256, (clients, self.sharing.sub_databases, octets), np.uint8)

    def answer(self, selections):
        return answer(self.blocks, selections, self.size, self.layout)

    def check(self, clients):
        selections = self.selections(clients)
        assert (self.answer(selections) == twin(self.records, selections, self.sharing)).all()


@pytest.mark.parametrize("clients", [1, 2, 8, 9, 17])
def test_clients_get_what_the_twin_says(clients):
    Service(500, 72).check(clients)


@pytest.mark.parametrize("clients", [1, 3])
@pytest.mark.parametrize("width", [8, 24, 32, 56, 64, 96, 104, 128, 160, 248, 488])
def test_rows_of_any_width(width, clients):
    Service(130, width, seed=width).check(clients)
    Service(33, width, fold=2, path=8, seed=width).check(clients)


@pytest.mark.parametrize("clients", [1, 3, 8])
@pytest.mark.parametrize("path", [0, 32, 96, 192])
@pytest.mark.parametrize("fold", range(7))
def test_blocks_of_any_size(fold, path, clients):
    """Each hash is stored once, and answered as if each record had all of its path."""
    service = Service(11, 160, row_bits=11, fold=fold, path=path, seed=fold)
    assert service.layout.width == 160 + HASH * fold + path == service.records.shape[1]
    service.check(clients)


def test_a_full_table():
    """Each place has a row, so that the last block is next to nothing."""
    Service(1 << 6, 64, row_bits=9, fold=3, path=32).check(2)
    Service(1 << 9, 64, row_bits=9).check(2)


@pytest.mark.parametrize("clients", [1, 8])
@pytest.mark.parametrize("size", [8, 64, 512])
@pytest.mark.parametrize("fold", [0, 3])
def test_few_and_many_sub_databases(fold, size, clients):
    Service(37, 16, size=size, row_bits=12, fold=fold).check(clients)


@pytest.mark.parametrize("clients", [1, 2])
@pytest.mark.parametrize("fold", [0, 4])
def test_none_selected_and_all(fold, clients):
    service = Service(64 >> fold, 40, row_bits=6, fold=fold)
    none = np.zeros_like(service.selections(clients))
    assert not service.answer(none).any()
    everything = np.bitwise_xor.reduce(service.records)
    by_group = service.answer(~none).reshape(clients, 3, 4, -1)
    assert (np.bitwise_xor.reduce(by_group, axis=2) == everything).all()


@pytest.mark.parametrize("clients", [1, 8])
@pytest.mark.parametrize("fold", [0, 5])
def test_two_servers_give_the_record(fold, clients):
    """A key for each sub-database, expanded and answered at each of two servers; also where no row stands."""
    service = Service(900 >> fold, 384, size=64, row_bits=10, fold=fold, path=64)
    sharing = service.sharing
    indices = service.rng.integers(0, 1 << sharing.position_bits, (clients, 96)).astype(np.uint32)
    keys = dpf.generate(indices.reshape(-1), sharing.position_bits)
    octets = dpf.selection_length(sharing.position_bits)
    first, second = (
        service.answer(dpf.expand(server, sharing.position_bits).reshape(clients, 96, octets))
        for server in keys
    )
    found = 0
    for client in range(clients):
        rows = sharing.rows_at(indices[client].reshape(3, 32)).ravel().tolist()
        for sub, row in enumerate(rows):
            there = row < len(service.records)
            wanted = service.records[row] if there else np.zeros(service.layout.width, np.uint8)
            assert (first[client, sub] ^ second[client, sub] == wanted).all()
            found += there
    assert 0 < found < 96 * clients
    assert first.any(axis=2).mean() > 0.8, "alone, an answer shows nothing"


@pytest.mark.parametrize("fold", [0, 2])
def test_parts_of_the_rows_add_up(fold):
    service = Service(100, 64, fold=fold, path=32)
    selections = service.selections(5)
    parts = [
        answer(service.blocks[a:b], selections, 8, service.layout, first=a)
        for a, b in ((0, 40), (40, 41), (41, 100), (100, 100))
    ]
    assert (np.bitwise_xor.reduce(parts) == service.answer(selections)).all()


@pytest.mark.parametrize("clients", [1, 2])
def test_rows_are_read_from_a_read_only_map(tmp_path, clients):
    service = Service(300, 40)
    selections = service.selections(clients)
    (tmp_path / "rows").write_bytes(service.blocks.tobytes())
    with (
        (tmp_path / "rows").open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
    ):
        rows = np.frombuffer(mapped, np.uint8).reshape(300, 40)
        found = answer(rows, selections, 8, service.layout)
        del rows
    assert (found == service.answer(selections)).all()
    assert service.blocks.flags.writeable, "whose own array is left as it was"


# --- what is refused -----------------------------------------------------------------------------------


def test_selections_of_another_shape():
    service = Service(100, 16, row_bits=8)
    good = service.selections(2)
    for wrong in (good[0], good[:, :-1], good[:, :, :-1], good.astype(np.int64), good.reshape(2, 24, 4)):
        with pytest.raises(BadInput, match=r"selections are no uint8\[clients, 12, 8\]"):
            service.answer(wrong)
    assert service.answer(good[:0]).shape == (0, 12, 16)


def test_blocks_that_are_not_those_of_the_layout():
    service = Service(100, 16, row_bits=8)
    selections = service.selections(1)
    for wrong, message in (
        (service.blocks[:, :8].copy(), "blocks of 8 octets, not of 16"),
        (service.blocks[:, :8], "one after another"),
        (service.blocks[::-1], "one after another"),
        (service.blocks.view(np.uint16), "no uint8"),
        (service.blocks.reshape(-1), "no uint8"),
        (np.empty(1601, np.uint8)[1:].reshape(100, 16), "in whole words"),
        (np.zeros((257, 16), np.uint8), "257 blocks from 0 on"),
    ):
        with pytest.raises(BadInput, match=message):
            answer(wrong, selections, 8, service.layout)
    for first in (-1, 157):
        with pytest.raises(BadInput, match=f"100 blocks from {first} on, of 2\\^8 rows"):
            answer(service.blocks, selections, 8, service.layout, first)


@pytest.mark.parametrize(
    "numbers", [(8, 0, 12, 0), (8, 0, 0, 0), (8, 2, 16, 4), (8, -1, 16, 0), (8, 9, 16, 0), (8, 0, 16, -8)]
)
def test_layouts_that_there_are_not(numbers):
    with pytest.raises(BadInput):
        RowLayout(*numbers)


def test_blocks_that_are_in_no_sub_database():
    service = Service(1, 16, row_bits=9, fold=6)
    with pytest.raises(BadInput, match=r"no blocks of 2\^6 rows are in parts of 2\^4"):
        answer(service.blocks, np.zeros((1, 96, 2), np.uint8), 64, service.layout)
