"""Fingerprints of servers, as people compare them."""

from contactsync.publication.tuf.follower import grouped, root_fingerprint

__all__ = ["grouped", "root_fingerprint"]
