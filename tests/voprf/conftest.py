import pytest


@pytest.fixture(autouse=True)
def _at_both_widths(lanes):
    """Everything here holds at either width of the engine."""
