"""The kind `mailto`: e-mail addresses, all in one partition, as their octets after `mailto:` in a store."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Final

from contactsync.foundation.errors import BadInput
from contactsync.identifiers import mail

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PARTITION: Final = "mail"
"""It stands for the profile, too: one with other rules would have a partition of another name."""

_KEY: Final = re.compile(rb"(?:[a-z0-9!$'*+._~-]|%[0-9A-F]{2})+@[a-z0-9.-]+")
_ABOVE_ALL: Final = b"\x7f"
"""Above every key: they are printable ASCII."""


# ruff: noqa: PLC0415 - numpy takes longer to load than most commands that normalise one address run
class Mail:
    """See `kinds.Kind`. One partition: any public division would tell which of them a contact is in."""

    name = "mailto"
    prefix = mail.SCHEME
    key_type = bytes

    def normalise(self, text: str, region: str | None) -> bytes:  # noqa: ARG002 - an address has no country
        """See `mail.normalise`."""
        return mail.normalise(text)

    def further_forms(self, identifier: bytes) -> tuple[bytes, ...]:  # noqa: ARG002
        """None: there is one way to write an identifier, and aliases are known to a provider alone."""
        return ()

    def partition_of(self, identifier: bytes) -> str:
        """The one there is. Raises BadInput for what is no identifier."""
        if not identifier.startswith(self.prefix):
            raise _not_one()
        self._check(identifier.removeprefix(self.prefix))
        return PARTITION

    def owns_partition(self, name: str) -> bool:
        """Whether it is `mail`."""
        return name == PARTITION

    def partitions(self) -> Collection[str]:
        """The one there is."""
        return (PARTITION,)

    def excludes_partition(self, name: str) -> bool:  # noqa: ARG002
        """None: a newer program may divide addresses otherwise."""
        return False

    def capacity(self, partition: str) -> int:  # noqa: ARG002
        """As many as a manifest may state at all (docs/protocol.md)."""
        return 1 << 34

    def keys_of(self, identifiers: Sequence[bytes]) -> NDArray[np.object_]:
        """What follows the prefix, object[n]."""
        return _array([identifier.removeprefix(self.prefix) for identifier in identifiers])

    def identifiers_of(self, keys: NDArray[np.object_]) -> list[bytes]:
        """The inverse of `keys_of`."""
        return [self.prefix + key for key in keys]

    def by_partition(self, keys: NDArray[np.object_]) -> Iterator[tuple[str, NDArray[np.object_]]]:
        """All of them, if there are any. Raises BadInput for what is no key."""
        for key in keys:
            self._check(key)
        if keys.size:
            yield PARTITION, keys

    def spans(self, partition: str) -> list[tuple[bytes, bytes]]:  # noqa: ARG002
        """All keys."""
        return [(b"", _ABOVE_ALL)]

    @staticmethod
    def _check(key: bytes) -> None:
        if not _KEY.fullmatch(key):
            raise _not_one()


def _not_one() -> BadInput:
    return BadInput("not an identifier of this normalisation profile")


def _array(keys: list[bytes]) -> NDArray[np.object_]:
    import numpy as np

    array = np.empty(len(keys), np.object_)  # np.array would cut zeros off the ends of bytes
    array[:] = keys
    return array
