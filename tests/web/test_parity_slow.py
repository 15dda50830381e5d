"""Five hundred random books: see test_parity.py. A file of its own, as it takes minutes."""

import pytest
from javascript import needs_node
from test_parity import compared, crowd, served

__all__ = ["crowd", "served"]


@needs_node
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_five_hundred_books(tmp_path, monkeypatch, served, crowd):
    compared(tmp_path, monkeypatch, served, crowd, seed=2, count=500)
