"""Data files from another host: the one redirect that a client follows (docs/http-api.md, "Redirects").

Only whole files are asked for like this, or their ends. The other host is never sent the credential. What it
sends counts only by the hash in the signed manifest. If anything is wrong, the server is asked instead.
"""

from __future__ import annotations

import re
from typing import Final

import urllib3
from urllib3.exceptions import LocationParseError

from contactsync.foundation.errors import BadReply
from contactsync.foundation.loopback import is_loopback

ACCEPT: Final = {"Prefer": "redirect"}
"""What a client sends that can follow one: servers redirect nobody else."""

REDIRECTS: Final = frozenset({302, 307})
STORE_LIMIT: Final = 4096

_URL: Final = re.compile(r"https?://[!-~]+", re.ASCII)


def store_url(reply: urllib3.BaseHTTPResponse, base_url: str) -> str:
    """Where a redirect leads to. Raises BadReply for a place that no client goes to.

    That is a place without TLS, unless server and place are on this machine; this machine, if the server is
    elsewhere; and a URL with a user, a password or a fragment.
    """
    text = reply.headers.get("Location", "")
    try:
        parts = urllib3.util.parse_url(text)
    except LocationParseError:
        raise _unusable(base_url) from None
    host = (parts.host or "").strip("[]")
    local = is_loopback(host)
    if (
        len(text) > STORE_LIMIT
        or not _URL.fullmatch(text)
        or not host
        or parts.auth
        or parts.fragment is not None
        or (local and not is_loopback((urllib3.util.parse_url(base_url).host or "").strip("[]")))
        or (parts.scheme != "https" and not local)
    ):
        raise _unusable(base_url)
    return text


def host_of(url: str) -> str:
    """The host and port of a URL, for people."""
    parts = urllib3.util.parse_url(url)
    return parts.netloc or ""


def _unusable(base_url: str) -> BadReply:
    return BadReply(
        f"{base_url} sent a redirect to a place that contactsync does not go to", hint="tell the operator"
    )
