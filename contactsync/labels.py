"""Labels: what an operator attaches to a member (account id, handle, key fingerprint)."""

from __future__ import annotations

from typing import Final

from contactsync.foundation.errors import BadInput

KEY_BYTES: Final = 32
"""Octets of a label's key: output[10:42], beside the token."""

MAX_LABEL: Final = 64
"""Octets of a label, in UTF-8."""


def check_label(text: str) -> bytes:
    """A label as it is stored, 1 to 64 octets of UTF-8.

    Raises BadInput: empty, too long, with a space at an end, unprintable, or text that UTF-8 cannot hold.
    """
    try:
        octets = text.encode()
    except UnicodeEncodeError:
        raise BadInput("the label is not valid UTF-8", hint="write it as UTF-8 text") from None
    if not octets:
        raise BadInput("the label is empty", hint="remove the label instead")
    if len(octets) > MAX_LABEL:
        raise BadInput(
            f"the label takes {len(octets)} octets in UTF-8, more than {MAX_LABEL}",
            hint="give a shorter one: an account id, a handle, a key fingerprint",
        )
    if not text.isprintable() or text != text.strip():
        raise BadInput(
            "the label has a character that cannot be printed, or a space at an end",
            hint="remove it",
        )
    return octets
