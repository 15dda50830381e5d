"""Adds a category to the cards of contacts that matched, and removes it again.

A card matches if one of its numbers does. What will be changed is written to the undo list before the first
change; afterwards the list is what really was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from contactsync.carddav.connection import DavAccount, DavConnection
from contactsync.carddav.pull import Pulled, connected
from contactsync.carddav.store import Card
from contactsync.client.patience import Patience
from contactsync.contacts.book import MAX_FILE
from contactsync.contacts.categories import add_category, cards_in, remove_category, uid_of
from contactsync.foundation import erasure
from contactsync.foundation.errors import BadInput
from contactsync.foundation.progress import Progress, silent
from contactsync.marking.places import (
    NotChanged,
    SeenFile,
    card_files,
    change_on_server,
    read_file,
    replace_file,
)
from contactsync.marking.undo import MarkedCard, UndoList, digest_of, new_path

_OTHER_ENCODING: Final = "its cards are in an encoding that is not changed: save it as UTF-8"
_NO_CARDS: Final = "it is not a vCard file: only cards can be marked"


@dataclass(frozen=True, slots=True)
class LeftAlone:
    """Something that was not changed: where, and why."""

    place: str
    reason: str


@dataclass(slots=True)
class Marks:
    """What was done. `changed` and `already` are counts of cards; `undo` is the list, if there is one."""

    category: str
    changed: int = 0
    already: int = 0
    left_alone: list[LeftAlone] = field(default_factory=list)
    undo: Path | None = None


@dataclass(frozen=True, slots=True)
class _FileChange:
    file: SeenFile
    data: bytes
    cards: tuple[MarkedCard, ...]


@dataclass(frozen=True, slots=True)
class _ServerChange:
    account: DavAccount
    card: Card
    entry: MarkedCard


class Marking:
    """A plan to mark the cards with these identifiers. Making it changes nothing."""

    def __init__(
        self,
        sources: Sequence[str],
        pulled: Sequence[Pulled],
        *,
        identifiers: frozenset[bytes],
        identifiers_of: Callable[[bytes], Iterable[bytes]],
        category: str,
    ) -> None:
        """`sources` are files, folders and `-`; `pulled` are accounts.

        `identifiers_of` reads a card as the sync did.
        """
        self.marks = Marks(category)
        self._identifiers = identifiers
        self._identifiers_of = identifiers_of
        self._files: list[_FileChange] = []
        self._cards: list[_ServerChange] = []
        for source in sources:
            if source == "-":
                self._leave("standard input", "only files and servers can be changed")
            else:
                self._plan_source(Path(source))
        for account in pulled:
            self._plan_account(account)

    @property
    def places(self) -> list[str]:
        """Where the cards are that will be changed."""
        return [card.place for one in self._files for card in one.cards] + [
            one.entry.place for one in self._cards
        ]

    def run(self, folder: Path, *, patience: Patience | None = None, progress: Progress = silent) -> Marks:
        """Do it. The undo list is a new file in `folder`. Raises what `DavConnection` raises.

        After an error, the undo list has what was changed, and the card where it happened.
        """
        marks = self.marks
        if not self._files and not self._cards:
            return marks
        undo = new_path(folder)
        planned = [card for one in self._files for card in one.cards] + [one.entry for one in self._cards]
        UndoList(marks.category, tuple(planned)).write(undo)
        done: list[MarkedCard] = []
        try:
            for one in self._files:
                with _leaving(self.marks, str(one.file.path)):
                    replace_file(one.file, one.data)
                    done += one.cards
                    marks.changed += len(one.cards)
            self._change_on_servers(done, patience, progress)
        finally:
            if done:
                UndoList(marks.category, tuple(done)).write(undo)
                marks.undo = undo
            else:
                erasure.erase(undo)
        return marks

    def _change_on_servers(
        self, done: list[MarkedCard], patience: Patience | None, progress: Progress
    ) -> None:
        for account in dict.fromkeys(one.account for one in self._cards):
            of_account = [one for one in self._cards if one.account is account]
            with connected(account, patience=patience) as connection:
                for number, one in enumerate(of_account):
                    progress("marking", number, len(of_account))
                    with _leaving(self.marks, one.entry.place):
                        self._change_card(connection, one, done)

    def _change_card(self, connection: DavConnection, one: _ServerChange, done: list[MarkedCard]) -> None:
        done.append(one.entry)  # if the connection breaks now, it may have been changed
        try:
            card = change_on_server(
                connection, one.card.path, one.card.etag, lambda card: add_category(card, self.marks.category)
            )
        except (NotChanged, BadInput):
            done.pop()
            raise
        if card is None:
            done.pop()
            self.marks.already += 1
        else:
            done[-1] = replace(one.entry, after=digest_of(card))
            self.marks.changed += 1

    def _plan_source(self, source: Path) -> None:
        for path in card_files(source):
            with _leaving(self.marks, str(path)):
                self._plan_file(path)

    def _plan_file(self, path: Path) -> None:
        if not path.is_file() or path.stat().st_size > MAX_FILE:  # a pipe would never end
            raise NotChanged(_NO_CARDS)
        data = path.read_bytes()
        spans = cards_in(data)
        if not spans:
            is_named_so = path.suffix.lower() in {".vcf", ".vcard"}
            if not is_named_so or self._matches(data):
                raise NotChanged(_OTHER_ENCODING if is_named_so else _NO_CARDS)
            return
        if not any(self._matches(data[start:end]) for start, end in spans):
            return
        file = read_file(path)
        pieces, cards, at = [], [], 0
        for start, end in cards_in(file.data):
            card = file.data[start:end]
            changed = self._changed(card, str(path)) if self._matches(card) else None
            if changed is not None:
                pieces += [file.data[at:start], changed]
                cards.append(MarkedCard(uid_of(card), digest_of(changed), file=str(file.path)))
                at = end
        if cards:
            self._files.append(_FileChange(file, b"".join([*pieces, file.data[at:]]), tuple(cards)))

    def _plan_account(self, pulled: Pulled) -> None:
        address = pulled.account.address
        for book in pulled.books:
            for card in book.cards:
                if self._matches(card.data) and self._changed(card.data, book.url) is not None:
                    entry = MarkedCard(
                        uid_of(card.data), origin=address.origin, user=address.user, path=card.path
                    )
                    self._cards.append(_ServerChange(pulled.account, card, entry))

    def _matches(self, card: bytes) -> bool:
        return not self._identifiers.isdisjoint(self._identifiers_of(card))

    def _changed(self, card: bytes, place: str) -> bytes | None:
        try:
            changed = add_category(card, self.marks.category)
        except BadInput as error:
            self._leave(place, str(error))
            return None
        self.marks.already += changed is None
        return changed

    def _leave(self, place: str, reason: str) -> None:
        self.marks.left_alone.append(LeftAlone(place, reason))


@contextmanager
def _leaving(marks: Marks, place: str) -> Iterator[None]:
    """Report what could not be changed, and go on."""
    try:
        yield
    except (NotChanged, BadInput) as error:
        marks.left_alone.append(LeftAlone(place, str(error)))
    except OSError as error:
        marks.left_alone.append(LeftAlone(place, error.strerror or "input/output error"))


def unmark(
    undo: UndoList,
    account: Callable[[str, str], DavAccount],
    *,
    patience: Patience | None = None,
    progress: Progress = silent,
) -> Marks:
    """Remove the category from the cards of a list. `account` makes an account of an origin and a user.

    A card that no longer has the category counts as `already`. Raises what `DavConnection` raises.
    """
    marks = Marks(undo.category)
    files: dict[str, list[MarkedCard]] = {}
    accounts: dict[tuple[str, str], list[MarkedCard]] = {}
    for card in undo.cards:
        if card.file:
            files.setdefault(card.file, []).append(card)
        else:
            accounts.setdefault((card.origin, card.user), []).append(card)
    for name, cards in files.items():
        with _leaving(marks, name):
            _unmark_file(marks, read_file(Path(name)), cards)
    for (origin, user), cards in accounts.items():
        with connected(account(origin, user), patience=patience) as connection:
            for number, one in enumerate(cards):
                progress("removing marks", number, len(cards))
                with _leaving(marks, one.place):
                    changed = change_on_server(
                        connection, one.path, None, lambda card: remove_category(card, marks.category)
                    )
                    marks.already += changed is None
                    marks.changed += changed is not None
    return marks


def _unmark_file(marks: Marks, file: SeenFile, wanted: list[MarkedCard]) -> None:
    """Remove the category from these cards of a file: a card is known by its octets, or else by its UID."""
    digests = {one.after for one in wanted}
    uids = {one.uid for one in wanted} - {""}
    pieces, at, changed, found = [], 0, 0, 0
    for start, end in cards_in(file.data):
        card = file.data[start:end]
        if digest_of(card) not in digests and uid_of(card) not in uids:
            continue
        found += 1
        without = remove_category(card, marks.category)
        if without is None:
            marks.already += 1
            continue
        pieces += [file.data[at:start], without]
        at = end
        changed += 1
    if changed:
        replace_file(file, b"".join([*pieces, file.data[at:]]))
        marks.changed += changed
    if found < len(wanted):
        gone = len(wanted) - found
        raise NotChanged(f"{gone:,} {'card is' if gone == 1 else 'cards are'} no longer in it")
