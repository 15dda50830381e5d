"""What a server may learn: the modes of `Options.privacy`, with what each means. It imports nothing heavy."""

from contactsync.client.privacy import DEFAULT, MODES

__all__ = ["DEFAULT", "MODES"]
