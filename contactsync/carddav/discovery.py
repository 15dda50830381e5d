"""Finds the address books of an account (RFC 6764 §6, RFC 6352 §7.1).

From an address with a path: that address book, or the books directly below it, or else those of the user.
From a host alone: `/.well-known/carddav`, or else `/`, then the user (current-user-principal), then the place
of the user's books (addressbook-home-set). SRV and TXT records are not looked up: without DNSSEC, whoever
answers could name the host that the password goes to (docs/address-books.md).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from contactsync.carddav.address import is_member, key_of
from contactsync.carddav.connection import Answer, DavConnection
from contactsync.carddav.multistatus import CARDS, DAV, Element, Response
from contactsync.contacts.book import clean_name
from contactsync.foundation.errors import BadInput, BadReply, NetworkError, Refused, ServerFailed

_WHAT_TO_ENTER: Final = (
    "if {host} is what follows the @ of your mail address, enter the host of its CardDAV server instead, as "
    "`contactsync docs address-books` or the provider names it: it is not looked up in the DNS"
)
WELL_KNOWN: Final = "/.well-known/carddav"
MAX_BOOKS: Final = 200

_PROPFIND: Final = (
    b'<?xml version="1.0" encoding="utf-8"?>'
    b'<propfind xmlns="DAV:" xmlns:C="urn:ietf:params:xml:ns:carddav"><prop>'
    b"<resourcetype/><displayname/><current-user-principal/><C:addressbook-home-set/><sync-token/>"
    b"<supported-report-set/></prop></propfind>"
)


@dataclass(frozen=True, slots=True)
class RemoteBook:
    """An address book: its path, its name, and whether it says that it can report changes (RFC 6578)."""

    path: str
    name: str
    reports_changes: bool


@dataclass(frozen=True, slots=True)
class Found:
    """The books, and whether they are all of the account."""

    books: tuple[RemoteBook, ...]
    is_all: bool


def find_books(connection: DavConnection, path: str) -> Found:
    """The books that an address leads to, perhaps none. Raises BadInput, and as `DavConnection.ask` does."""
    if path != "/":
        answer, own = _look(connection, path)
        if own is None:
            raise connection.unexpected(answer.status, "PROPFIND")
        if _is_book(own):
            return Found((_book(answer.path, own),), is_all=False)
        below = _books_below(connection, answer.path)
        if below:
            return Found(below, is_all=False)
    else:
        answer, own = _look_at_host(connection)
    return _of_user(connection, answer.path, own)


def _look_at_host(connection: DavConnection) -> tuple[Answer, Response]:
    """What a host alone leads to. What fails there says what to enter instead."""
    try:
        answer, own = _look(connection, WELL_KNOWN)
        if own is None:
            answer, own = _look(connection, "/")
        if own is None:
            raise connection.unexpected(answer.status, "PROPFIND")
    except (NetworkError, Refused, BadReply, ServerFailed) as error:
        if not isinstance(error, Refused) or error.status not in {401, 403}:
            host = connection.origin.partition("://")[2]
            error.hint += f"{'; ' if error.hint else ''}{_WHAT_TO_ENTER.format(host=host)}"
        raise
    return answer, own


def _of_user(connection: DavConnection, base: str, own: Response) -> Found:
    """The books of the user, from the properties of whatever was found first."""
    homes = _hrefs(connection, base, own, f"{CARDS}addressbook-home-set")
    if not homes:
        base, own = _principal(connection, base, own)
        homes = _hrefs(connection, base, own, f"{CARDS}addressbook-home-set")
    books: dict[str, RemoteBook] = {}
    for home in homes:
        books |= {key_of(book.path): book for book in _books_below(connection, home)}
    return Found(tuple(books.values()), is_all=True)


def _principal(connection: DavConnection, base: str, own: Response) -> tuple[str, Response]:
    """Who the user is, with the properties of that."""
    name = f"{DAV}current-user-principal"
    principals = _hrefs(connection, base, own, name)
    if not principals and connection.authenticator.can_volunteer:  # to this server we are nobody so far
        connection.authenticator.volunteer()
        answer, again = _look(connection, base)
        if again is not None:
            base, own = answer.path, again
            principals = _hrefs(connection, base, own, name)
    if not principals:
        raise BadInput(
            f"{connection.origin} does not say where your address books are",
            hint="give the address of the address book itself, as the provider's settings show it",
        )
    answer, principal = _look(connection, principals[0])
    if principal is None:
        raise connection.unexpected(answer.status, "PROPFIND")
    return answer.path, principal


def _look(connection: DavConnection, path: str) -> tuple[Answer, Response | None]:
    """What a server says of one path: None unless it is there and speaks WebDAV."""
    said: list[Response] = []
    answer = connection.ask("PROPFIND", path, _PROPFIND, said.append, depth="0")
    if answer.status != 207 or not said:
        return answer, None
    if said[0].status >= 300:  # some servers say so inside of a multistatus
        return replace(answer, status=said[0].status), None
    return answer, said[0]


def _books_below(connection: DavConnection, path: str) -> tuple[RemoteBook, ...]:
    """The address books directly in a collection. Those that are elsewhere are not asked for."""
    found: dict[str, RemoteBook] = {}
    answers: list[Response] = []

    def note(one: Response) -> None:
        if _is_book(one):
            if len(answers) >= MAX_BOOKS:
                raise BadReply(f"{connection.origin} lists more than {MAX_BOOKS} address books")
            answers.append(one)

    answer = connection.ask("PROPFIND", path, _PROPFIND, note, depth="1")
    if answer.status != 207:
        return ()
    for one in answers:
        place = connection.inside(answer.path, one.href)
        if is_member(answer.path, place) or key_of(place).rstrip("/") == key_of(answer.path).rstrip("/"):
            found[key_of(place)] = _book(place, one)
    return tuple(found.values())


def _hrefs(connection: DavConnection, base: str, own: Response, name: str) -> list[str]:
    found: Element | None = own.properties.get(name)
    return [] if found is None else [connection.inside(base, href) for href in found.hrefs() if href]


def _is_book(response: Response) -> bool:
    return f"{CARDS}addressbook" in response.kinds()


def _book(path: str, response: Response) -> RemoteBook:
    name = response.text(f"{DAV}displayname") or path.rstrip("/").rpartition("/")[2]
    reports = response.properties.get(f"{DAV}supported-report-set")
    kinds = [] if reports is None else [one.find(f"{DAV}report") for one in reports.children]
    can = any(kind is not None and kind.find(f"{DAV}sync-collection") is not None for kind in kinds)
    return RemoteBook(path, clean_name(name), can)
