"""The log of a server and its witnesses, as the operator has them: `PublicLog`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from contactsync.library.signing import SigningRequest
from contactsync.publication.log.notes import Verifier
from contactsync.server.keyring import Keyring
from contactsync.server.settings import LOCK_WAIT, DataFolder
from contactsync.server.witnessed.changing import LogChanges
from contactsync.server.witnessed.keeper import LogKeeper
from contactsync.server.witnessed.state import LogStatus, WitnessStatus, log_status

__all__ = ["AskedWitness", "LogStatus", "PublicLog", "WitnessStatus"]


@dataclass(frozen=True, slots=True)
class AskedWitness:
    """What a witness said when it was asked: `failure` is empty if it has cosigned."""

    name: str
    failure: str


class PublicLog:
    """The log of one data folder: `Server.log`. Changes are new roots, made at once or (a request) prepared.

    A change raises BadInput, OurError, Busy, and NetworkError if too few witnesses answer.
    """

    def __init__(self, data: Path | str, passphrase: bytes | None = None) -> None:
        self._folder = DataFolder.existing(Path(data))
        self._passphrase = passphrase

    def status(self) -> LogStatus | None:
        """What the log is, and what witnesses have last said; None if there is none. Asks nobody."""
        return log_status(self._folder)

    def ask(self) -> list[AskedWitness]:
        """Have witnesses cosign who have not seen the newest checkpoint yet."""
        with self._folder.lock(wait=LOCK_WAIT):
            answers = LogKeeper(self._folder, self._keyring()).collect()
        return [AskedWitness(one.witness.name, one.failure) for one in answers]

    def enable(self, *, elsewhere: bool = False) -> SigningRequest | None:
        """Begin a log for a server that has none."""
        return self._changes(elsewhere=elsewhere).enable()

    def restart(self, *, elsewhere: bool = False) -> SigningRequest | None:
        """Begin another log, because this one is lost. Users have to accept it."""
        return self._changes(elsewhere=elsewhere).restart()

    def add_witness(
        self, vkey: str, url: str, *, quorum: int | None = None, elsewhere: bool = False
    ) -> SigningRequest | None:
        """Have a witness, asked at this URL, cosign from now on; `quorum` as in `set_quorum`."""
        return self._changes(elsewhere=elsewhere).add_witness(Verifier.parse(vkey), url, quorum)

    def remove_witness(
        self, witness: str, *, quorum: int | None = None, elsewhere: bool = False
    ) -> SigningRequest | None:
        """Do without a witness, given by name or key."""
        return self._changes(elsewhere=elsewhere).remove_witness(witness, quorum)

    def set_quorum(self, quorum: int, *, elsewhere: bool = False) -> SigningRequest | None:
        """Change how many witnesses must have cosigned what clients accept."""
        return self._changes(elsewhere=elsewhere).set_quorum(quorum)

    def _keyring(self) -> Keyring:
        return Keyring.open(self._folder.keys, self._passphrase)

    def _changes(self, *, elsewhere: bool) -> LogChanges:
        return LogChanges(self._folder, self._keyring(), elsewhere=elsewhere)
