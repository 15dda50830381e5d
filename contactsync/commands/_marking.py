"""`sync --mark`: what it changes, what it would change, and what it says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from contactsync.commands import _output
from contactsync.commands._books import is_remote
from contactsync.commands._progress import ProgressLine
from contactsync.foundation.errors import ContactSyncError

if TYPE_CHECKING:  # these import an HTTP library
    from contactsync.library.carddav import Pulled
    from contactsync.library.client import Patience
    from contactsync.library.marking import Marking, Marks


class Marker:
    """Marks the cards of one sync, if a category is given. Raises BadInput if this cannot be one.

    An error while it marks is kept, so that the sync can print what it found first.
    """

    def __init__(
        self, category: str | None, sources: Sequence[str], identifiers_of: Callable[[bytes], list[bytes]]
    ) -> None:
        self._category = category
        if category is not None:
            from contactsync.library.marking import check_category

            self._category = check_category(category)
        self._sources = [source for source in sources if not is_remote(source)]
        self._identifiers_of = identifiers_of
        self._marks: Marks | None = None
        self._error: ContactSyncError | None = None

    def mark(
        self, matched: frozenset[bytes], pulled: Sequence[Pulled], folder: Path, patience: Patience
    ) -> Marks | None:
        """Mark the cards with these identifiers. The undo list will be in `folder`."""
        if self._category is None:
            return None
        plan = self._plan(matched, pulled, self._category)
        self._marks, self._error = plan.marks, None
        try:
            with ProgressLine() as line:
                plan.run(folder, patience=patience.with_progress(line), progress=line)
        except ContactSyncError as error:
            self._error = error
        return plan.marks

    def finish(self, *, quiet: bool = False) -> None:
        """Say what was marked. Raises the error that ended it, if there was one."""
        if self._marks is None:
            return
        done = f"marked as {self._marks.category}"
        if not quiet:
            _output.say_marked(self._marks, done=done, already="had it already")
        if self._error is not None:
            raise self._error

    def say_what_would_be_marked(self, matched: frozenset[bytes], pulled: Sequence[Pulled]) -> None:
        """List the cards that a sync with this result would change."""
        if self._category is None:
            return
        plan = self._plan(matched, pulled, self._category)
        for place in plan.places:
            click.echo(f"would mark: {_output.printable(place)}", err=True)
        done = f"would mark as {self._category}, by what the last sync found"
        plan.marks.changed = len(plan.places)
        _output.say_marked(plan.marks, done=done, already="have it already")

    def _plan(self, matched: frozenset[bytes], pulled: Sequence[Pulled], category: str) -> Marking:
        from contactsync.library.marking import Marking

        return Marking(
            self._sources,
            pulled,
            identifiers=matched,
            identifiers_of=self._identifiers_of,
            category=category,
        )
