"""The layers that vectors name: which modules they are here, and with which errors they refuse.

That something fails is not enough: a reply that is refused by what reads directories was taken for good by
what reads replies. So an error counts only if the layer itself raised it, and if it is of a class that its
callers expect.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import Final

from contactsync.foundation.errors import (
    BadDirectory,
    BadInput,
    BadProof,
    BadReply,
    BadSignature,
    ContactSyncError,
)


@dataclass(frozen=True, slots=True)
class VectorLayer:
    """A part of the package that vectors speak of.

    `modules` are those that may raise, below `contactsync`; `errors` are the classes that they may raise.
    """

    description: str
    modules: tuple[str, ...]
    errors: tuple[type[ContactSyncError], ...] = ()

    def stranger(self, error: ContactSyncError) -> str | None:
        """Who else raised this error, or what else it is; None if it is this layer's."""
        raised = raised_in(error.__traceback__)
        inside = any(raised == name or raised.startswith(f"{name}.") for name in self.modules)
        if not inside:
            return f"refused by {raised or 'no part of contactsync'}"
        if not isinstance(error, self.errors):
            return f"refused with the error class {type(error).__name__}"
        return None


def word_of(error: ContactSyncError) -> str:
    """The word of a refusal. Errors of the log have mostly none of their own: their class says it."""
    if error.refusal or not raised_in(error.__traceback__).startswith("publication.log"):
        return error.refusal or str(error)
    return "bad-signature" if isinstance(error, BadSignature) else "malformed"


def raised_in(trace: TracebackType | None) -> str:
    """The module of the package that raised, without the first part of its name; empty if none did."""
    raised = ""
    while trace is not None:
        name = str(trace.tb_frame.f_globals.get("__name__", ""))
        if name.startswith(_PACKAGE) and not name.startswith(_AUDIT):
            raised = name.removeprefix(_PACKAGE)
        trace = trace.tb_next
    return raised


_PACKAGE: Final = "contactsync."
_AUDIT: Final = "contactsync.audit."

LAYERS: Final = {
    "ristretto255": VectorLayer("group elements and scalars are those of RFC 9380 and RFC 9496", ()),
    "voprf": VectorLayer("whole exchanges give what RFC 9497 says, and bulk evaluation gives the same", ()),
    "voprf.server": VectorLayer(
        "the server refuses bad framing, bad points and bad keys", ("voprf",), (BadInput,)
    ),
    "voprf.client": VectorLayer(
        "the client refuses bad framing, bad points and bad proofs",
        ("voprf",),
        (BadReply, BadProof, BadInput),
    ),
    "identifiers": VectorLayer(
        "a text gives its identifier and further forms, or is rejected for its reason",
        ("identifiers",),
        (BadInput,),
    ),
    "tokens": VectorLayer(
        "an output gives its token, and a token its value at every width",
        ("tokens", "directory"),
        (BadInput,),
    ),
    "directory.build": VectorLayer("a set of tokens gives its directory file, octet by octet", ()),
    "directory.reader": VectorLayer(
        "directory files are read, or refused",
        ("directory.reader", "directory.format", "directory.buckets", "directory.files"),
        (BadDirectory,),
    ),
    "directory.match": VectorLayer("who is in a directory is found, and nobody else", ()),
    "directory.ranges": VectorLayer(
        "single buckets are verified and matched, or refused",
        ("directory.ranges", "directory.reader", "directory.format", "directory.buckets"),
        (BadDirectory,),
    ),
    "directory.delta": VectorLayer(
        "deltas are written, read and followed, or refused",
        ("directory.delta", "directory.value_sets", "directory.format", "directory.files"),
        (BadDirectory,),
    ),
    "directory.screen": VectorLayer(
        "screens are built and asked, or refused",
        ("directory.screen", "directory.format", "directory.files"),
        (BadDirectory,),
    ),
    "labels": VectorLayer(
        "texts are labels or not, and entries are sealed, and opened by whom they are for",
        ("labels",),
        (BadInput,),
    ),
    "directory.sidecar": VectorLayer(
        "sidecars and their deltas are read and followed, or refused",
        (
            *("directory.sidecar", "directory.sidecar_format", "directory.sidecar_delta"),
            *("directory.format", "directory.files"),
        ),
        (BadDirectory,),
    ),
    "publication.manifest": VectorLayer(
        "manifests are read, or refused",
        tuple(
            f"publication.{name}"
            for name in (
                *("manifest", "partition", "labels", "patches", "named_files", "announced"),
                *("forms", "canonical"),
            )
        ),
        (BadReply,),
    ),
    "publication.history": VectorLayer(
        "a walk back through manifests ends as it must, or another history is refused",
        ("publication.history",),
        (BadSignature, BadReply),
    ),
    "publication.metadata": VectorLayer(
        "signed metadata leads from a pinned root to the manifests, or is refused",
        ("publication.tuf.follower", "publication.tuf.raised"),
        (BadSignature, BadReply),
    ),
    "log.tree": VectorLayer(
        "the log's trees, tiles and proofs are those of RFC 6962 and C2SP tlog-tiles, or are refused",
        ("publication.log.merkle", "publication.log.tiles"),
        (BadReply,),
    ),
    "log.entries": VectorLayer(
        "what is logged is read, or refused",
        ("publication.log.entries", "publication.canonical"),
        (BadReply,),
    ),
    "log.notes": VectorLayer(
        "notes and cosignatures are those of C2SP signed-note and tlog-cosignature, or are refused",
        ("publication.log.notes",),
        (BadReply, BadSignature, BadInput),
    ),
    "log.policy": VectorLayer(
        "a checkpoint counts if the log and enough witnesses have signed it, and no other",
        ("publication.log.policy", "publication.log.checkpoint", "publication.log.notes"),
        (BadReply, BadSignature),
    ),
    "log.witness": VectorLayer(
        "what a log asks of a witness is read, or refused", ("publication.log.witnessing",), (BadReply,)
    ),
    "server.epochs": VectorLayer(
        "an epoch's key follows from its seed, audience and number", ("voprf.server",), (BadInput,)
    ),
    "server.quota": VectorLayer("a repeated batch is known again, and points are charged as documented", ()),
    "client": VectorLayer(
        "whole syncs send, fetch and match what they must, or refuse",
        ("client.core", "directory", "voprf", "publication"),
        (BadDirectory, BadReply, BadProof),
    ),
}
"""Every layer by its name in the vector files. One without errors never refuses."""
