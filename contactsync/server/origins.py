"""Origins of pages that may use a server from a browser, as the operator names them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from contactsync.foundation.errors import BadInput

ORIGINS: Final = "web_origins"
"""The setting's name."""

ABOUT_ORIGINS: Final = (
    "Origins of pages that may use this server from a browser (CORS). Each is written as a browser does:"
    " scheme, host and, if it is not the usual one, port. Without any, no page of another origin can read a"
    " reply."
)
_ORIGIN: Final = re.compile(
    r"https://([a-z0-9]([a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\])(:(?!443$)[1-9][0-9]{0,4})?"
    r"|http://(localhost|127\.0\.0\.1|\[::1\])(:(?!80$)[1-9][0-9]{0,4})?"
)


def check_origin(text: str) -> str:
    """An origin as browsers write it in the field Origin. Raises BadInput for anything else.

    A name is as a browser sends it: in small letters, without the port that is usual for its scheme. `*` and
    `null` are none: the first is everybody, the second any page in a sandbox.
    """
    if _ORIGIN.fullmatch(text):
        return text
    raise BadInput(
        f"{text!r} is not the origin of a page",
        hint="write it as browsers do: https://app.example, in small letters, with a port only if it is not"
        " 443, and nothing behind it (http is for this machine alone)",
    )


def read_origins(path: Path, found: object) -> tuple[str, ...]:
    """The value of the setting in a settings file. Raises BadInput."""
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise BadInput(
            f"{path}: {ORIGINS} must be a list of texts", hint=f'write {ORIGINS} = ["https://app.example"]'
        )
    try:
        return tuple(map(check_origin, found))
    except BadInput as error:
        raise BadInput(f"{path}: {ORIGINS}: {error}", hint=error.hint) from None
