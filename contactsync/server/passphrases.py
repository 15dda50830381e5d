"""The passphrase of the keys: added, changed, removed, for all of them in one step.

All keys are sealed anew in a folder beside keys/, read back and compared. Then the two folders are exchanged,
which is one step of the file system, and the one with the old files is overwritten and removed. Whoever kills
this finds all keys under the old passphrase or all under the new one; what it leaves beside them is erased by
the next change or publish.
"""

from __future__ import annotations

from contactsync.foundation import durable, erasure
from contactsync.foundation.errors import BadInput, OurError
from contactsync.server.keyring import Keyring
from contactsync.server.settings import LOCK_WAIT, DataFolder

_BESIDE = "keys.sealing"


def change_passphrase(folder: DataFolder, old: bytes | None, new: bytes | None) -> int:
    """Seal all keys with another passphrase; how many they are. None is none.

    Raises BadInput (the old one is wrong, both are the same), Busy, OurError (a damaged key, the disk). Then
    all keys are as before.
    """
    beside = folder.path / _BESIDE
    with folder.lock(wait=LOCK_WAIT):
        erase_left_behind(folder)
        keyring = Keyring.open(folder.keys, old)
        if old == new:
            raise BadInput("the new passphrase is the old one", hint="nothing was changed")
        try:
            count = keyring.copy_to(beside, new)
            _check_same(keyring, Keyring.open(beside, new))
            durable.exchange(beside, folder.keys)
        except OSError as error:
            erase_left_behind(folder)
            raise OurError(
                f"the keys cannot be sealed anew: {error.strerror} ({error.filename})",
                hint="nothing was changed; the file system must be able to exchange folders",
            ) from error
        except OurError:
            erase_left_behind(folder)
            raise
        erase_left_behind(folder)
    return count


def _check_same(one: Keyring, other: Keyring) -> None:
    if one.secrets() != other.secrets():
        raise OurError("the keys were not written as they were read", hint="nothing was changed")


def erase_left_behind(folder: DataFolder) -> None:
    """Overwrite and remove what a change of the passphrase has left, or was killed before it did.

    Raises OurError if it cannot. Call it with the lock of the folder.
    """
    if remains := erasure.erase(folder.path / _BESIDE).remains:
        raise OurError(
            f"old key files cannot be erased: {remains[0].path}: {remains[0].reason}",
            hint="overwrite and remove them: they may be readable without the passphrase",
        )
