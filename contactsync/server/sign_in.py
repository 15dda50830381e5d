"""One-time codes: a messenger's back end gets one for a page, which exchanges it for a credential.

So no lasting credential is in a page, nor in an address: a code works once, for minutes, and what it brings
ends by itself. The code says for how long that is valid; nobody can change it, as it is stored hashed whole.
"""

from __future__ import annotations

import re
import secrets
from typing import Final

CODE_SECONDS: Final = 300
"""For how long a code can be used, unless it is said otherwise."""

LONGEST_CODE_SECONDS: Final = 3600
CREDENTIAL_SECONDS: Final = 12 * 3600
"""For how long the credential is valid, unless it is said otherwise."""

LONGEST_CREDENTIAL_SECONDS: Final = 30 * 86_400
SHORTEST_SECONDS: Final = 10

_CODE_BYTES: Final = 32
_CODE: Final = re.compile(r"csc_[A-Za-z0-9_-]{43}\.([1-9][0-9]{1,6})")


def new_code(credential_seconds: int = CREDENTIAL_SECONDS) -> str:
    """256 random bits and the seconds, in characters that need no escape in an address."""
    return f"csc_{secrets.token_urlsafe(_CODE_BYTES)}.{credential_seconds}"


def credential_seconds(code: str) -> int | None:
    """For how long a code's credential is to be valid; None: this has not the form of a code."""
    match = _CODE.fullmatch(code)
    return None if match is None else int(match[1])
