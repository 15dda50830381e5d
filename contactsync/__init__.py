"""contactsync: contact discovery that does not hand your address book to anybody."""

__version__ = "0.1.0"
