"""The simulated service, for the client's parts."""

from simulated_service import hurry, other_person, person, service

__all__ = ["hurry", "other_person", "person", "service"]
