"""Answers to requests that may be sent again, kept where the changes are that they tell of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """What is kept of a request: which it was, and the answer, None while it is not known.

    Both are unreadable without the caller's own key (`admin.idempotency`). `at` is milliseconds since 1970.
    """

    request: bytes
    answer: bytes | None
    at: int


class AnswerStore(Protocol):
    """Answers to requests that may be sent again. For the thread of its MemberStore. Raises OurError."""

    def find(self, names: Sequence[bytes]) -> dict[bytes, KeptAnswer]:
        """What is kept under those of these names (at most some hundreds) that there are."""

    def keep(self, answers: Mapping[bytes, KeptAnswer]) -> None:
        """Keep these under their names, in the place of what was there."""

    def drop(self, name: bytes) -> None:
        """Forget what is kept under a name."""

    def sweep(self, before: int) -> None:
        """Forget what was kept before `before`."""
