"""Reads phone numbers in bulk: from a list or a CSV to E.164 numbers as integers."""

from contactsync.phones.bulk import NumberBatch, Refusal, read_numbers

__all__ = ["NumberBatch", "Refusal", "read_numbers"]
