"""`contactsync sync`: find out which contacts are members."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from contactsync.client.privacy import DEFAULT, MODES
from contactsync.commands import _books, _marking, _output
from contactsync.commands._options import (
    Duration,
    Size,
    json_option,
    open_state,
    proxy_option,
    read_credential,
    server_option,
    state_option,
)
from contactsync.foundation.errors import BadInput, NotTrusted

if TYPE_CHECKING:
    from contactsync.client.state import State
    from contactsync.contacts import AddressBook
    from contactsync.sources import FetchedBook


@click.command()
@click.argument("sources", nargs=-1, required=True, metavar="FILE…")
@server_option("The server to ask (optional if you trust only one).")
@click.option(
    "--credential-file",
    type=click.Path(path_type=Path, readable=False),
    envvar="CONTACTSYNC_CREDENTIAL_FILE",
    metavar="FILE",
    help="File that contains your account's credential (CONTACTSYNC_CREDENTIAL_FILE).",
)
@click.option("--region", metavar="XX", help="Country of numbers without +, e.g. DE (default: the locale's).")
@click.option(
    "--audience",
    type=click.Choice(["people", "business"]),
    default="people",
    show_default=True,
    help="Which members to look for.",
)
@click.option(
    "--privacy",
    type=click.Choice(list(MODES)),
    default=DEFAULT,
    show_default=True,
    help="What the server may learn. " + " ".join(f"{name}: {text}." for name, text in MODES.items()),
)
@click.option(
    "--partitions",
    type=click.Choice(["all", "mine"]),
    default="all",
    show_default=True,
    help="mine: download only the calling codes in your book; the server sees which.",
)
@click.option(
    "--max-download",
    type=Size(),
    default="1G",
    show_default=True,
    metavar="SIZE",
    help="If the download would be larger, stop before anything is sent and show the choices. With --privacy "
    "screen it may also stop later, once it is known how many contacts pass the filter.",
)
@click.option(
    "--buckets",
    type=click.IntRange(1, 4096),
    default=64,
    show_default=True,
    help="With --privacy screen: fetch this many buckets of a partition, or a multiple, decoys included.",
)
@click.option(
    "--cover/--no-cover",
    default=True,
    help="If nothing is new, send eight padding points, so that it looks like up to eight new contacts "
    "(default). --no-cover saves their cost.",
)
@click.option(
    "--leak-budget",
    type=click.FloatRange(1),
    default=1000,
    show_default=True,
    metavar="ODDS",
    help="With --privacy screen: do not send a bucket list if it and all lists before it would multiply the "
    "odds of a guess by more than this.",
)
@click.option(
    "--timeout",
    type=Duration(),
    default="1h",
    show_default=True,
    metavar="TIME",
    help="Stop after this time (90s, 5m, 1h). What was received is kept, and the next sync continues there.",
)
@proxy_option
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "csv", "vcf"]),
    default="table",
    show_default=True,
    help="How to print the matches.",
)
@json_option
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write the matches to FILE (0600) instead of stdout. If the sync fails, nothing is written.",
)
@click.option(
    "--mark",
    "category",
    metavar="CATEGORY",
    help="Add CATEGORY to the cards of those who matched, in vCard files, folders and on CardDAV servers. "
    "Nothing else in them changes. `contactsync unmark` undoes it. Who can read these cards then sees who "
    "matched.",
)
@click.option(
    "--dry-run",
    is_flag=True,
    help="Show how much would be sent, and send nothing. With --mark: also which cards would be changed, by "
    "what the last sync found.",
)
@click.option("--verbose", "-v", is_flag=True, help="Print more details on stderr.")
@click.option(
    "--transcript",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Record every byte sent or received in FILE (0600; it contains the credential).",
)
@_books.book_options
@state_option
def sync(
    *,
    access: _books.BookAccess,
    sources: tuple[str, ...],
    url: str | None,
    credential_file: Path | None,
    region: str | None,
    audience: str,
    privacy: str,
    partitions: Literal["all", "mine"],
    max_download: int,
    buckets: int,
    cover: bool,
    leak_budget: float,
    timeout: float,
    proxy: str | None,
    form: str,
    as_json: bool,
    output: Path | None,
    category: str | None,
    dry_run: bool,
    verbose: bool,
    transcript: Path | None,
    state_folder: Path | None,
) -> None:
    """Find out which contacts in the address books FILE… are members.

    FILE is a vCard file, a folder of them, a Google, Outlook or plain CSV, or a list of numbers; - is stdin.
    carddav://USER@HOST is all address books of an account on a CardDAV server, with a path only those there.
    They are fetched first; only what has changed since the last time is. Nobody else sees these requests.
    Before numbers leave this machine, they are blinded and mixed with random ones. Matching happens on this
    machine. The last line says what the server could learn.

    With --json, one object is printed: matches, joined, left (lists of {name, identifier}), contacts,
    identifiers, unreadable (list of {file, place, reason}), unusable (list of {partition, reason,
    identifiers}: not looked up), evaluated (points sent, padding included), new_identifiers, bytes_sent,
    bytes_received, audience, epoch, edition, members, privacy, partitions, false_positive_rate, quota ({left,
    burst, per_day} in points, or null), leak_odds (of all lists so far, by calling code), leak,
    unchecked_history, withdrawn_epoch. joined and left are changes since the last sync, among contacts that
    it knew. With --mark also marked ({category, changed, already, left_alone: list of {place, reason}, undo:
    a file or null}).
    unchecked_history is null, or {since, until} (each {epoch, edition}): between these, too much was
    published to check that the server still shows the same history. withdrawn_epoch is null, or an announced
    epoch that this client had moved to and that did not come. A sync that ran out of its quota prints
    {error: {kind: "quota", retry_after (seconds), left, burst, per_day, ...}}.
    """
    if as_json and form != "table":
        raise click.UsageError("--json and --format cannot be combined")
    marker = _marking.Marker(category, sources, region)
    state = open_state(state_folder)

    from contactsync.client.patience import Patience

    patience = Patience(timeout=timeout)
    with _output.ProgressLine() as line:
        read, pulled = _books.fetch(
            sources, access, state.books, proxy=proxy, patience=patience.with_progress(line), progress=line
        )
    _books.say_fetched(pulled)
    book = _read(read, region)
    if dry_run:
        _dry_run(state, url, book, audience, cover=cover, as_json=as_json, fetched=bool(pulled))
        marker.say_what_would_be_marked(state, url, book, audience, pulled)
        return

    from contactsync.client.core.planner import Options
    from contactsync.library.client import Client

    server = state.server(url)
    inputs = [Path(name) for name in sources] + [file for file in (credential_file, transcript) if file]
    _output.check_writable(output, inputs)
    credential = _credential(credential_file)
    with contextlib.ExitStack() as stack:
        progress = stack.enter_context(_output.ProgressLine())
        if verbose:
            stack.enter_context(_output.log_on_stderr())
        options = Options(audience, privacy, partitions, max_download, buckets, leak_budget, cover)
        if as_json:
            stack.enter_context(_output.quota_error_on_stdout())
        result = Client(state.folder).sync(
            book,
            credential=credential,
            server=server.url,
            options=options,
            patience=patience.with_progress(progress),
            proxy=proxy,
            transcript=transcript,
            progress=progress,
        )
    report = result.report
    _output.say_unchecked(report.unchecked)
    marks = marker.mark(report, pulled, state.marks, patience)
    text = _output.as_json(report, book, sent=result.sent, received=result.received, marks=marks)
    if not as_json:
        text = _output.FORMATS[form](report, book)
    _output.write(text, output, utf8=as_json or form != "table")
    if verbose:
        _output.say_details(report, sent=result.sent, received=result.received)
    summarised = output is None and (form == "table" or as_json)
    _output.say_on_stderr(report, book, summarised=summarised)
    marker.finish()


def _credential(file: Path | None) -> str:
    """The account's credential. Raises BadInput; warns if others can read it."""
    if file is None:
        raise BadInput(
            "no credential given", hint="give --credential-file FILE, or set CONTACTSYNC_CREDENTIAL_FILE"
        )
    credential = read_credential(file)
    if file.is_file() and file.stat().st_mode & 0o077:
        click.echo(f"warning: other users can read {file}; run chmod 600 on it", err=True)
    return credential


