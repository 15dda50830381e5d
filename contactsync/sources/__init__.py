"""Reads address books from where they are: files, folders, standard input."""

from contactsync.sources.files import read_address_books

__all__ = ["read_address_books"]
