"""A simulated service whose editions have rows; and where the tools of a real one are."""

import sys
from pathlib import Path

import pytest
from simulated_service import hurry, service  # noqa: F401 - fixtures

sys.path.insert(0, str(Path(__file__).parents[1] / "server"))


@pytest.fixture
def publisher(service):  # noqa: F811
    """The service; its members are in three partitions, one of them large enough for look-ups."""
    service.has_rows = True
    service.crowd = {"49": 4000}
    return service
