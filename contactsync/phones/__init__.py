"""Reads phone numbers in bulk: from a list or a table to E.164 numbers as integers."""

from contactsync.phones.bulk import NumberBatch, Refusal, read_numbers
from contactsync.phones.layout import Columns

__all__ = ["Columns", "NumberBatch", "Refusal", "read_numbers"]
