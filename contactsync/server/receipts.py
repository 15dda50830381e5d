"""Receipts of removals: what was removed, where and when, and what is left until which step.

For the answer to somebody who asked to be erased (GDPR art. 17). No number is in it, nor anything that could
be turned into one: the operator's own reference says whose it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from contactsync.identifiers.kinds import partition_of
from contactsync.publication.tuf.repository import Repository
from contactsync.server.settings import EDITIONS_SERVED
from contactsync.server.storage.records import MemberRecord


@dataclass(slots=True)
class Removal:
    """What is stored about members who are about to be removed, counted.

    `members` are forgotten; `kept` leave an audience, but something about them stays: that they are in
    another one, or an objection, and the record of their consent.
    `places` are the audiences and partitions that their tokens may be published in. `labels` are of those who
    leave their last audience. A member with a number and an address is one; tokens, labels and consents are
    of both.
    """

    members: int = 0
    kept: int = 0
    consents: int = 0
    labels: int = 0
    tokens: Counter[tuple[str, int]] = field(default_factory=Counter)
    places: set[tuple[str, str]] = field(default_factory=set)

    def add(
        self,
        records: Iterable[MemberRecord],
        audience: str | None,
        *,
        objects: bool = False,
        others: bool = False,
    ) -> None:
        """Count these, as far as leaving an audience (None: all) removes what is stored about them.

        Who `objects` is remembered, with the changes of consent: else an import would add them again. These
        are the `others` of members who are counted already.
        """
        for record in records:
            left = [one for one in record.entry.audiences if audience in {None, one}]
            if not left and (objects or audience is not None):
                continue
            nothing_else = set(left) == {*record.entry.audiences} and not record.entry.objections
            if not objects and (audience is None or nothing_else):
                self.members += not others
                self.consents += len(record.consents)
            else:
                self.kept += not others
            self.labels += record.label is not None and set(left) == {*record.entry.audiences}
            self.tokens.update(of for of in record.tokens if audience in {None, of[0]})
            partition = partition_of(record.entry.identifier)
            self.places |= {(one, partition) for one in record.changed if audience in {None, one}}

    def receipt(
        self,
        repository: Repository,
        *,
        removed: int,
        audience: str | None,
        reference: str | None,
        kept: str,
        beyond: Sequence[str] = (),
    ) -> dict[str, Any]:
        """The receipt; `kept` says why the registry's files still hold something. Raises OurError.

        `beyond` are copies that the register's own erasing does not reach.
        """
        editions = self._editions(repository)
        remains: list[dict[str, Any]] = [
            {
                "where": "the published directory and its older files",
                "editions": editions,
                "until": "publish --expunge (a plain publish ends it for new clients; older files follow"
                f" {EDITIONS_SERVED - 1} editions later)",
            }
        ]
        if kept:
            remains.append({"where": f"the registry's files: {kept}", "until": "the next publish"})
        if self.kept:
            entries = "the entry" if self.kept == 1 else f"{self.kept:,} entries"
            what = f"the registry: {entries} of who objected or is in another audience, with consents"
            remains.append({"where": what, "until": "members remove, without --audience"})
        return {
            "reference": reference,
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "removed": removed,
            "audience": audience,
            "registry": {
                "members": self.members,
                "consents": self.consents,
                "labels": self.labels,
                "tokens": [
                    {"audience": who, "epoch": epoch, "count": count}
                    for (who, epoch), count in sorted(self.tokens.items())
                ],
                "erased": not kept,
            },
            "remains": remains if editions else remains[1:],
            "not_covered": [
                "backups of the data folder",
                *beyond,
                "copies of clients, until they sync again",
            ],
        }

    def _editions(self, repository: Repository) -> list[dict[str, Any]]:
        """The editions whose files are served and may hold a token of theirs."""
        found = []
        for audience in sorted({audience for audience, _ in self.places}):
            names = {name for who, name in self.places if who == audience}
            for manifest in repository.history(audience, EDITIONS_SERVED):
                partitions = [one for name, one in manifest.partitions.items() if name in names]
                files = [file.sha256 for one in partitions for file in one.files()]
                if any((repository.folder / "data" / file).exists() for file in files):
                    found.append({"audience": audience, "epoch": manifest.epoch, "edition": manifest.edition})
        return found
