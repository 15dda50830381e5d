"""Marking the cards of matches with a category, and taking it back."""

from __future__ import annotations

from collections.abc import Callable

from contactsync.client.patience import Patience
from contactsync.contacts.categories import check_category
from contactsync.foundation.progress import Progress, silent
from contactsync.library.carddav import DavAccount
from contactsync.marking import marks
from contactsync.marking.marks import Marking, Marks
from contactsync.marking.undo import UndoList

__all__ = ["Marking", "Marks", "UndoList", "check_category", "unmark"]


def unmark(
    undo: UndoList,
    account: Callable[[str, str], DavAccount],
    *,
    timeout: float | None = 3600,
    progress: Progress = silent,
) -> Marks:
    """Take the category off the cards of an undo list. `account` gives that of an origin and a user.

    `timeout` is in seconds, for the whole. What could not be changed is in `left_alone`: call it again.
    """
    patience = Patience(timeout=timeout, progress=progress)
    return marks.unmark(undo, account, patience=patience, progress=progress)
