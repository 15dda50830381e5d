"""The client: sync pipeline, cache, transport."""
