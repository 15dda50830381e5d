"""All parts together: a client finds its members at two servers, and a lie of one of them shows nothing."""

import numpy as np
import pytest

from contactsync.foundation.errors import BadDirectory
from contactsync.kernels import placing
from contactsync.lookup.answer import answer, arrange
from contactsync.lookup.batch import STEPS, Sharing, plan_batch
from contactsync.lookup.dpf import expand, generate
from contactsync.lookup.row_file import open_rows
from contactsync.lookup.rows import read_rows
from contactsync.tokens import Tokens


class Server:
    """One of the two: it has the rows, verified, and answers keys."""

    def __init__(self, made, sharing):
        self.records, _ = open_rows(made.path, made.geometry, made.rows.root)
        self.bits = sharing.position_bits
        places = np.empty((3, made.geometry.rows), np.uint32)
        placing.permute(0, sharing.row_bits, STEPS, places)
        self.arrangement = arrange(places, sharing.position_bits, sharing.a_group)

    def answer(self, keys):
        return answer(self.records, expand(keys, self.bits)[None], self.arrangement)[0]


@pytest.mark.slow
@pytest.mark.parametrize(("count", "size"), [(5000, 8), (600_000, 64), (600_000, 512), (900_000, 512)])
def test_members_are_found_and_strangers_are_not(make_rows, count, size):
    made = make_rows(count, 40 if count == 900_000 else 32)
    sharing = Sharing(size, made.geometry.slot_bits - 6)
    one, other = Server(made, sharing), Server(made, sharing)
    rng = np.random.default_rng(size)
    members = made.tokens.take(rng.choice(count, size // 2, replace=False))
    octets = rng.integers(0, 256, (size - size // 2, 10), dtype=np.uint8)
    book = Tokens.concatenate([members, Tokens.from_bytes(octets)])

    plan = plan_batch(made.geometry.row_of(book), sharing)
    first, second = generate(plan.position.ravel(), sharing.position_bits)
    answers = one.answer(first), other.answer(second)
    rows = read_rows(answers[0] ^ answers[1], plan.row.ravel(), made.level, made.geometry)
    asked = book.take(plan.query)
    of_each = rows.take(plan.answer)
    assert np.array_equal(of_each.contains(asked), plan.query < size // 2)
    assert plan.query.size >= size - 2

    # A server that lies in one octet of any answer is found out.
    for sub_database in rng.choice(sharing.sub_databases, 5):
        lie = answers[0].copy()
        lie[sub_database, rng.integers(lie.shape[1])] ^= 1
        with pytest.raises(BadDirectory, match="all of it was discarded"):
            read_rows(lie ^ answers[1], plan.row.ravel(), made.level, made.geometry)