def _read(sources: list[str | FetchedBook], region: str | None) -> AddressBook:
    """Read the address books. Raises BadInput if they contain no contact: it is probably the wrong file."""
    from contactsync.identifiers import default_region
    from contactsync.sources import read_address_books

    book = read_address_books(sources, region=region or default_region(), stdin=sys.stdin.buffer)
    _output.say_unreadable(book)
    if not book.contacts:
        hint = "give another FILE; see `contactsync docs address-books`"
        raise BadInput("there are no contacts to look up", hint=hint)
    return book


def _dry_run(
    state: State,
    url: str | None,
    book: AddressBook,
    audience: str,
    *,
    cover: bool,
    as_json: bool,
    fetched: bool,
) -> None:
    """Count what a sync would send. It reads only the cache. Without a trusted server everything is new."""
    from contactsync.client.core.round import LEAST, padded
    from contactsync.client.session import new_identifiers

    try:
        new = new_identifiers(state.server(url), book, audience)
    except NotTrusted:
        new = len(book.identifiers)
    points = padded(new) or LEAST * cover
    if as_json:
        counts = {
            "contacts": len(book.contacts),
            "identifiers": len(book.identifiers),
            "unreadable": _output.unreadable(book),
            "new_identifiers": new,
            "would_evaluate": points,
            "would_send_bytes": points * 32,
        }
        click.echo(json.dumps(counts))
        return
    click.echo(f"files        {book.files:,}")
    click.echo(f"contacts     {len(book.contacts):,}")
    click.echo(f"numbers      {len(book.identifiers):,}, {new:,} of them new")
    click.echo(f"unreadable   {len(book.unreadable):,}")
    click.echo(
        f"would send   {points:,} blinded points ({points * 32:,} bytes), {points - new:,} of them padding"
    )
    if new < len(book.identifiers):
        known = _output.counted(len(book.identifiers), "number", "numbers")
        click.echo(f"if the server has changed its key since the last sync, {known} would be new")
    click.echo(f"nothing was sent{', except to read the address books' if fetched else ''}")
