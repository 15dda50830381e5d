"""Reads address books from where they are: files, folders, standard input, or fetched from a server."""

from contactsync.sources.fetched import FetchedBook
from contactsync.sources.files import read_address_books

__all__ = ["FetchedBook", "read_address_books"]
