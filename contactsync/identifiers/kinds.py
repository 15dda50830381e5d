"""One interface for all kinds of identifiers.

A kind has its own package beside this file, and one line in KINDS. Code that handles identifiers of any kind
(the store of members, the publisher, the client) looks the kind up here: by an identifier's prefix, a
partition's name, or the kind's own name. It contains no knowledge of `tel` or any other kind.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import unquote

from contactsync.foundation.errors import BadInput
from contactsync.identifiers import mail, tel
from contactsync.identifiers.mail.kind import Mail
from contactsync.identifiers.steps import Step
from contactsync.identifiers.tel.kind import Tel

if TYPE_CHECKING:  # a command that normalises one number does not need numpy
    import numpy as np
    from numpy.typing import NDArray

    Keys = NDArray[np.uint64] | NDArray[np.object_]


class Kind(Protocol):
    """One kind of identifier.

    A *key* is an identifier in the form that a store keeps: an `int` below 2^63, or `bytes`, as `key_type`
    says. Many keys are an array: uint64[n] of integers, object[n] of bytes. Keys are ordered by value.
    """

    @property
    def name(self) -> str:
        """Lower-case letters: `tel`."""

    @property
    def prefix(self) -> bytes:
        """The beginning of all its identifiers, and of no other kind's: `tel:`."""

    @property
    def key_type(self) -> type[int | bytes]:
        """The type of a key."""

    def normalise(self, text: str, region: str | None) -> bytes:
        """The identifier for text that people write. Raises Rejected, or BadInput for an unknown region."""

    def further_forms(self, identifier: bytes) -> tuple[bytes, ...]:
        """Other identifiers that reach the same subscriber for certain; a client looks them up, too."""

    def partition_of(self, identifier: bytes) -> str:
        """The name of the partition that an identifier is in. Raises BadInput if it is not of this kind."""

    def owns_partition(self, name: str) -> bool:
        """Whether a name belongs to the family of this kind's partitions, even if it is not known here."""

    def partitions(self) -> Collection[str]:
        """The names of all partitions that this program can put a member in."""

    def excludes_partition(self, name: str) -> bool:
        """Whether no partition can ever have this name, here or elsewhere: others hold what it would hold."""

    def capacity(self, partition: str) -> int:
        """How many identifiers there can be in one of `partitions()`."""

    def keys_of(self, identifiers: Sequence[bytes]) -> Any:
        """The keys of identifiers, in order."""

    def identifiers_of(self, keys: Any) -> list[bytes]:
        """The inverse of `keys_of`."""

    def by_partition(self, keys: Any) -> Iterator[tuple[str, Any]]:
        """Each partition that occurs, with its keys in order. Raises BadInput if a key has no partition."""

    def spans(self, partition: str) -> Sequence[tuple[Any, Any]]:
        """The keys of a partition, and only those, as ascending half-open ranges."""


KINDS: Final[dict[str, Kind]] = {kind.name: kind for kind in (Tel(), Mail())}
"""All kinds by name."""


def kind_of(identifier: bytes) -> Kind:
    """The kind of an identifier. Raises BadInput if no kind has its prefix."""
    for kind in KINDS.values():
        if identifier.startswith(kind.prefix):
            return kind
    raise BadInput("not an identifier of this normalisation profile")


def kind_of_partition(name: str) -> Kind:
    """The kind whose identifiers a partition contains. Raises BadInput if there is none."""
    for kind in KINDS.values():
        if kind.owns_partition(name):
            return kind
    raise BadInput(f"there is no partition named {name!r}", hint="a newer contactsync may know it")


def known_partition(name: str) -> Kind | None:
    """The kind of a partition that this program can put a member in; None if it knows no such partition.

    Raises BadInput if no program ever will: the name would stand for what other partitions hold.
    """
    for kind in KINDS.values():
        if name in kind.partitions():
            return kind
        if kind.excludes_partition(name):
            raise BadInput(f"{name!r} is the name of no partition")
    return None


def partition_of(identifier: bytes) -> str:
    """The name of the partition that an identifier is in. Raises BadInput if it is not an identifier."""
    return kind_of(identifier).partition_of(identifier)


def further_forms(identifier: bytes) -> tuple[bytes, ...]:
    """Other identifiers of the same subscriber: docs/identifiers.md. Raises BadInput if it is none."""
    return kind_of(identifier).further_forms(identifier)


def is_partition_name(name: str) -> bool:
    """Whether a partition with this name can contain identifiers of a kind that this program knows."""
    return any(kind.owns_partition(name) for kind in KINDS.values())


def identify(text: str, region: str | None) -> bytes:
    """The identifier of text that people write, of whichever kind it is; `region` as for `tel.normalise`.

    Raises Rejected if the text cannot be looked up, BadInput if there is no such region.
    """
    return mail.normalise(text) if mail.looks_like(text) else tel.normalise(text, region)


def explain(text: str, region: str | None) -> list[Step]:
    """The steps of `identify`. The last step is named `identifier` or `rejected`."""
    return mail.explain(text) if mail.looks_like(text) else tel.explain(text, region)


def served_kinds(partitions: Collection[str]) -> frozenset[str]:
    """The kinds that a directory with these partitions has members of, by name; `tel` if there are none.

    Identifiers of other kinds are not worth asking for. An empty directory says nothing, and numbers are what
    every one is for.
    """
    found = frozenset(kind.name for kind in KINDS.values() if any(map(kind.owns_partition, partitions)))
    return found or frozenset({"tel"})


def title_of(partition: str) -> str:
    """How a partition is called in a text: `+49`, `mail`."""
    return f"+{partition}" if partition.isdecimal() else partition


def shown(identifier: str) -> str:
    """An identifier as people write it: `+491512345678`, `ann@example.org`; of another kind as it is."""
    if identifier.startswith("mailto:"):
        text = unquote(identifier.removeprefix("mailto:"))
        return text if text.isprintable() else identifier
    return identifier.removeprefix("tel:")
