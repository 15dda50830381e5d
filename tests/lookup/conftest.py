"""Directories and the table of their rows, made once."""

import contextlib

import numpy as np
import pytest
from row_blocks import records_of

from contactsync.directory import build, open_directory
from contactsync.directory.sidecar import open_sidecar
from contactsync.directory.sidecar_build import build_sidecar
from contactsync.lookup.table import check_level
from contactsync.lookup.table_file import build_table
from contactsync.tokens import Tokens


class Made:
    """Tokens of each partition, their directories, the table as the file has it, and what a client keeps.

    `sizes`: name → S, of partitions with labels. `entries`: name → those of the tokens.
    """

    def __init__(self, folder, counts, remainder_bits, sizes, fold):
        self.remainder_bits = remainder_bits
        self.tokens, self.infos, self.entries = {}, {}, {}
        self.path = folder / "rows"
        with contextlib.ExitStack() as opened:
            directories, sidecars = {}, {}
            for name, count in counts.items():
                seed = [count, *name.encode()]
                octets = np.random.default_rng(seed).integers(0, 256, (count, 10), dtype=np.uint8)
                self.tokens[name] = Tokens.from_bytes(octets)
                self.infos[name] = build(folder / name, [self.tokens[name]], remainder_bits=remainder_bits)
                directory = opened.enter_context(open_directory(folder / name, expect=self.infos[name]))
                directories[name] = directory
                if name in sizes:
                    random = np.random.default_rng([*seed, 1])
                    self.entries[name] = random.integers(1, 256, (count, 16 + sizes[name]), dtype=np.uint8)
                    chunks = [(self.tokens[name], self.entries[name])]
                    info = build_sidecar(folder / f"{name}.labels", directory, chunks, size=sizes[name])
                    labels = open_sidecar(folder / f"{name}.labels", expect=info)
                    sidecars[name] = opened.enter_context(labels)
            self.built = build_table(self.path, directories, sidecars, fold)
            self.in_order = {name: one.entries(np.arange(one.count)) for name, one in sidecars.items()}
        self.table = self.built.table
        self.records = records_of(np.fromfile(self.path, np.uint8), self.table.layout)
        self.level = check_level(self.built.level, self.table, self.built.root)

    @property
    def parts(self):
        """Name → (q, values as ints of q + r bits), for the twin."""
        return {name: (info.slot_bits, self.values(name)) for name, info in self.infos.items()}

    def values(self, name):
        shift = 80 - self.infos[name].slot_bits - self.remainder_bits
        return [int.from_bytes(row.tobytes()) >> shift for row in self.tokens[name].to_bytes()]


@pytest.fixture(scope="session")
def make_table(tmp_path_factory):
    made = {}

    def make(counts, remainder_bits=32, sizes=(), fold=0):
        key = (*counts.items(), remainder_bits, *sizes, fold)
        if key not in made:
            made[key] = Made(tmp_path_factory.mktemp("rows"), counts, remainder_bits, dict(sizes), fold)
        return made[key]

    return make


@pytest.fixture(scope="session")
def make_rows(make_table):
    """The table of one partition, called "1"."""
    return lambda count, remainder_bits=32: make_table({"1": count}, remainder_bits)
