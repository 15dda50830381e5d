"""The address of a CardDAV account: `carddav://USER@HOST/…`, and which texts are one.

`carddav://`, `carddavs://` and `https://` all mean TLS. `http://` is for this machine; for any other it must
be allowed explicitly. A password in an address is refused: other users of the machine can read a command
line.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from urllib.parse import quote, unquote, urljoin, urlsplit

from contactsync.client.state import is_in_clear
from contactsync.foundation.errors import BadInput

_SCHEMES = {"carddav": "https", "carddavs": "https", "https": "https", "http": "http"}
_PLAIN = re.compile(r"[0-9A-Za-z/._~-]*")  # nothing in it is ever escaped
_MEMBER = re.compile(r"(?:/[0-9A-Za-z_~-][0-9A-Za-z._~-]*)+/?")  # a path that needs no thought
_PORTS_OF = {"https": 443, "http": 80}
_EXAMPLE = "give an address such as carddav://USER@dav.example.org"


@dataclass(frozen=True, slots=True)
class Address:
    """Where an account is: `origin` (scheme, host, port), the path that was given, the user; "" if none."""

    origin: str
    path: str
    user: str

    @property
    def url(self) -> str:
        """The URL, without the user."""
        return self.origin + self.path

    @property
    def account(self) -> str:
        """The user and the host, as a person or a keyring names them."""
        host = self.origin.partition("://")[2]
        return f"{self.user}@{host}" if self.user else host

    @property
    def folder_name(self) -> str:
        """The name under which the cards of this account are kept."""
        name = re.sub(r"[^0-9A-Za-z.-]+", "_", self.origin.partition("://")[2])[:80]
        return f"{name}-{hashlib.sha256(f'{self.origin} {self.user}'.encode()).hexdigest()[:16]}"


def is_address(source: object) -> bool:
    """Whether this names a CardDAV account rather than a file."""
    return isinstance(source, str) and source.partition("://")[0].lower() in _SCHEMES and "://" in source


def parse_address(text: str, *, allow_plain_http: bool = False) -> Address:
    """Read an address. Raises BadInput, which never quotes it: there may be a password in it."""
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise BadInput("the address of the CardDAV server cannot be read", hint=_EXAMPLE) from error
    scheme = _SCHEMES.get(parts.scheme)
    userinfo = parts.netloc.rpartition("@")[0]
    if ":" in userinfo:
        raise BadInput(
            "there is a password in the address of the CardDAV server",
            hint="leave it out (carddav://USER@HOST): it is asked for, or give --password-file or"
            " --password-command. If others use this machine, change it: they could read the command line",
        )
    if scheme is None or not host or parts.query or parts.fragment:
        raise BadInput("the address of the CardDAV server is not a plain URL", hint=_EXAMPLE)
    if not re.fullmatch(r"[0-9A-Za-z._:-]+", host):
        raise BadInput("the host of the CardDAV server has characters that are not allowed", hint=_EXAMPLE)
    shown = f"[{host}]" if ":" in host else host
    if port is not None and port != _PORTS_OF[scheme]:
        shown = f"{shown}:{port}"
    origin = f"{scheme}://{shown}"
    if is_in_clear(origin) and not allow_plain_http:
        raise BadInput(
            f"{origin} is not encrypted: password and contacts would cross the network in the clear",
            hint="use carddav:// (which is encrypted), or --allow-plain-http if the connection is protected"
            " in another way",
        )
    user = unquote(userinfo)
    if not user.isprintable():
        raise BadInput("the user name in the address contains control characters", hint=_EXAMPLE)
    return Address(origin, quote(parts.path, safe="/%:@!$&'()*+,;=~") or "/", user)


def origin_of(url: str) -> str | None:
    """The origin of a URL, spelt as `Address.origin` is; None if it has none that can be used."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    if parts.scheme not in _PORTS_OF or not host:
        return None
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown}" + (f":{port}" if port not in {None, _PORTS_OF[parts.scheme]} else "")


def path_within(origin: str, base: str, href: str) -> str | None:
    """The path that an href of a reply to `base` (a path) means; None if it is of another origin, or none."""
    if _MEMBER.fullmatch(href):
        return href
    try:
        url = urljoin(origin + base, href.strip())
        parts = urlsplit(url)
    except ValueError:
        return None
    if origin_of(url) != origin or "@" in parts.netloc:
        return None
    path = parts.path or "/"
    if not re.fullmatch(r"[!-~]+", path):  # some servers do not escape what they should
        path = quote(path, safe="/%:@!$&'()*+,;=~")
    if any(unquote(segment) in {".", ".."} for segment in path.split("/")):
        return None
    return path + (f"?{parts.query}" if parts.query else "")


def key_of(path: str) -> str:
    """The one spelling of a path: servers escape the same name in several ways."""
    if _PLAIN.fullmatch(path):
        return path
    return "/".join(quote(unquote(segment), safe="") for segment in path.split("/"))


def is_member(book: str, path: str) -> bool:
    """Whether a path names something directly in a collection."""
    parent, member = key_of(book).rstrip("/") + "/", key_of(path)
    return member.startswith(parent) and bool(rest := member[len(parent) :]) and "/" not in rest.rstrip("/")
