"""Address books on CardDAV servers. Copies are kept in a folder: only what has changed is fetched."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

from contactsync.carddav.address import is_address, parse_address
from contactsync.carddav.authentication import Scheme
from contactsync.carddav.connection import DavAccount
from contactsync.carddav.passwords import password_of
from contactsync.carddav.pull import Pulled, pull
from contactsync.library.books import FetchedBook

__all__ = ["DavAccount", "Pulled", "Scheme", "account_at", "books_of", "is_address", "pull"]


def account_at(
    address: str,
    *,
    password_file: Path | None = None,
    password_command: str | None = None,
    ask: Callable[[str], str] | None = None,
    scheme: Scheme = "auto",
    ca_file: Path | None = None,
    allow_plain_http: bool = False,
    proxy: str | None = None,
) -> DavAccount:
    """The account at an address, such as `https://me@dav.example.org/`. Nothing is sent.

    The password is read only when the server asks for it: from the file, from the command, from the keyring,
    or from `ask`, which gets the name of the account. Raises BadInput if the address cannot be used.
    """
    parsed = parse_address(address, allow_plain_http=allow_plain_http)

    def secret() -> str:
        return password_of(parsed.account, file=password_file, command=password_command, ask=ask)

    return DavAccount(parsed, secret, scheme, ca_file, proxy)


def books_of(pulled: Pulled) -> list[FetchedBook]:
    """The address books of an account, as sources of `address_book`."""
    return [
        FetchedBook(
            f"{book.name} on {pulled.account.address.account}",
            [(unquote(card.path.rstrip("/").rpartition("/")[2]), card.data) for card in book.cards],
            book.faults,
        )
        for book in pulled.books
    ]
