"""Changes of a log's policy: each is a new root, which is logged under the policy before it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from contactsync.foundation.errors import BadInput
from contactsync.foundation.roles import ONLINE
from contactsync.publication.log.notes import Verifier
from contactsync.publication.log.policy import LogPolicy
from contactsync.publication.tuf.ceremony import apply, prepare_policy
from contactsync.publication.tuf.repository import Repository
from contactsync.publication.tuf.request import SigningRequest
from contactsync.server.keyring import Keyring
from contactsync.server.prepared import Preparation
from contactsync.server.settings import LOCK_WAIT, DataFolder
from contactsync.server.witnessed.finishing import finish_logged
from contactsync.server.witnessed.keeper import LogKeeper
from contactsync.server.witnessed.witnesses import KnownWitnesses

_ENABLE: Final = "`server log enable` begins one"


class LogChanges:
    """Changes of the log of one data folder.

    Each gives None if it is in force. Else keys that must sign are elsewhere, and it gives the request, which
    `finish` brings into force; with `elsewhere` false that is BadInput. All raise BadInput, OurError, Busy
    and NetworkError (too few witnesses answer); nothing has changed then, or it is finished by the next
    publish.
    """

    def __init__(self, folder: DataFolder, keyring: Keyring, *, elsewhere: bool = False) -> None:
        self._folder = folder
        self._keyring = keyring
        self._elsewhere = elsewhere
        self._log = LogKeeper(folder, keyring)

    def enable(self) -> SigningRequest | None:
        """Begin a log. All roots and manifests that are kept are its first entries."""
        if self._log.policy is not None:
            raise BadInput("this server has a log", hint="`server log show`")
        return self._change(LogPolicy(self._keyring.new_log_key()))

    def restart(self) -> SigningRequest | None:
        """Begin another log, with the same witnesses. Clients refuse it until their users accept it.

        None of the witnesses must have cosigned it: they do not know its key before it has begun, and some
        may have gone for good.
        """
        before = self._policy()
        return self._change(LogPolicy(self._keyring.new_log_key(), before.witnesses), restart=True)

    def add_witness(self, witness: Verifier, url: str, quorum: int | None) -> SigningRequest | None:
        """Have a witness cosign from now on; or, if it does already, ask it at this address."""
        before = self._policy()
        with self._folder.lock(wait=LOCK_WAIT):  # a publish that asks witnesses writes the same file
            places = KnownWitnesses.read(self._folder)
            places.put(witness, url)
            places.write(self._folder)
        if witness in before.witnesses and quorum in {None, before.quorum}:
            return None
        witnesses = tuple(dict.fromkeys((*before.witnesses, witness)))
        return self._change(LogPolicy(before.log, witnesses, before.quorum if quorum is None else quorum))

    def remove_witness(self, named: str, quorum: int | None) -> SigningRequest | None:
        """No longer ask a witness, which is named by its name or key."""
        before = self._policy()
        gone = [one for one in before.witnesses if named in {one.name, one.vkey()}]
        if len(gone) != 1:
            raise BadInput(
                f"{named} is not the name of one witness", hint="give its whole key: `server log show`"
            )
        left = tuple(one for one in before.witnesses if one not in gone)
        done = self._change(LogPolicy(before.log, left, before.quorum if quorum is None else quorum))
        if done is None:
            places = KnownWitnesses.read(self._folder)
            places.drop(gone[0])
            places.write(self._folder)
        return done

    def set_quorum(self, quorum: int) -> SigningRequest | None:
        """Change how many witnesses must have cosigned what clients accept."""
        return self._change(replace(self._policy(), quorum=quorum))

    def _policy(self) -> LogPolicy:
        policy = self._log.policy
        if policy is None:
            raise BadInput("this server has no log", hint=_ENABLE)
        return policy

    def _change(self, policy: LogPolicy, *, restart: bool = False) -> SigningRequest | None:
        now, repository = datetime.now(UTC), Repository(self._folder.public, self._log)
        with self._folder.lock(wait=LOCK_WAIT):
            signers = self._keyring.signers()
            if restart:  # what waits in the log that ends can never be finished
                self._log.drop_pending()
            finish_logged(repository, self._log, signers, now)
            request = prepare_policy(repository, policy, now)
            request.sign(signers)
            if not request.is_complete:
                if not self._elsewhere:
                    raise BadInput(
                        "not enough keys of the role root are here",
                        hint="give --request FILE, and have it signed elsewhere; nothing was changed",
                    )
                Preparation(request, role="root").write(self._folder, self._keyring)
                return request
            apply(repository, request, self._keyring.signers(ONLINE), now)
        return None
