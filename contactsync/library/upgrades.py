"""Upgrades of a data folder, as commands and programs do them."""

from contactsync.server.settings import DataFolder
from contactsync.server.upgrading import Upgrade, try_upgrade, upgrade

__all__ = ["DataFolder", "Upgrade", "try_upgrade", "upgrade"]
