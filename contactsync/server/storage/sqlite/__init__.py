"""Members and accounts, each in a SQLite file."""
