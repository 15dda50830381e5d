"""Backups of a data folder, and the way back, as commands and programs use them."""

from contactsync.server.backups.archive import BackupFacts
from contactsync.server.backups.making import Made, back_up
from contactsync.server.backups.restoring import BEFORE, Restored, restore, undo
from contactsync.server.settings import DataFolder
from contactsync.server.storage.opening import read_address

__all__ = [
    "BEFORE",
    "BackupFacts",
    "DataFolder",
    "Made",
    "Restored",
    "back_up",
    "read_address",
    "restore",
    "undo",
]
