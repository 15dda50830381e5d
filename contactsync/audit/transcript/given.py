"""The files that the audit of a transcript is given: whole and as a sync wrote them, or that is a finding.

What is damaged accuses nobody. It proves nothing either, so it is unchecked.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from contactsync.audit.report import AuditReport
from contactsync.audit.transcript.private import SAME_VERSION, Private
from contactsync.client.core.planner import PARTITIONS, Options
from contactsync.client.privacy import load_modes
from contactsync.client.transcript import BadTranscript, Transcript
from contactsync.contacts import AddressBook
from contactsync.foundation.audiences import AUDIENCES

RECORD: Final = "record"
"""The rule about the files themselves."""


@dataclass(frozen=True, slots=True)
class GivenFiles:
    """A transcript with the options of its sync, and what explains it, if that was given and is whole.

    `sought` are the identifiers that the sync looked up: those of the book, and their further forms.
    """

    transcript: Transcript
    options: Options
    private: Private | None = field(repr=False)
    book: AddressBook = field(repr=False)
    sought: list[bytes] = field(repr=False)


def read_given(
    report: AuditReport,
    path: Path,
    transcript: Transcript | None,
    private: Path | None,
    book: AddressBook | None,
) -> GivenFiles | None:
    """Read them. None if the transcript is damaged. Raises BadInput if a file cannot be opened.

    `transcript` is what was read from `path` before. Without a whole private file the transcript is still
    checked as by an outsider.
    """
    try:
        transcript = transcript or Transcript.read(path)
        options = _options(path, transcript)
    except BadTranscript as error:
        _leave(report, error)
        return None
    report.prove(RECORD)
    explained = None
    if private is not None:
        try:
            explained = Private.read(private, transcript.ending)
        except BadTranscript as error:
            _leave(report, error)
        else:
            report.prove(RECORD)
    book = book or AddressBook([])
    sought = [] if explained is None else book.sought if explained.forms else book.identifiers
    return GivenFiles(transcript, options, explained, book, sought)


def _leave(report: AuditReport, error: BadTranscript) -> None:
    report.leave(RECORD, error.place, error.why, error.hint)


def _options(path: Path, transcript: Transcript) -> Options:
    given: dict[str, Any] = {"labels": False} | dict(transcript.opening.options)  # earlier ones fetched none
    usual = asdict(Options())
    strange = BadTranscript(
        f"{path}, line 1", "it states options that this version does not know", hint=SAME_VERSION
    )
    if {name: type(one) for name, one in given.items()} != {name: type(one) for name, one in usual.items()}:
        raise strange
    options = Options(**given)
    modes = load_modes()
    known = options.privacy in modes and options.partitions in PARTITIONS
    known = known and not modes[options.privacy].of_table  # two servers are asked, and a transcript is of one
    if not known or options.audience not in AUDIENCES or options.buckets < 1:
        raise strange
    return options
