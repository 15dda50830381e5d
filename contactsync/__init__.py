"""contactsync: contact discovery that does not give your address book to anyone."""

__version__ = "0.1.0"
