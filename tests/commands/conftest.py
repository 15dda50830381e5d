"""The simulated service, for the commands of a client; and a person with a configuration and two of them."""

from configured_desk import configured, other_service
from simulated_service import hurry, other_person, person, service

__all__ = ["configured", "hurry", "other_person", "other_service", "person", "service"]
