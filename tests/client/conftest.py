"""The simulated service, for the client's parts."""

import pytest
from simulated_service import hurry, other_person, person, service

__all__ = ["hurry", "other_person", "person", "service"]


def with_patches(service, crowd):
    """Publish thirty members among a crowd; their partition keeps its base from then on."""
    service.crowd = {"49": crowd}
    service.publish(*(f"+49151{i:07}" for i in range(30)))
    service.patched = frozenset({"49"})
    return service


@pytest.fixture
def patched(service):
    """Some two thousand, so that a few changes are less than their base."""
    return with_patches(service, 2000)


@pytest.fixture
def screened(service):
    """So many that screen mode fetches a screen."""
    return with_patches(service, 400_000)
