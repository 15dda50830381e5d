"""Reads phone numbers in bulk: from a list or a table to E.164 numbers as integers; and tables of people."""

from contactsync.phones.bulk import NumberBatch, Refusal, read_numbers
from contactsync.phones.layout import Columns
from contactsync.phones.people import PeopleBatch, Person, read_people

__all__ = ["Columns", "NumberBatch", "PeopleBatch", "Person", "Refusal", "read_numbers", "read_people"]
