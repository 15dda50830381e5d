"""What a data folder is opened with: its settings, its keys, its stores, its log."""

from contactsync.server.keyring import Keyring
from contactsync.server.logs import LogFormat, set_up_logging
from contactsync.server.sealing import read_passphrase
from contactsync.server.settings import DataFolder
from contactsync.server.storage.opening import open_members
from contactsync.server.storage.ports import MemberStore

__all__ = [
    "DataFolder",
    "Keyring",
    "LogFormat",
    "MemberStore",
    "open_members",
    "read_passphrase",
    "set_up_logging",
]
