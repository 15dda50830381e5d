"""All parts together: a client finds its members at two servers, and a lie of one of them shows nothing."""

import numpy as np
import pytest

from contactsync.foundation.errors import BadDirectory
from contactsync.lookup.answer import answer
from contactsync.lookup.batch import Sharing, plan_batch
from contactsync.lookup.dpf import expand, generate
from contactsync.lookup.rows import Places
from contactsync.lookup.table import read_records
from contactsync.lookup.table_file import open_table
from contactsync.tokens import Tokens


class Server:
    """One of the two: it has the rows, verified, and answers keys."""

    def __init__(self, made, sharing):
        self.blocks = open_table(made.path, made.table, made.built.root)
        self.bits, self.size, self.layout = sharing.position_bits, sharing.size, made.table.layout

    def answer(self, keys):
        return answer(self.blocks, expand(keys, self.bits)[None], self.size, self.layout)[0]


SMALL = {"1": 600, "49": 5000, "mailto": 40}
LARGE = {"1": 600_000, "49": 300_000, "39": 90_000, "351": 3, "mailto": 70_000}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("counts", "size", "r", "fold"),
    [(SMALL, 8, 40, 0), (LARGE, 64, 32, 0), (LARGE, 512, 40, 0), (LARGE, 8, 32, 1), (LARGE, 512, 40, 2)],
)
def test_members_are_found_and_strangers_are_not(make_table, counts, size, r, fold):
    """In one batch, whatever partitions they are of, and in blocks of whatever size."""
    made = make_table(counts, r, fold=fold)
    sharing = Sharing(size, made.table.row_bits, fold)
    one, other = Server(made, sharing), Server(made, sharing)
    rng = np.random.default_rng(size)
    wanted, truth = [], []
    for place, (name, tokens) in enumerate(made.tokens.items()):
        share = size // len(counts) + (place < size % len(counts))
        many = min(share // 2 + 1, counts[name])
        octets = rng.integers(0, 256, (share - many, 10), dtype=np.uint8)
        chosen = tokens.take(rng.choice(counts[name], many, replace=False))
        both = Tokens.concatenate([chosen, Tokens.from_bytes(octets)])
        wanted.append(made.table.places(name, both))
        truth += [True] * many + [False] * (share - many)
    book, truth = Places.concatenate(wanted), np.array(truth)
    assert len(truth) == size

    plan = plan_batch(book.row, sharing)
    if size > 8:  # of twelve places, by chance none is
        assert (plan.row >= made.table.total).any(), "some dummies ask where no row is"
    first, second = generate(plan.position.ravel(), sharing.position_bits)
    answers = one.answer(first), other.answer(second)
    numbers = plan.row.ravel()
    rows = read_records(answers[0] ^ answers[1], numbers, made.level, made.table)
    found = rows.take(plan.answer).contains(book.take(plan.query))
    assert np.array_equal(found, truth[plan.query])
    assert plan.query.size >= size - 2

    # A server that lies in one octet of any answer is found out, also where no row is.
    empty = np.flatnonzero(numbers >= made.table.total)
    for sub_database in [*rng.choice(sharing.sub_databases, 5), *empty[:3]]:
        lie = answers[0].copy()
        lie[sub_database, rng.integers(lie.shape[1])] ^= 1
        with pytest.raises(BadDirectory, match="all of it was discarded"):
            read_records(lie ^ answers[1], numbers, made.level, made.table)
