"""The steps from text to identifier, and the error that ends them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from contactsync.foundation.errors import BadInput


class Rejected(BadInput):
    """A text is not an identifier: a phone number or an e-mail address that can be looked up.

    `reason` and `hint` are short and contain nothing of the text, so they may be logged.
    """

    def __init__(self, reason: str, hint: str = "") -> None:
        super().__init__(reason, hint=hint)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Step:
    """One step, for people to read: its name, its result, and why."""

    name: str
    result: str
    why: str


Record = Callable[[str, str, str], None]
"""Takes the fields of a Step."""


def no_record(_name: str, _result: str, _why: str) -> None:
    """Keeps nothing."""
