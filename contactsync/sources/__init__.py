"""Where address books are: files, folders, standard input. The one part that reads them off the machine."""

from contactsync.sources.files import read_address_books

__all__ = ["read_address_books"]
