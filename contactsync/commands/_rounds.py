"""One round of a sync: read the address books, ask the servers, say what came of it."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from contactsync.commands import _books, _json, _output, _people, say_error
from contactsync.commands._gathering import Gathering
from contactsync.commands._marking import Marker
from contactsync.commands._progress import ProgressBoard
from contactsync.commands._services import Given, Run, Service, ServiceOutcome, exit_code
from contactsync.commands._watching import now
from contactsync.foundation.errors import NetworkError, OutOfQuota

if TYPE_CHECKING:
    from contactsync.library.books import AddressBook
    from contactsync.library.carddav import Pulled
    from contactsync.library.client import Patience
    from contactsync.library.marking import Marks
    from contactsync.library.state import State

Found = tuple[str, str, str]
"""A service, and a name with an identifier that it knows."""


class Rounds:
    """The rounds of one command: `given` is its command line, with its configuration."""

    def __init__(
        self, given: Given, services: Sequence[Service], state: State, access: _books.BookAccess
    ) -> None:
        self._given = given
        self._services = services
        self._state = state
        self._of = given.settings(None)
        self._known: set[Found] | None = None
        self._gathering = Gathering(given, access, self._of)
        gathering = self._gathering
        self._marker = Marker(self._of["category"], gathering.sources, gathering.identifiers_of)
        self._marks: Marks | None = None
        self._patience: Patience | None = None

    @property
    def _is_for_programs(self) -> bool:
        return bool(self._of["as_json"]) or self._of["form"] != "table"

    def read(self) -> AddressBook:
        """The address books. Raises BadInput if they contain no contact."""
        from contactsync.library.client import Patience

        self._patience = Patience(timeout=self._of["timeout"])
        return self._gathering.read(self._state, self._patience)

    @property
    def pulled(self) -> Sequence[Pulled]:
        """What was fetched from CardDAV servers."""
        return self._gathering.pulled

    def run(self) -> tuple[list[ServiceOutcome], AddressBook]:
        """Ask all services. With one alone, its error is raised."""
        of, configuration = self._of, self._given.configuration
        book = self.read()
        files = [Path(one) for one in self._gathering.sources] + self._gathering.files
        files += [one for one in (of["credential_file"], of["transcript"], configuration.path) if one]
        if of["transcript"]:
            from contactsync.library.client import private_path

            files.append(private_path(of["transcript"]))
        _output.check_writable(of["output"], files)
        with contextlib.ExitStack() as stack:
            if of["verbose"]:
                stack.enter_context(_output.log_on_stderr())
            board = stack.enter_context(
                ProgressBoard([one.name for one in self._services], quiet=of["quiet"])
            )
            run = Run(
                self._state,
                book,
                board,
                keep_names=configuration.keep_results,
                transcript=of["transcript"],
            )
            outcomes = run.all(self._services)
        if len(outcomes) == 1 and outcomes[0].error is not None:
            raise outcomes[0].error
        return outcomes, book

    def say(self, outcomes: Sequence[ServiceOutcome], book: AddressBook) -> None:
        """Print the result, and on stderr all that is to be said of it."""
        of, alone = self._of, len(outcomes) == 1
        for one in outcomes:
            if one.report is not None:
                _output.say_unchecked(one.report.unchecked)
        self._mark(outcomes)
        quiet = of["quiet"] and not self._is_for_programs and of["output"] is None
        if not quiet:
            text = self._text(outcomes, book)
            _output.write(text, of["output"], utf8=self._is_for_programs)
        for one in outcomes:
            self._say_one(one, book, alone=alone)
        if not of["quiet"] and not self._is_for_programs and sys.stderr.isatty():
            first = [one for one in outcomes if one.is_first and one.report is not None]
            _say_first(first, book, alone=alone)

    def _mark(self, outcomes: Sequence[ServiceOutcome]) -> None:
        """Mark the cards of those who matched anywhere, if that is wanted."""
        reports = [one.report for one in outcomes if one.report is not None]
        matched = frozenset(match.identifier.encode() for report in reports for match in report.matches)
        assert self._patience is not None, "the address books were read"
        self._marks = self._marker.mark(matched, self.pulled, self._state.marks, self._patience)

    def finish(self) -> None:
        """Say what was marked. Raises the error that ended it, if there was one."""
        self._marker.finish(quiet=self._of["quiet"])

    def say_what_would_be_marked(self, book: AddressBook) -> None:
        """List the cards that would be marked, by what the last sync found."""
        if self._of["category"] is None:
            return
        from contactsync.library.client import Client

        client = Client(self._state.folder)
        matched: frozenset[bytes] = frozenset()
        for one in self._services:
            matched |= client.last_matches(book, server=one.url, audience=one.settings["audience"])
        self._marker.say_what_would_be_marked(matched, self.pulled)

    def _text(self, outcomes: Sequence[ServiceOutcome], book: AddressBook) -> str:
        of, one = self._of, outcomes[0]
        if len(outcomes) > 1:
            if of["as_json"]:
                return _people.as_json(outcomes, book, marks=self._marks)
            if of["form"] == "table":
                return _people.as_table(outcomes, book, plain=of["output"] is not None)
            return _people.FORMATS[of["form"]](outcomes, book)
        assert one.report is not None
        if of["as_json"]:
            value = _output.result(one.report, book, sent=one.sent, received=one.received)
            return _json.text(value | _output.marked(self._marks))
        if of["form"] == "table":
            return _output.as_table(one.report, book, plain=of["output"] is not None)
        return _output.FORMATS[of["form"]](one, book)

    def _say_one(self, one: ServiceOutcome, book: AddressBook, *, alone: bool) -> None:
        of = self._of
        if one.error is not None:
            say_error(one.error, of=f"{one.service.name}: ")
            return
        assert one.report is not None
        prefix = "" if alone else f"{one.service.name}: "
        if of["verbose"]:
            _output.say_details(one.report, book, sent=one.sent, received=one.received)
        summarised = of["quiet"] or (of["output"] is None and (of["form"] == "table" or of["as_json"]))
        _output.say_on_stderr(one.report, book, summarised=summarised, prefix=prefix)

    def watched(self, first: bool) -> float:
        """A round of `--watch`. How long the servers want to be left alone, in seconds.

        A fault that will not pass by itself ends the first round with its error. Later ones are said, and the
        next round has its turn.
        """
        from contactsync.foundation.errors import ContactSyncError

        try:
            outcomes, book = self.run()
        except ContactSyncError as error:
            if first and not _may_pass(error):
                raise
            self._say_failure(error)
            return _pause([error])
        errors = [one.error for one in outcomes if one.error is not None]
        if first and len(errors) == len(outcomes) and not any(map(_may_pass, errors)):
            self.say(outcomes, book)
            click.get_current_context().exit(exit_code(outcomes))
        if first or self._is_for_programs or self._of["output"] is not None:
            self.say(outcomes, book)
        else:
            self._mark(outcomes)
            for one in errors:
                say_error(one)
        try:
            self.finish()
        except ContactSyncError as error:
            say_error(error)
        self._say_news(outcomes)
        sys.stdout.flush()
        return _pause(errors)

    def _say_failure(self, error: Any) -> None:
        if self._of["as_json"]:
            _json.emit({"error": _json.error_value(error)})
        say_error(error)

    def _say_news(self, outcomes: Sequence[ServiceOutcome]) -> None:
        """Who was found, or is found no more, since the last round."""
        reached = {one.service.name for one in outcomes if one.report is not None}
        found = {
            (one.service.name, match.name, match.written)  # whichever form of it is registered now
            for one in outcomes
            if one.report is not None
            for match in one.report.matches
        }
        before = self._known
        self._known = found | {one for one in before or () if one[0] not in reached}
        if before is None or self._is_for_programs or self._of["quiet"]:
            return
        for word, people in (("new", self._known - before), ("gone", before - self._known)):
            for service, name, identifier in sorted(people):
                where = f" ({service})" if len(outcomes) > 1 else ""
                click.echo(f"{now()} {word}: {name} {_output.shown_all([identifier])}{where}")


def _may_pass(error: Any) -> bool:
    return isinstance(error, NetworkError | OutOfQuota) or getattr(error, "retry_after", 0) > 0


def _pause(errors: Sequence[Any]) -> float:
    return max((getattr(error, "retry_after", 0) for error in errors), default=0)


def _say_first(outcomes: Sequence[ServiceOutcome], book: AddressBook, *, alone: bool) -> None:
    """What somebody wants to know after their first sync with a service."""
    if not outcomes:
        return
    of = "" if alone else f" with {', '.join(one.service.name for one in outcomes)}"
    most = max(
        (one.report for one in outcomes if one.report is not None), key=lambda one: one.new_identifiers
    )
    asked = most.new_identifiers
    was = "was" if asked == 1 else "were"
    click.echo(
        f"\nThis was the first sync{of}: {_output.asked_of(most, book, asked)} {was} looked up. "
        "The next one asks only about new ones.\n"
        "  contactsync matches        shows the result again, without the network\n"
        "  contactsync config init    so that `contactsync sync` alone does it all\n"
        "  contactsync forget         wipes what is kept here",
        err=True,
    )
