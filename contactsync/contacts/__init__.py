"""Address books: vCard, jCard, xCard, LDIF, FRITZ!Box, Google, Outlook and plain CSV, lists. No I/O."""

from contactsync.contacts.book import NO_NAME, AddressBook, Contact, Unreadable

__all__ = ["NO_NAME", "AddressBook", "Contact", "Unreadable"]
