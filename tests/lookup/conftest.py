"""A directory and its rows, made once."""

import numpy as np
import pytest

from contactsync.directory import build, open_directory
from contactsync.lookup.row_file import build_rows
from contactsync.lookup.rows import check_level
from contactsync.tokens import Tokens


class Made:
    """Tokens, their directory, its rows as the file has them, and what a client keeps."""

    def __init__(self, folder, count, remainder_bits):
        octets = np.random.default_rng(count).integers(0, 256, (count, 10), dtype=np.uint8)
        self.tokens = Tokens.from_bytes(octets)
        self.info = build(folder / "directory", [self.tokens], remainder_bits=remainder_bits)
        self.path = folder / "rows"
        with open_directory(folder / "directory", expect=self.info) as directory:
            self.rows = build_rows(self.path, directory)
        self.geometry = self.rows.geometry
        self.geometry.check(self.info)
        self.records = np.fromfile(self.path, np.uint8).reshape(-1, self.geometry.width)
        self.level = check_level(self.rows.level.tobytes(), self.geometry, self.rows.root)

    @property
    def values(self):
        """As ints of q + r bits."""
        shift = 80 - self.info.slot_bits - self.info.remainder_bits
        return [int.from_bytes(row.tobytes()) >> shift for row in self.tokens.to_bytes()]


@pytest.fixture(scope="session")
def make_rows(tmp_path_factory):
    made = {}

    def make(count, remainder_bits=32):
        if (count, remainder_bits) not in made:
            made[count, remainder_bits] = Made(tmp_path_factory.mktemp("rows"), count, remainder_bits)
        return made[count, remainder_bits]

    return make
