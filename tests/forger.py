"""A repository that publishes whatever it is given, as somebody does who has stolen keys."""

from securesystemslib.signer import Signer
from tuf.api.metadata import Metadata, Root

from contactsync.publication.tuf.recording import Switch
from contactsync.publication.tuf.repository import Repository


class Forger(Repository):
    """There is no rehearsal: clients are to refuse it themselves. Without a log, nothing is logged."""

    def _rehearse(self, *_publication: object, **_options: object) -> None:
        """Let it pass."""

    def _record(self, root: Root, switch: Switch) -> None:
        if self._log is not None:
            super()._record(root, switch)

    def write_root(self, root: Root, *signers: Signer) -> None:
        """Publish a root with the signatures of these keys, whatever it says."""
        metadata = Metadata(root)
        for signer in signers:
            metadata.sign(signer, append=True)
        self._write_new_root(metadata)
