"""Private look-up at two servers: rows that verify, batches of queries, point functions. docs/lookup.md.

The parts alone, as pure functions; `server serve --private-lookup` answers by them.
"""
