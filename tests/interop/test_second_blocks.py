"""Tables in blocks, made by the product, read and made again by the second client: each f that they have."""

import hashlib

import numpy as np
import pytest
import xxhash
from row_blocks import records_of
from second_client import Directory, Disbelieved
from second_rows import Table, place, read_answers

from contactsync.directory import build, open_directory
from contactsync.lookup.batch import Sharing
from contactsync.lookup.table_file import build_table
from contactsync.tokens import Tokens

COUNTS = {"1": 600_000, "49": 300_000, "351": 3}


class Made:
    """A table of 2^13 + 2^12 + 64 rows in blocks of 2^fold, and the members of a manifest that state it."""

    def __init__(self, folder, fold):
        rng = np.random.default_rng(fold)
        opened, partitions, self.tokens, self.bases = {}, {}, {}, {}
        for name, count in COUNTS.items():
            octets = rng.integers(0, 256, (count, 10), np.uint8)
            self.tokens[name] = Tokens.from_bytes(octets)
            info = build(folder / name, [self.tokens[name]])
            opened[name] = open_directory(folder / name, expect=info)
            partitions[name] = {
                "slot_bits": info.slot_bits, "remainder_bits": 32, "count": info.count,
                "top_sha256": info.top_sha256, "base": {"length": info.file.length},
            }  # fmt: skip
            self.bases[name] = (folder / name).read_bytes()
        self.built = build_table(folder / "rows", opened, None, fold)
        self.records = records_of(np.fromfile(folder / "rows", np.uint8), self.built.table.layout)
        self.level = self.built.level
        file = {
            "length": len(self.level),
            "sha256": hashlib.sha256(self.level).hexdigest(),
            "xxh3_64": xxhash.xxh3_64_hexdigest(self.level),
        }
        rows = {"fold": fold, "labels": False, "level": file, "most": self.built.table.shape.most}
        self.manifest = {"partitions": partitions, "unusable": [], "folded_rows": rows}


@pytest.fixture(scope="module", params=[1, 2])
def made(tmp_path_factory, request):
    return Made(tmp_path_factory.mktemp("blocks"), request.param)


@pytest.mark.slow
def test_the_table_is_made_again_octet_by_octet(made):
    table = Table(made.manifest)
    assert (table.b, table.depth, table.labelled) == (14, 2, False)
    directories = {
        name: Directory(one, lambda start, end, data=made.bases[name]: data[start:end])
        for name, one in made.manifest["partitions"].items()
    }
    assert table.make(directories, {}) == (table.most, made.level)


@pytest.mark.slow
def test_tokens_have_the_same_rows_and_places(made):
    table = Table(made.manifest)
    for name, tokens in made.tokens.items():
        some = tokens.take(np.arange(0, len(tokens), max(1, len(tokens) // 40)))
        numbers = made.built.table.places(name, some).row
        for octets, number in zip(some.to_bytes(), numbers.tolist(), strict=True):
            assert table.row_of(name, int.from_bytes(octets.tobytes(), "big")) == number
            assert table.part_of(number).name == name
        sub, position = Sharing(64, table.b, table.fold).place(numbers)
        for group in range(3):
            own = [place(table.b, table.fold, group, number) for number in numbers.tolist()]
            bits = table.b - 5
            assert own == [
                u << bits | p for u, p in zip(sub[group].tolist(), position[group].tolist(), strict=True)
            ]


@pytest.mark.slow
def test_records_prove_themselves_and_one_octet_discards_all(made):
    table = Table(made.manifest)
    level = table.level(made.level)
    rng = np.random.default_rng(9)
    asked = [*rng.choice(table.total, 10).tolist(), table.total, (1 << table.b) - 1]
    octets = [made.records[row].tobytes() if row < table.total else bytes(table.width) for row in asked]
    mask = rng.bytes(len(asked) * table.width)
    other = bytes(a ^ b for a, b in zip(b"".join(octets), mask, strict=True))
    records = read_answers(table, level, [asked], [(mask, other)])
    assert records == {row: octets[i] for i, row in enumerate(asked) if row < table.total}
    for at in rng.choice(len(other), 30).tolist():
        lie = bytearray(other)
        lie[at] ^= 1
        with pytest.raises(Disbelieved):
            read_answers(table, level, [asked], [(mask, bytes(lie))])


@pytest.mark.slow
def test_members_that_are_missing_are_refused(made):
    Table(made.manifest)
    for missing in ("fold", "labels", "level", "most"):
        rows = {name: value for name, value in made.manifest["folded_rows"].items() if name != missing}
        with pytest.raises(Disbelieved):
            Table(made.manifest | {"folded_rows": rows})
