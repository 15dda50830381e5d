"""Where members and accounts are kept: ports, and an implementation for each kind of storage."""
