"""The threads that evaluate batches. Cannot reach identifiers or contacts (held by import-linter)."""
