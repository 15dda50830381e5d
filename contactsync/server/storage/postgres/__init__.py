"""The stores in a PostgreSQL database. Nothing imports this package before a data folder names a database."""
