"""A signing request: metadata to be signed elsewhere, as one file that is passed around.

```
{"format": "contactsync-signing-request-1", "created": "2026-07-01T09:30:00Z",
 "summary": [...],         what `describe` (summary.py) says of the rest, for people
 "roots": [...],           every root so far, oldest first: the last one names who may sign
 "published": {...},       the targets metadata that was signed last; null before the first publish
 "to_sign": [{"required": true, "metadata": {"signed": {...}, "signatures": [...]}}, ...],
 "manifests": {SHA256: "..."}}   the manifests that both of them name
```

What is to be signed is root and targets metadata, in the order in which it comes into force. A root needs a
threshold of the keys of the root before it and one of its own; the targets those of the root before them,
and those of each root after them.

It contains no secrets, and nothing in it is trusted: what a signer sees is derived from the octets to be
signed and from what was signed before. A changed request can at most be refused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from securesystemslib.signer import Key, Signer, SSlibKey
from tuf.api import exceptions
from tuf.api.metadata import Metadata, Root, Targets, VerificationResult

from contactsync.foundation.errors import BadInput, BadReply
from contactsync.foundation.roles import ROLES
from contactsync.publication.log.policy import FIELD, LogPolicy
from contactsync.publication.manifest import Manifest
from contactsync.publication.tuf.signed import is_signed, targets_of

_REQUESTS: Final = "contactsync-signing-request-"
FORMAT: Final = f"{_REQUESTS}1"
MAX_REQUEST_BYTES: Final = 64 << 20
_PREPARE: Final = "prepare it again on the server"


@dataclass(frozen=True, slots=True)
class ToSign:
    """Metadata to be signed. What is not `required` is left out at the end if too few have signed it."""

    metadata: Metadata[Any]
    required: bool = True

    @property
    def role(self) -> str:
        """`root` or `targets`."""
        return str(self.metadata.signed.type)


@dataclass(frozen=True, slots=True)
class SigningRequest:
    """See the module. `manifests` is by SHA-256."""

    created: datetime
    roots: Sequence[Metadata[Root]]
    published: Metadata[Targets] | None
    items: Sequence[ToSign]
    manifests: Mapping[str, Manifest]

    def to_json(self, summary: Sequence[str]) -> dict[str, Any]:
        """The request as it is written."""
        return {
            "format": FORMAT,
            "created": f"{self.created:%Y-%m-%dT%H:%M:%SZ}",
            "summary": list(summary),
            "roots": [root.to_dict() for root in self.roots],
            "published": None if self.published is None else self.published.to_dict(),
            "to_sign": [
                {"required": item.required, "metadata": item.metadata.to_dict()} for item in self.items
            ],
            "manifests": {sha256: one.to_bytes().decode() for sha256, one in self.manifests.items()},
        }

    @classmethod
    def from_json(cls, body: Any) -> Self:
        """Raises BadInput unless it is a request in which all fits together."""
        if not isinstance(body, dict) or not str(body.get("format")).startswith(_REQUESTS):
            raise BadInput("this is not a signing request", hint="give the file that the server prepared")
        if body["format"] != FORMAT:
            raise BadInput("a newer contactsync wrote this signing request", hint="update contactsync")
        try:
            published = body["published"]
            request = cls(
                created=datetime.strptime(body["created"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC),
                roots=[_metadata(root, Root) for root in body["roots"]],
                published=None if published is None else _metadata(published, Targets),
                items=[
                    ToSign(_metadata(one["metadata"]), required=one["required"] is True)
                    for one in body["to_sign"]
                ],
                manifests={
                    sha256: Manifest.from_bytes(text.encode(), earlier=True)
                    for sha256, text in body["manifests"].items()
                },
            )
            fault = next(request._faults(), None)
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise _damaged("it is malformed") from error
        except (BadReply, exceptions.RepositoryError) as error:
            raise _damaged("it is malformed") from error
        if fault:
            raise _damaged(fault)
        return request

    @property
    def root(self) -> Root:
        """The root that was in force when it was prepared."""
        return self.roots[-1].signed

    @property
    def targets(self) -> Metadata[Targets] | None:
        """The targets metadata to be signed, if there is any."""
        return next((item.metadata for item in self.items if item.role == "targets"), None)

    @property
    def is_complete(self) -> bool:
        """Whether as many have signed each item as each root that asks for it wants."""
        return all(one for asked in self.signatures() for one in asked)

    def fingerprint(self) -> str:
        """A SHA-256 of what is to be signed: equal requests have equal fingerprints."""
        hashes = [hashlib.sha256(item.metadata.signed_bytes).digest() for item in self.items]
        return hashlib.sha256(b"".join(hashes)).hexdigest()

    def of(self, targets: Metadata[Targets] | None) -> dict[str, Manifest]:
        """The manifests by audience that targets metadata names."""
        files = {} if targets is None else targets.signed.targets
        return {
            name.removesuffix(".json"): self.manifests[file.hashes["sha256"]] for name, file in files.items()
        }

    def signatures(self) -> list[list[VerificationResult]]:
        """Of each item who has signed and who may, once for each root that asks for it."""
        return signatures_of(self.items, self.root)

    def sign(self, signers: Mapping[str, Signer]) -> list[tuple[str, str]]:
        """Add the signatures that these signers may give; (role, key) of those that are new."""
        new = []
        for item, asked in zip(self.items, self.signatures(), strict=True):
            missing = {keyid for one in asked for keyid in one.unsigned}
            for signer in signers.values():
                keyid = signer.public_key.keyid
                if keyid in missing:
                    item.metadata.sign(signer, append=True)
                    missing.remove(keyid)
                    new.append((item.role, keyid))
        return new

    def take_signatures(self, other: SigningRequest) -> None:
        """Add the signatures of a copy. Raises BadInput if it asks to sign something different."""
        if other.fingerprint() != self.fingerprint():
            raise BadInput(
                "this request differs from the one that was last prepared here",
                hint="use the most recently prepared file; if it was changed in transit, find out by whom",
            )
        for own, theirs in zip(self.items, other.items, strict=True):
            for keyid, signature in theirs.metadata.signatures.items():
                own.metadata.signatures.setdefault(keyid, signature)
        for own, asked, theirs in zip(self.items, self.signatures(), other.items, strict=True):
            for keyid in {keyid for one in asked for keyid in one.unsigned}:  # ours may be no good one
                if keyid in theirs.metadata.signatures:
                    own.metadata.signatures[keyid] = theirs.metadata.signatures[keyid]

    def _faults(self) -> Iterator[str]:
        """What does not fit together. What comes later may take for granted what came before."""
        roots = [root.signed for root in self.roots]
        proposed = [item.metadata.signed for item in self.items if item.role == "root"]
        targets = [item.metadata.signed for item in self.items if item.role == "targets"]
        if not roots or not self.items or len(proposed) + len(targets) != len(self.items) or len(targets) > 1:
            yield "it asks for a signature on something other than root and targets metadata"
        versions = [root.version for root in (*roots, *proposed)]
        last = 0 if self.published is None else self.published.signed.version
        if [one - place for place, one in enumerate(versions)] != [versions[0]] * len(versions) or any(
            one.version != last + 1 for one in targets
        ):
            yield "the versions are not consecutive"
        if not all(map(_is_usable, [*roots, *proposed])):
            yield "it contains a root that is not from contactsync"
        before = [roots[0], *roots]
        if not all(
            is_signed(new, "root", by)
            for new, old in zip(self.roots, before, strict=False)
            for by in (old, new.signed)
        ):
            yield "its roots are not signed by the ones before them"
        if self.published is not None and not is_signed(self.published, "targets", self.root):
            yield "the published targets in it are not signed"
        named = {
            file.hashes["sha256"]
            for one in (self.published, self.targets)
            for file in ({} if one is None else one.signed.targets).values()
        }
        if named != {one.sha256() for one in self.manifests.values()} or named != set(self.manifests):
            yield "the manifests are not those that are named"
        for one in (self.published, self.targets):
            if one is not None and (
                one.signed.targets != targets_of(self.of(one).values())
                or one.signed.delegations
                or one.signed.unrecognized_fields
            ):
                yield "the manifests are not those that are named"


def signatures_of(items: Sequence[ToSign], root: Root) -> list[list[VerificationResult]]:
    """As SigningRequest.signatures, for items that come into force after `root`."""
    after = [root, *(item.metadata.signed for item in items if item.role == "root")]
    found, place = [], 0
    for item in items:
        if item.role == "root":
            asking = after[place : place + 2]
            place += 1
        else:
            asking = after[place:]
        payload, signatures = item.metadata.signed_bytes, item.metadata.signatures
        found.append([one.get_verification_result(item.role, payload, signatures) for one in asking])
    return found


def _metadata(value: Any, kind: type | None = None) -> Metadata[Any]:
    metadata: Metadata[Any] = Metadata.from_dict(json.loads(json.dumps(value)))  # from_dict takes it apart
    if kind is not None and not isinstance(metadata.signed, kind):
        raise TypeError
    return metadata


def _is_usable(root: Root) -> bool:
    """Whether it is as we write them: ids are those of the keys, roles can be fulfilled, and no more is said.

    People compare ids. So each must be the one derived from its key, which also counts a key once.
    """
    return (
        all(_is_named_by_itself(key) for key in root.keys.values())
        and all(1 <= root.roles[name].threshold <= len(root.roles[name].keyids) for name in ROLES)
        and root.consistent_snapshot is True
        and not set(root.unrecognized_fields) - {FIELD}
        and _has_good_policy(root)
    )


def _has_good_policy(root: Root) -> bool:
    try:
        LogPolicy.of_root(root.unrecognized_fields)
    except BadReply:
        return False
    return True


def _is_named_by_itself(key: Key) -> bool:
    try:
        public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(key.keyval["public"]))
    except ValueError:
        return False
    return key == SSlibKey.from_crypto(public)


def _damaged(why: str) -> BadInput:
    return BadInput(f"the signing request cannot be used: {why}", hint=_PREPARE)
