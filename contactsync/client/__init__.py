"""The client: sync, cache, transport."""
