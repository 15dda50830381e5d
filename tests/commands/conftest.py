"""The simulated service, for the commands of a client."""

from simulated_service import hurry, other_person, person, service

__all__ = ["hurry", "other_person", "person", "service"]
