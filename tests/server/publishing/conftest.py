"""What tests of publishing share."""

import pytest
from publishing_tools import copy_of


@pytest.fixture
def prepared(original, tmp_path):
    """The original in a folder of its own."""
    operator = copy_of(original, tmp_path / "prepared")
    yield operator
    operator.close()
