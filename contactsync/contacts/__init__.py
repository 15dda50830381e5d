"""Address books in: vCard 2.1 to 4.0, Google, Outlook and plain CSV, plain lists."""

from contactsync.contacts.book import NO_NAME, AddressBook, Contact, Unreadable
from contactsync.contacts.sources import read_address_books

__all__ = ["NO_NAME", "AddressBook", "Contact", "Unreadable", "read_address_books"]
