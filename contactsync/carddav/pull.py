"""Brings the local copy of an account's address books up to date, and returns the cards.

A server that reports changes is asked for these (sync-collection, RFC 6578). Any other lists the ETags of all
cards (PROPFIND). Only cards that are new or have another ETag are fetched (addressbook-multiget, RFC 6352
§8.7).
Each step is kept before the next begins.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from xml.sax.saxutils import escape

from contactsync.carddav.address import is_member, key_of, path_within
from contactsync.carddav.connection import DavAccount, DavConnection
from contactsync.carddav.discovery import RemoteBook, find_books
from contactsync.carddav.multistatus import CARDS, DAV, MAX_CARD, Response
from contactsync.carddav.store import BookStore, Card, forget_others, open_account
from contactsync.client.patience import Patience
from contactsync.contacts.book import MAX_FILE, MAX_FILES, Fault
from contactsync.foundation.errors import BadInput, BadReply
from contactsync.foundation.progress import Progress, silent

BATCH: Final = 50
"""Cards asked for at once."""

_LISTING: Final = (
    b'<?xml version="1.0" encoding="utf-8"?>'
    b'<propfind xmlns="DAV:"><prop><getetag/><resourcetype/></prop></propfind>'
)
_CHANGES: Final = (
    '<?xml version="1.0" encoding="utf-8"?><sync-collection xmlns="DAV:"><sync-token>{}</sync-token>'
    "<sync-level>1</sync-level><prop><getetag/><resourcetype/></prop></sync-collection>"
)
_CARDS_OF: Final = (
    '<?xml version="1.0" encoding="utf-8"?>'
    '<C:addressbook-multiget xmlns="DAV:" xmlns:C="urn:ietf:params:xml:ns:carddav">'
    "<prop><getetag/><C:address-data/></prop>{}</C:addressbook-multiget>"
)
_NEXT_TIME: Final = "the next sync asks again"
# Pictures and keys are not kept: nothing reads them, and they are most of a book. A line that begins so after
# a soft break (quoted-printable) belongs to the line before.
_BULKY: Final = re.compile(
    rb"(?<!=\n)(?<!=\r\n)^(?:[A-Za-z0-9-]+\.)?(?:PHOTO|LOGO|SOUND|KEY)[;:][^\n]*\n(?:[ \t][^\n]*\n)*",
    re.IGNORECASE | re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class PulledBook:
    """One address book: its name, its URL, its cards, what could not be fetched, how many came now."""

    name: str
    url: str
    cards: list[Card]
    faults: list[Fault]
    fetched: int


@dataclass(slots=True)
class Pulled:
    """The address books of an account, as they are now."""

    account: DavAccount
    books: list[PulledBook] = field(default_factory=list)


@contextmanager
def connected(account: DavAccount, *, patience: Patience | None = None) -> Iterator[DavConnection]:
    """A connection to the server of an account, which is closed at the end."""
    connection = DavConnection(account, patience=patience)
    try:
        yield connection
    finally:
        connection.close()


def pull(
    account: DavAccount, folder: Path, *, patience: Patience | None = None, progress: Progress = silent
) -> Pulled:
    """Fetch what has changed, and return all cards of an account. `folder` keeps them (`State.books`).

    This is all that a configured source needs: an `DavAccount` from its table. Raises NetworkError, BadReply,
    Refused, BadInput, OurError. What was fetched before an error is kept.
    """
    pulled = Pulled(account)
    with open_account(folder, account.address) as place, connected(account, patience=patience) as connection:
        progress("finding address books", 0, 0)
        found = find_books(connection, account.address.path)
        if found.is_all:
            forget_others(place, [connection.origin + book.path for book in found.books])
        if not found.books:
            raise BadInput(
                f"there is no address book at {account.address.url}",
                hint="give the address of the address book itself, as the provider's settings show it",
            )
        left = MAX_FILES
        for book in found.books:
            one = _Puller(connection, book, place, left).run(progress)
            left -= len(one.cards)
            pulled.books.append(one)
    return pulled


class _Puller:
    """Brings one address book up to date."""

    def __init__(self, connection: DavConnection, book: RemoteBook, account: Path, most: int) -> None:
        self._connection = connection
        self._book = book
        self._most = most
        self._store = BookStore(account, connection.origin + book.path)
        self._octets = sum(len(card.data) for card in self._store.cards.values())
        self._outside = 0
        self._faults: Counter[tuple[str, str]] = Counter()

    def run(self, progress: Progress) -> PulledBook:
        """List what has changed, then fetch it."""
        progress(f"listing {self._book.name}", 0, 0)
        if not (self._book.reports_changes and self._list_changes()):
            self._list_everything()
        self.count(len(self._store.cards.keys() | self._store.wanted.keys()))
        if self._outside:
            self._faults["an address outside of the address book", "it was not asked for"] = self._outside
        fetched = self._fetch(progress)
        faults = [
            Fault(f"{count:,} {'card' if count == 1 else 'cards'}", reason, hint)
            for (reason, hint), count in self._faults.items()
        ]
        cards = sorted(self._store.cards.values(), key=lambda card: card.path)
        return PulledBook(self._book.name, self._connection.origin + self._book.path, cards, faults, fetched)

    def _list_changes(self) -> bool:
        """Ask for changes since the last time, page by page. False if the server cannot do that after all."""
        if not self._store.token:
            self._store.begin_listing()
        seen: set[str] = set()  # keys and tokens since the listing began
        began_anew = False
        while True:
            page = _Page(self)
            body = _CHANGES.format(escape(self._store.token)).encode()
            answer = self._connection.ask("REPORT", self._book.path, body, page.note, depth="0")
            if answer.status != 207 or answer.token is None or answer.is_cut:
                if not self._store.token or began_anew:
                    return False
                self._store.begin_listing()  # the token is no longer valid (DAV:valid-sync-token), or worse
                seen.clear()
                began_anew = True
                continue
            if page.is_cut and (answer.token in seen or seen.issuperset([*page.changed, *page.gone])):
                raise BadReply(
                    f"{self._connection.origin} lists changes without end",
                    hint="tell the operator of the CardDAV server; what was fetched is kept",
                )
            seen |= {answer.token, *page.changed, *page.gone}
            self.count(len(seen))
            self._store.note(page.changed, page.gone, answer.token)
            if not page.is_cut:
                self._store.end_listing()
                return True

    def _list_everything(self) -> None:
        """List the ETags of all cards."""
        self._store.begin_listing()
        page = _Page(self)
        answer = self._connection.ask("PROPFIND", self._book.path, _LISTING, page.note, depth="1")
        if answer.status != 207:
            raise self._connection.unexpected(answer.status, "PROPFIND")
        if answer.is_cut or page.is_cut:
            raise BadReply(f"{self._connection.origin} sent a list of cards that is too long")
        self._store.note(page.changed, page.gone, "")
        self._store.end_listing()

    def count(self, listed: int) -> None:
        """Raise BadInput if the server lists more cards than a run may have."""
        if listed > self._most:
            raise BadInput(
                f"{self._connection.origin} lists more than {MAX_FILES:,} cards",
                hint="give the address of a smaller address book",
            )

    def place(self, href: str) -> str | None:
        """The path of a card; None for the book itself, or if it is outside of it, which is counted."""
        path = path_within(self._connection.origin, self._book.path, href)
        if path is None or not is_member(self._book.path, path):
            if path is None or key_of(path).rstrip("/") != key_of(self._book.path).rstrip("/"):
                self._outside += 1
            return None
        return path

    def _fetch(self, progress: Progress) -> int:
        """Fetch the cards that are wanted. Returns how many came."""
        wanted = self._store.wanted
        gone: set[str] = set()
        fetched = 0
        total, size = len(wanted), BATCH
        keys = list(wanted)
        while keys:
            progress(f"fetching {self._book.name}", total - len(keys), total)
            batch = keys[:size]
            if self._octets > MAX_FILE:
                raise BadInput(
                    f"the cards of {self._connection.origin} exceed {MAX_FILE >> 20} MiB without photos",
                    hint="give the address of a smaller address book",
                )
            came, missing, is_cut = self._fetch_batch({key: wanted[key][0] for key in batch})
            gone |= missing
            fetched += len(came)
            left = [key for key in batch if key not in came and key not in missing]
            keys = keys[len(batch) :]
            if not is_cut:
                size = BATCH
                if left:
                    self._faults["the server lists it, but does not send it", _NEXT_TIME] += len(left)
            elif len(batch) > 1:
                keys, size = left + keys, max(1, len(batch) // 2)
            else:
                self._faults[f"larger than {MAX_CARD >> 20} MiB", "remove its photo"] += len(left)
        self._store.settle(gone)
        return fetched

    def _fetch_batch(self, paths: dict[str, str]) -> tuple[set[str], set[str], bool]:
        """Fetch these cards: the keys of those that came, of those that are gone, and whether it was cut."""
        cards: dict[str, Card] = {}
        done: set[str] = set()
        gone: set[str] = set()

        def note(one: Response) -> None:
            path = path_within(self._connection.origin, self._book.path, one.href)
            key = "" if path is None else key_of(path)
            if key not in paths:
                return
            data = one.properties.get(f"{CARDS}address-data")
            if one.status in {404, 410}:
                gone.add(key)
            elif data is not None and data.is_cut:
                self._faults[f"larger than {MAX_CARD >> 20} MiB", "remove its photo"] += 1
                done.add(key)
            elif data is not None and data.text.strip():
                text = _BULKY.sub(b"", data.text.encode())
                self._octets += len(text)
                cards[key] = Card(paths[key], one.text(f"{DAV}getetag"), text)

        hrefs = "".join(f"<href>{escape(path)}</href>" for path in paths.values())
        try:
            answer = self._connection.ask("REPORT", self._book.path, _CARDS_OF.format(hrefs).encode(), note)
        finally:
            if cards:
                self._store.keep(list(cards.values()))
        if answer.status != 207:
            raise self._connection.unexpected(answer.status, "REPORT")
        return set(cards) | done, gone - set(cards), answer.is_cut


class _Page:
    """One page of a listing."""

    def __init__(self, puller: _Puller) -> None:
        self.changed: dict[str, tuple[str, str]] = {}
        self.gone: set[str] = set()
        self.is_cut = False
        self._puller = puller

    def note(self, one: Response) -> None:
        """Take one response."""
        if one.status == 507:  # RFC 6578 §3.6: the rest comes with the next token
            self.is_cut = True
            return
        path = self._puller.place(one.href)
        if path is None or f"{DAV}collection" in one.kinds():
            return
        key = key_of(path)
        if one.status in {404, 410}:
            self.gone.add(key)
            self.changed.pop(key, None)
        elif one.status < 300:
            self.gone.discard(key)
            self.changed[key] = (path, one.text(f"{DAV}getetag"))
            self._puller.count(len(self.changed))
