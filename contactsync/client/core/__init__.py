"""A sync without I/O: it decides what to fetch and what to ask, and works out the result.

Nothing here opens a file, a socket or a database (import-linter checks this). The session does that, and
passes in what it read. `states` has the chain of states; `mode` has the interface of a privacy mode.
"""
