"""A simulated service whose editions have rows."""

import pytest
from simulated_service import hurry, service  # noqa: F401 - fixtures


@pytest.fixture
def publisher(service):  # noqa: F811
    """The service; its members are in three partitions, one of them large enough for look-ups."""
    service.has_rows = True
    service.crowd = {"49": 4000}
    return service
