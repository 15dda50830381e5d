"""A log in memory: entries, checkpoints signed by its key, proofs by the slow twin."""

import rfc6962
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from contactsync.publication.log.checkpoint import Checkpoint
from contactsync.publication.log.notes import ED25519, NoteSigner, sign_note
from contactsync.publication.log.witnessing import AddCheckpoint

NAME = "contacts.example.org/log"


def policy_file(policy):
    """A policy as a user writes it: see `read_policy`."""
    witnesses = "".join(f"witness {one.vkey()}\n" for one in policy.witnesses)
    return f"log {policy.log.vkey()}\n{witnesses}quorum {policy.quorum}\n"


class GrowingLog:
    """`entries` may be changed by a test: then it is another log, with the same key."""

    def __init__(self, count=0, *, name=NAME, key=None, word="entry"):
        self.key = key or Ed25519PrivateKey.generate()
        self.signer = NoteSigner.of(name, ED25519, self.key)
        self.vkey = self.signer.verifier.vkey()
        self.name = name
        self.entries = []
        self.grow(count, word)

    def grow(self, count, word="entry"):
        self.entries += [f"{word} {len(self.entries) + i}".encode() for i in range(count)]

    def fork(self, at, count, word="other"):
        """A log of the same key that has other entries from `at` on."""
        other = GrowingLog(name=self.name, key=self.key)
        other.entries = self.entries[:at]
        other.grow(count - at, word)
        return other

    def checkpoint(self, size=None):
        entries = self.entries if size is None else self.entries[:size]
        return Checkpoint(self.name, len(entries), rfc6962.MTH(entries))

    def note(self, size=None, extension=""):
        return sign_note(self.checkpoint(size).text() + extension, [self.signer])

    def proof(self, old, size=None):
        entries = self.entries if size is None else self.entries[:size]
        return [] if old == 0 else rfc6962.PROOF(old, entries)

    def request(self, old=0, size=None, extension=""):
        """The body of a request for a cosignature."""
        return AddCheckpoint(old, self.proof(old, size), self.note(size, extension)).to_bytes()
