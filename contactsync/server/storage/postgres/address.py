"""Where a PostgreSQL database is: a URL without a password, and from where the password comes.

A password reaches libpq by CONTACTSYNC_DATABASE, by a file that server.toml names, or in libpq's own ways
(PGPASSFILE, ~/.pgpass, a service, a certificate, peer). It is in no argument list, error or log.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from contactsync.foundation.errors import BadInput

VARIABLE: Final = "CONTACTSYNC_DATABASE"

_SCHEMES: Final = ("postgresql", "postgres")
_SECRET: Final = ("password", "sslpassword")
_WAYS: Final = f"give it by {VARIABLE}, PGPASSFILE, a service file, or database_password_file in server.toml"


@dataclass(frozen=True, slots=True)
class DatabaseUrl:
    """`url` has no password in it. An object never shows the password."""

    url: str
    password: str | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, text: str) -> DatabaseUrl:
        """Take a URL apart. Raises BadInput, without quoting it: it may contain a password."""
        try:
            parts = urlsplit(text)
            _ = [int(port) for port in _ports(parts.netloc)]
        except ValueError:
            raise BadInput("the URL of the database cannot be read", hint=_example()) from None
        # Without // all is a path, and a password in it would be shown.
        named = parts.scheme in _SCHEMES and text[len(parts.scheme) :].startswith("://")
        if not named or parts.fragment or not text.isprintable() or " " in text:
            raise BadInput("the database must be given as postgresql://…", hint=_example())
        user, at, hosts = parts.netloc.rpartition("@")
        name, colon, password = user.partition(":")
        options = parse_qsl(parts.query, keep_blank_values=True)
        hidden = [value for key, value in options if key == "password"]
        if any(key == "sslpassword" for key, _ in options):
            raise BadInput("the URL of the database contains sslpassword", hint="use a key without one")
        found = unquote(password) if colon else (hidden[-1] if hidden else None)
        query = urlencode([(key, value) for key, value in options if key not in _SECRET])
        url = f"{parts.scheme}://{name}{at}{hosts}{parts.path}"  # urlunsplit drops // where no host follows
        return cls(url + (f"?{query}" if query else ""), found)

    @classmethod
    def without_password(cls, text: str, where: str) -> DatabaseUrl:
        """The same, where others can read the text. Raises BadInput if it contains a password."""
        found = cls.parse(text)
        if found.password is not None:
            raise BadInput(f"{where} contains the password of the database", hint=_WAYS)
        return found

    def with_password_of(self, file: Path | None) -> DatabaseUrl:
        """The address with the first line of a file as its password. Raises BadInput."""
        if file is None or self.password is not None:
            return self
        try:
            if file.stat().st_mode & 0o077:
                raise BadInput(f"{file} can be read by others", hint=f"chmod 600 {file}")
            password = file.read_text("utf-8").split("\n", 1)[0]
        except (OSError, UnicodeDecodeError):
            raise BadInput(
                f"the password of the database cannot be read from {file}",
                hint="check database_password_file",
            ) from None
        return DatabaseUrl(self.url, password)

    @property
    def several(self) -> bool:
        """Whether there is more than one host, of which one is the primary server at a time."""
        return "," in urlsplit(self.url).netloc.rpartition("@")[2]

    def __str__(self) -> str:
        parts = urlsplit(self.url)
        return f"{parts.netloc.rpartition('@')[2] or 'this machine'}{parts.path}"


def address_of(url: str, password_file: str, folder: Path) -> DatabaseUrl:
    """The address to use: that of the environment if there is one, else that of server.toml. BadInput."""
    given = os.environ.get(VARIABLE)
    if given:
        return DatabaseUrl.parse(given)
    file = folder / password_file if password_file else None
    return DatabaseUrl.without_password(url, "server.toml").with_password_of(file)


def _ports(netloc: str) -> list[str]:
    hosts = netloc.rpartition("@")[2].split(",")
    ports = (host.rpartition("]")[2].partition(":")[2] for host in hosts)
    return [port for port in ports if port]


def _example() -> str:
    return "write it like postgresql://user@host/database"
