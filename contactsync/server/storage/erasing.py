"""What a store of members can do about traces of those who were removed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from contactsync.server.storage.ports import Members

ERASING_WAIT: Final = 5.0
"""Seconds to wait for readers that keep old content readable."""

EVERYWHERE: Final = "*"
"""Stands for every partition."""


Watch = Callable[["Members", str | None], None]
"""Sees members before they are removed from an audience, or (None) before all about them is forgotten."""


def unwatched(_members: Members, _audience: str | None) -> None:
    """Nobody wants to see who is removed."""


class ErasingStore(Protocol):
    """The part of a `MemberStore` that erases. Raises OurError.

    A removal takes somebody out of all answers at once. Copies of what was stored may stay in the files until
    `erase` has run; whoever removes calls it afterwards, once for any number of removals.
    """

    def unerased(self) -> bool:
        """Whether something was removed that may still be readable in the files."""

    def erase(self, wait: float = ERASING_WAIT) -> str:
        """Overwrite what was removed, wherever it is in the files; "" if that is done.

        Else why it is not: somebody else uses the store, and did so for `wait` seconds. Then it is still to
        be done, by whoever calls this next. No transaction may be open.
        """

    def beyond(self) -> Sequence[str]:
        """Copies of what was removed that `erase` does not reach, for receipts. Backups are known."""

    def departures(self) -> Collection[str]:
        """Partitions that somebody has left, since when their older files may hold tokens of who is gone.

        EVERYWHERE may be one of them: it is not known.
        """

    def depart(self) -> None:
        """Let EVERYWHERE be one of them."""

    def expunged(self, serial: int) -> None:
        """Record that no served file holds who left up to `serial`."""
