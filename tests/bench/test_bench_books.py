"""That what the bench of address books measures can still be read: nothing else makes such books."""

import pytest

from bench import books


@pytest.mark.parametrize("case", dict(books.CASES))
def test_every_case_is_read(case):
    row = books.measured(case, 3)
    assert row["contacts"] == 3
    assert row["seconds"] > 0
