"""The passphrase of a server's keys, as commands and programs change it."""

from contactsync.server.keyring import Keyring
from contactsync.server.passphrases import change_passphrase
from contactsync.server.sealing import read_passphrase
from contactsync.server.settings import DataFolder

__all__ = ["DataFolder", "Keyring", "change_passphrase", "read_passphrase"]
