"""What is known from other address books, once everybody in one was looked up in another table."""

import json

import numpy as np
import pytest

from contactsync.client.cache import Cache
from contactsync.client.core.row_lookups import LastTable
from contactsync.client.last_table import keep_table, recall_table
from contactsync.tokens import TOKEN_BYTES, Tokens

ANNA, BODO, CARL = b"tel:+491512345671", b"tel:+491512345672", b"tel:+33612345673"


@pytest.fixture
def cache(tmp_path):
    with Cache(tmp_path / "cache.sqlite", "http://one.example") as cache:
        yield cache


def finish(cache, book, edition, *, audience="people", anew=False):
    rows = np.frombuffer(b"".join(i[-TOKEN_BYTES:] for i in book), np.uint8).reshape(-1, TOKEN_BYTES)
    cache.add_tokens(audience, 1, book, Tokens.from_bytes(rows), np.zeros((len(book), 32), np.uint8))
    member = np.ones(len(book), np.bool_)
    cache.finish(audience, 1, book, member=member, edition=np.array(edition), holdings={}, anew=anew)


def editions(cache, audience="people"):
    return cache.tokens(audience, 1, [ANNA, BODO, CARL]).edition.tolist()


def test_who_was_not_among_them_is_looked_up_again_and_stays_a_member_until_then(cache):
    finish(cache, [ANNA, BODO], [3, 3])
    finish(cache, [ANNA, BODO, CARL], [3, 3, 0], audience="business")
    finish(cache, [CARL], [4], anew=True)
    assert editions(cache) == [0, 0, 4]
    assert cache.tokens("people", 1, [ANNA, BODO]).member.all()
    assert editions(cache, "business") == [3, 3, 0]


def test_nobody_else_is_touched_where_only_new_ones_were_asked_for(cache):
    finish(cache, [ANNA], [3])
    finish(cache, [BODO], [3])
    assert editions(cache) == [3, 3, -1]


def test_a_last_look_up_that_an_earlier_version_kept_is_none(tmp_path):
    """It does not say whether labels were wanted: everybody is asked for once."""
    path = tmp_path / "rows.json"
    last = LastTable("0" * 64, 1, 3, ("tel:+491512345671",), True)
    keep_table(path, "people", last)
    assert recall_table(path, "people") == last
    kept = json.loads(path.read_bytes())
    del kept["audiences"]["people"]["labels"]
    path.write_text(json.dumps(kept))
    assert recall_table(path, "people") is None
