"""Storage of members, accounts and publications: ports, and an implementation for each kind of storage."""
