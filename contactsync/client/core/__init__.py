"""A sync without I/O: what follows from what is known, what has to be fetched or asked, and what came of it.

Nothing here opens a file, a socket or a database (held by import-linter). The session does that, and hands in
what it read: see `states` for the chain, `mode` for what a privacy mode has to offer.
"""
