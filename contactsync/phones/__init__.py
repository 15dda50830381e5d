"""Phone numbers in bulk: a list or a CSV in, E.164 numbers as integers out."""

from contactsync.phones.bulk import NumberBatch, Refusal, read_numbers

__all__ = ["NumberBatch", "Refusal", "read_numbers"]
