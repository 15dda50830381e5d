"""What a store of members can do about labels, and the keys that they are encrypted under.

A label is 1 to 64 octets (`contactsync.labels`). It belongs to a member, so there is one for all audiences.
The row of a token is 10 octets of an output, or 42 where labels are published: the token, and after it the
label key of this audience and epoch.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from contactsync.foundation.errors import BadInput, OurError
from contactsync.labels import KEYED_BYTES, MAX_LABEL, check_label
from contactsync.tokens import TOKEN_BYTES, Tokens

if TYPE_CHECKING:
    from contactsync.server.storage.ports import Members
    from contactsync.server.storage.records import Consented

Outputs = tuple[Tokens, NDArray[np.uint8], list[bytes]]
"""n tokens, their label keys uint8[n, 32], and the labels of their members, b"" for none."""


class LabelStore(Protocol):
    """The part of a `MemberStore` that knows labels. Raises OurError, which never contains a label."""

    def label(self, members: Members, labels: Sequence[bytes | None]) -> Consented:
        """Give each of these members their label, in the order of the keys; None removes it.

        Only who is in an audience has one: others are `unknown`. Who has that label already is `unchanged`.
        A change touches the partition. The label goes when somebody leaves their last audience, for whatever
        reason. Raises BadInput, and changes nothing, if one is no label.
        """

    def labelled(self, audience: str, partitions: Collection[str] | None = None) -> Mapping[str, int]:
        """Partitions in which members of an audience have labels, with the octets of the longest.

        Only of the given `partitions`, if they are given. O(labels in them).
        """

    def with_labels(self, audience: str, partitions: Collection[str]) -> Collection[str]:
        """Those of these partitions in which members of an audience have labels.

        O(labels of others that come before theirs).
        """

    def outputs(self, audience: str, epoch: int, partition: str) -> Generator[Outputs, None, None]:
        """Like `MemberStore.tokens`, with label keys and labels, each chunk in one order.

        Call it inside `snapshot`. Raises OurError if there is a token without its label key: they have to be
        evaluated first (`MemberStore.unevaluated`).
        """

    def changed_outputs(self, audience: str, epoch: int, partition: str, state: str) -> Outputs | None:
        """Those of `outputs` that may be others since this base and its sidecar were made, in one piece.

        Who joined is among them; who left is not. None if that is not known, or too much to be worth it: then
        read all. `state` is as in `TokenStore.note_base`. O(changes).
        """


def checked_labels(labels: Sequence[bytes | None], count: int) -> None:
    """Raises BadInput unless there are as many as members, and each is a label or None."""
    if len(labels) != count:
        raise BadInput(f"{len(labels)} labels were given for {count} members", hint="give one for each")
    for label in {*labels} - {None}:
        assert label is not None
        try:
            text = label.decode()
        except UnicodeDecodeError:
            raise BadInput("the label is not valid UTF-8", hint="write it as UTF-8 text") from None
        check_label(text)


def split_outputs(octets: bytes | bytearray, labels: list[bytes]) -> Outputs:
    """Rows of token and label key, as `LabelStore.outputs` yields them. Raises OurError: damaged."""
    rows = np.frombuffer(octets, np.uint8).reshape(-1, KEYED_BYTES)
    if len(labels) != len(rows) or any(len(label) > MAX_LABEL for label in labels):
        raise OurError("the labels in the registry are damaged", hint="restore it from a backup")
    return Tokens.from_bytes(rows), np.ascontiguousarray(rows[:, TOKEN_BYTES:]), labels


def without_keys(count: int, partition: str) -> OurError:
    """Some tokens were stored before label keys were wanted."""
    return OurError(
        f"{count:,} tokens of partition {partition} are stored without their label keys",
        hint="publish again: they are evaluated first",
    )
