"""A repository that publishes whatever it is given, as somebody does who has stolen keys."""

from contactsync.publication.tuf.repository import Repository


class Forger(Repository):
    """There is no rehearsal: clients are to refuse it themselves."""

    def _rehearse(self, *_publication: object) -> None:
        """Let it pass."""
