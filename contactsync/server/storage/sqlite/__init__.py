"""Members and accounts in a SQLite file each."""
