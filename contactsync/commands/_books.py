"""Options of commands that read address books from CardDAV servers, and how these books are fetched."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from contactsync.commands import _output
from contactsync.commands._options import ca_file_option
from contactsync.foundation.errors import BadInput

if TYPE_CHECKING:  # these import an HTTP library
    from contactsync.foundation.progress import Progress
    from contactsync.library.books import FetchedBook
    from contactsync.library.carddav import DavAccount, Pulled, Scheme
    from contactsync.library.client import Patience

AUTHENTICATION = ["auto", "basic", "digest", "bearer"]

_OPTIONS = (
    click.option(
        "--password-file",
        type=click.Path(path_type=Path, readable=False),
        metavar="FILE",
        help="CardDAV: the password (or token) is the first line of FILE, which only you may read (0600).",
    ),
    click.option(
        "--password-command",
        metavar="COMMAND",
        help="CardDAV: the password is the first line that COMMAND prints, such as 'pass show dav'. Without "
        "both, the keyring is asked (`pip install 'contactsync[keyring]'`), then you.",
    ),
    click.option(
        "--auth",
        type=click.Choice(AUTHENTICATION),
        default="auto",
        show_default=True,
        help="CardDAV: how to sign in. auto: Digest if the server offers it, else Basic. bearer: a token.",
    ),
    ca_file_option("CardDAV: accept TLS certificates only from the authorities in this PEM file."),
    click.option(
        "--allow-plain-http", is_flag=True, help="CardDAV: accept http:// to another machine: no TLS."
    ),
)


@dataclass(frozen=True, slots=True)
class BookAccess:
    """What the options say about signing in to CardDAV servers."""

    password_file: Path | None = None
    password_command: str | None = field(default=None, repr=False)
    scheme: Scheme = "auto"
    ca_file: Path | None = None
    allow_plain_http: bool = False

    def account(self, address: str, *, proxy: str | None, may_ask: bool) -> DavAccount:
        """The account at an address. Raises BadInput. No password is read before the server asks for it."""
        from contactsync.library.carddav import account_at

        return account_at(
            address,
            password_file=self.password_file,
            password_command=self.password_command,
            ask=_ask if may_ask and sys.stdin.isatty() else None,
            scheme=self.scheme,
            ca_file=self.ca_file,
            allow_plain_http=self.allow_plain_http,
            proxy=proxy,
        )

    def accounts(self, addresses: Sequence[str], *, proxy: str | None, may_ask: bool) -> list[DavAccount]:
        """The accounts. Raises BadInput if one password would go to several of them."""
        if self.password_file is not None and self.password_command is not None:
            raise click.UsageError("--password-file and --password-command cannot be combined")
        found = [self.account(one, proxy=proxy, may_ask=may_ask) for one in addresses]
        names = {(one.address.origin, one.address.user) for one in found}
        if len(names) > 1 and (self.password_file is not None or self.password_command is not None):
            raise BadInput(
                "one password is given for several CardDAV accounts: each server would be told it",
                hint="read one account at a time, or keep the passwords in the keyring",
            )
        return found


def book_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options. The command gets them as `access`, a `BookAccess`."""

    @functools.wraps(command)
    def wrapped(
        *,
        password_file: Path | None,
        password_command: str | None,
        auth: str,
        ca_file: Path | None,
        allow_plain_http: bool,
        **others: Any,
    ) -> Any:
        scheme = cast("Scheme", auth)
        access = BookAccess(password_file, password_command, scheme, ca_file, allow_plain_http)
        return command(access=access, **others)

    for option in reversed(_OPTIONS):
        wrapped = option(wrapped)
    return wrapped


def is_remote(source: str) -> bool:
    """Whether a FILE of the command line is an account on a CardDAV server."""
    from contactsync.library.books import is_address

    return is_address(source)


def fetch(
    sources: Sequence[str],
    access: BookAccess,
    folder: Path,
    *,
    proxy: str | None,
    patience: Patience,
    progress: Progress,
) -> tuple[list[str | FetchedBook], list[Pulled]]:
    """Replace the CardDAV accounts among the sources by their address books, kept up to date in `folder`."""
    remote = [source for source in sources if is_remote(source)]
    if not remote:
        return list(sources), []
    from contactsync.library.carddav import books_of, pull

    accounts = iter(access.accounts(remote, proxy=proxy, may_ask="-" not in sources))
    read: list[str | FetchedBook] = []
    pulled = []
    for source in sources:
        if not is_remote(source):
            read.append(source)
            continue
        one = pull(next(accounts), folder, patience=patience, progress=progress)
        pulled.append(one)
        read += books_of(one)
    return read, pulled


def say_fetched(pulled: Sequence[Pulled]) -> None:
    """Say on stderr which address books were read, and how much had to be fetched."""
    for one in pulled:
        for book in one.books:
            cards = _output.counted(len(book.cards), "card", "cards")
            name = _output.printable(book.name)
            click.echo(f"read: {name} ({book.url}): {cards}, {book.fetched:,} fetched now", err=True)


def _ask(account: str) -> str:
    if sys.stderr.isatty():
        click.echo("\r\x1b[K", nl=False, err=True)  # in place of the progress
    return str(click.prompt(f"Password for {_output.printable(account)}", hide_input=True, err=True))
