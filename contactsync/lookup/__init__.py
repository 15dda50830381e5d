"""Private look-up at two servers: rows that verify, batches of queries, point functions. docs/lookup.md.

Pure functions, for the publisher, the two servers and the client alike.
"""
