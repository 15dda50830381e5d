"""A log of the simulated service, with a witness: made anew for each request from what is published."""

import hashlib

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from contactsync.publication.history import Link
from contactsync.publication.log.checkpoint import Checkpoint
from contactsync.publication.log.entries import LoggedManifest, LoggedRoot
from contactsync.publication.log.merkle import EMPTY
from contactsync.publication.log.notes import COSIGNATURE, ED25519, NoteSigner, sign_note
from contactsync.publication.log.policy import FIELD, LogPolicy
from contactsync.publication.log.tiles import appended


class ServiceLog:
    """The next root of a service names it. It only grows as long as no root comes after a manifest."""

    def __init__(self, service):
        self.service = service
        self.signer = NoteSigner.of("service.example/log", ED25519, Ed25519PrivateKey.generate())
        self.witness = NoteSigner.of("witness.example", COSIGNATURE, Ed25519PrivateKey.generate())
        root = service.repository.root()
        root.version += 1
        policy = LogPolicy(self.signer.verifier, (self.witness.verifier,), 1)
        root.unrecognized_fields[FIELD] = policy.to_value()
        service.repository.write_root(root, service.signers["root"])
        service.log = self

    def files(self):
        """Every file of the log by its path."""
        roots = sorted((self.service.folder / "metadata").glob("*.root.json"))
        entries = [
            LoggedRoot(int(path.name.partition(".")[0]), hashlib.sha256(path.read_bytes()).hexdigest())
            for path in roots
        ]
        links = [
            Link.from_bytes(path.read_bytes())
            for path in (self.service.folder / "targets").glob("*.people.json")
        ]
        entries += [
            LoggedManifest(link.audience, link.position.epoch, link.position.edition, link.sha256)
            for link in sorted(links, key=lambda link: link.position)
        ]
        start = Checkpoint(self.signer.verifier.name, 0, EMPTY)
        point, files = appended({}.__getitem__, start, [entry.to_bytes() for entry in entries])
        note = sign_note(point.text(), [self.signer, self.witness])
        files |= {f"leaf/{entry.sha256}": b"%d\n" % place for place, entry in enumerate(entries)}
        files |= {f"root/{entry.version}": note for entry in entries if isinstance(entry, LoggedRoot)}
        return files | {"checkpoint": note}
