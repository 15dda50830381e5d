"""The simulated CardDAV server, and an account there."""

from simulated_carddav import dav, fetch, other_dav
from simulated_service import hurry

__all__ = ["dav", "fetch", "hurry", "other_dav"]
