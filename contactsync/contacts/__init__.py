"""Address books: vCard 2.1 to 4.0, Google, Outlook and plain CSV, plain lists. Bytes in, no I/O."""

from contactsync.contacts.book import NO_NAME, AddressBook, Contact, Unreadable

__all__ = ["NO_NAME", "AddressBook", "Contact", "Unreadable"]
