"""A signing request in words, for the person who signs it. All of it is derived from what is to be signed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from tuf.api.metadata import Root, VerificationResult

from contactsync.foundation.roles import ROLES
from contactsync.publication.log.policy import LogPolicy
from contactsync.publication.manifest import Manifest, NextEpoch
from contactsync.publication.tuf.follower import grouped, root_fingerprint
from contactsync.publication.tuf.request import SigningRequest

SHOWN_KEY: Final = 16
"""Hex digits of a key's id that are shown, and enough to tell keys apart."""
_SHOWN_PARTITIONS: Final = 10


def describe(request: SigningRequest) -> list[str]:
    """Lines without signatures: they do not depend on who has signed."""
    newest = request.roots[-1]
    lines = [
        f"request of {request.created:%Y-%m-%d %H:%M} UTC",
        f"fingerprint of the request {grouped(request.fingerprint())}",
        f"fingerprint of the server {grouped(root_fingerprint(newest.to_bytes()))}",
    ]
    before = newest.signed
    last = [item for item in request.items if item.role == "root"][-1:]
    for item in request.items:
        until = f"valid until {item.metadata.signed.expires:%Y-%m-%d %H:%M} UTC"
        if item.role == "root" and item not in last:
            until = "in force only until the next one"
        elif not item.required:
            until += ", left out if too few sign it"
        lines += ["", f"{item.role} version {item.metadata.signed.version}, {until}"]
        if item.role == "root":
            lines += [f"  {line}" for line in _about_root(before, item.metadata.signed)]
            before = item.metadata.signed
        else:
            lines += [f"  {line}" for line in _about_targets(request)]
    return lines


def about_signatures(request: SigningRequest) -> list[str]:
    """Lines: of each item how many have signed, and who may."""
    lines = []
    for item, asked in zip(request.items, request.signatures(), strict=True):
        name = f"{item.role} version {item.metadata.signed.version}"
        lines += [f"{name}: {line}" for line in dict.fromkeys(map(_about, asked))]
    return lines


def shown_keys(keyids: Iterable[str]) -> str:
    """Keys by their shown ids."""
    return ", ".join(sorted(keyid[:SHOWN_KEY] for keyid in keyids))


def _about(asked: VerificationResult) -> str:
    signed, others = (shown_keys(keys) for keys in (asked.signed, asked.unsigned))
    text = f"{min(len(asked.signed), asked.threshold)} of {asked.threshold} signatures"
    text += f" ({signed})" if signed else ""
    return f"{text}; {asked.missing} more of {others}" if asked.missing else text


def _about_root(old: Root, new: Root) -> Iterator[str]:
    for name in ROLES:
        before, after = old.roles[name], new.roles[name]
        keys = ", ".join(f"{'+' * (keyid not in before.keyids)}{keyid[:SHOWN_KEY]}" for keyid in after.keyids)
        gone = "".join(f", -{keyid[:SHOWN_KEY]}" for keyid in before.keyids if keyid not in after.keyids)
        was = "" if before.threshold == after.threshold else f" (was {before.threshold})"
        stays = "" if gone or was or "+" in keys else " (as before)"
        yield f"{name}: {after.threshold}{was} of {len(after.keyids)}: {keys}{gone}{stays}"
    yield from _about_log(*(LogPolicy.of_root(root.unrecognized_fields) for root in (old, new)))


def _about_log(old: LogPolicy | None, new: LogPolicy | None) -> Iterator[str]:
    if new is None:
        if old is not None:
            yield f"CAUTION: names no log any more (was {old.log.name})"
        return
    stays = " (as before)" if new == old else ""
    yield f"log: {new.log.name}; {new.quorum} of {len(new.witnesses)} witnesses must cosign{stays}"
    before = () if old is None else old.witnesses
    yield from (f"  +{one.vkey()}" for one in new.witnesses if one not in before)
    yield from (f"  -{one.vkey()}" for one in before if one not in new.witnesses)
    if old is not None and old.log != new.log:
        yield f"  CAUTION: the log begins anew (was {old.log.name}): clients refuse it until they are told"


def _about_targets(request: SigningRequest) -> Iterator[str]:
    new, old = request.of(request.targets), request.of(request.published)
    for audience in sorted({*new, *old}):
        if audience not in new:
            yield f"{audience}: is no longer published"
        elif new[audience] == old.get(audience):
            one = new[audience]
            yield f"{audience}: epoch {one.epoch}, edition {one.edition} stays; {one.count:,} members"
        else:
            yield from _about_manifest(new[audience], old.get(audience))


def _about_next(new: Manifest, old: Manifest | None) -> Iterator[str]:
    """What a manifest says of the next epoch."""
    if (after := new.next) is not None:
        end = f"{after.end:%Y-%m-%d %H:%M} UTC"
        yield f"  announces epoch {after.epoch}, edition {after.edition}, until {end}"
        yield f"    members: {after.count:,}"
        if old is None or old.next is None or old.next.public_key != after.public_key:
            yield f"    VOPRF key: {grouped(after.public_key.hex())}"
    elif old is not None and old.next is not None:
        if new.public_key == old.next.public_key:
            yield f"  begins the epoch that was announced, with the same key: {_same_bases(new, old.next)}"
        else:
            yield f"  CAUTION: takes back what was announced of epoch {old.next.epoch}"


def _same_bases(new: Manifest, after: NextEpoch) -> str:
    changed = [
        name
        for name in sorted({*new.partitions, *after.partitions})
        if (one := new.partitions.get(name)) is None
        or (other := after.partitions.get(name)) is None
        or one.base != other.base
    ]
    return "and the same files" if not changed else f"partitions {', '.join(changed)} differ"


def _about_manifest(new: Manifest, old: Manifest | None) -> Iterator[str]:
    since = "the first" if old is None else f"last signed: epoch {old.epoch}, edition {old.edition}"
    yield f"{new.audience}: epoch {new.epoch}, edition {new.edition} ({since})"
    if new.previous != (None if old is None else old.sha256()):
        yield "  CAUTION: it does not continue what was signed last"
    before = 0 if old is None else old.count
    yield f"  members: {new.count:,} ({new.count - before:+,})"
    if old is None or new.public_key != old.public_key:
        yield f"  {'' if old is None else 'new '}VOPRF key: {grouped(new.public_key.hex())}"
    yield from _about_next(new, old)
    if old is not None and new.normalisation != old.normalisation:
        yield f"  normalisation profile {new.normalisation} (was {old.normalisation})"
    now, was = new.partitions, {} if old is None else old.partitions
    changed = [name for name in sorted({*now, *was}) if now.get(name) != was.get(name)]
    counts = {
        name: tuple(side[name].members if name in side else 0 for side in (now, was)) for name in changed
    }
    yield f"  partitions: {len(now)}, {len(changed)} changed"
    changed.sort(key=lambda name: -abs(counts[name][0] - counts[name][1]))
    for name in changed[:_SHOWN_PARTITIONS]:
        count, last = counts[name]
        yield f"    {name}: {count:,} ({count - last:+,})"
    if len(changed) > _SHOWN_PARTITIONS:
        yield f"    and {len(changed) - _SHOWN_PARTITIONS} others that changed by no more"
    yield from _about_rows(new, old)


def _about_rows(new: Manifest, old: Manifest | None) -> Iterator[str]:
    before = None if old is None else old.rows
    if new.rows is not None:
        stays = " (as before)" if new.rows == before else ""
        yield f"  rows for private look-up: root {grouped(new.rows.level.sha256)}{stays}"
    elif before is not None:
        yield "  rows for private look-up: none any more"
