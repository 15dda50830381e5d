"""`contactsync sync`: find out which contacts are members."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from contactsync.commands import _books, _json, _output, _watching
from contactsync.commands._configuration import config_option, load
from contactsync.commands._options import (
    Duration,
    Size,
    json_option,
    open_state,
    proxy_option,
    state_option,
)
from contactsync.commands._reading import reading_options
from contactsync.commands._vcards import TemplateText
from contactsync.commands._watching import OptionalInterval, WatchingCommand
from contactsync.library.privacy import DEFAULT, MODES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from contactsync.commands._services import Service
    from contactsync.library.books import AddressBook
    from contactsync.library.state import State


@click.command(cls=WatchingCommand)
@click.argument("sources", nargs=-1, metavar="[FILE…]")
@click.option(
    "--server",
    "urls",
    multiple=True,
    metavar="URL",
    help="Ask this server: its address, or its name in the configuration. May be given several times. "
    "Default: all in the configuration; without one, the only one that you trust.",
)
@click.option(
    "--credential-file",
    type=click.Path(path_type=Path, readable=False),
    envvar="CONTACTSYNC_CREDENTIAL_FILE",
    metavar="FILE",
    help="File that contains your account's credential (CONTACTSYNC_CREDENTIAL_FILE).",
)
@reading_options
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
    help="mine: download only the partitions of your book (calling codes, mail); the server sees which.",
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
    "--labels",
    type=click.Choice(["yes", "no"]),
    default="yes",
    show_default=True,
    help="yes: download the labels of all members too (their account ids, say), where the server publishes "
    "them, and show those of matches. None is downloaded because of a match. no: leave them.",
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
@click.option(
    "--label-template",
    type=TemplateText(),
    metavar="TEXT",
    help="With --format vcf: what becomes of a label, in place of {label}. A URI, such as xmpp:{label}, is "
    "written as IMPP; X-NAME:{label} as a property of that name. Default: X-CONTACTSYNC-LABEL:{label}.",
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
    "--quiet",
    "-q",
    is_flag=True,
    help="Print errors alone, and how many entries were skipped; no table, but what --json, --format and "
    "--output ask for. `contactsync matches` shows the result.",
)
@click.option(
    "--watch",
    type=OptionalInterval(),
    is_flag=False,
    flag_value=OptionalInterval.DEFAULT,
    metavar="[TIME]",
    help="Sync again and again, about every TIME (default: 6h), and say what is new, until stopped (Ctrl-C "
    "or SIGTERM). It waits longer if a server says so.",
)
@click.option(
    "--transcript",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Record every byte sent or received in FILE, with the credential as a keyed hash, and what explains "
    "the points in FILE.private, which tells as much as the address book (both 0600). `contactsync audit "
    "transcript` checks them.",
)
@config_option
@_books.book_options
@state_option
@click.pass_context
def sync(
    context: click.Context,
    /,
    *,
    access: _books.BookAccess,
    sources: tuple[str, ...],
    urls: tuple[str, ...],
    form: str,
    label_template: str | None,
    as_json: bool,
    dry_run: bool,
    verbose: bool,
    quiet: bool,
    watch: float | None,
    transcript: Path | None,
    config_file: Path | None,
    state_folder: Path | None,
    **_: Any,
) -> None:
    """Find out which contacts in the address books FILE… are members.

    FILE is a vCard file (also jCard, xCard), a folder or a zip of them, a Google, Outlook or plain CSV,
    LDIF, a FRITZ!Box phone book, a database, or a list of numbers or e-mail addresses; - is stdin.
    carddav://USER@HOST is all address books of an account on a CardDAV server, with a path only those there.
    They are fetched first; only what has changed since the last time is. Nobody else sees these requests.
    Without FILE, those in the configuration are read, and all its servers are asked at once: see
    `contactsync config`. What the command line says goes before what the configuration says.

    Numbers and e-mail addresses are looked up. Before they leave this machine, they are blinded and mixed
    with random ones. Matching happens on this machine. The last line says what the server could learn.

    Where a number has further forms that reach the same subscriber (`contactsync docs identifiers`), all are
    looked up, and the contact is found once.

    With --json, one object is printed: matches, joined, left (lists of {name, identifier, written, label}: by
    which identifier, as which it is in the book, and what the member is called on that service, or null),
    contacts, identifiers (looked up), further_forms (looked up besides), unserved (not looked up, as the
    server has no members of their kind), unreadable (list of {file, place, reason}), unusable (list of
    {partition, reason, identifiers}: not looked up), evaluated (points sent, padding included),
    new_identifiers (further forms included), bytes_sent, bytes_received, audience, epoch, edition, members,
    privacy, partitions, false_positive_rate, quota ({left, burst, per_day} in points, or null), leak_odds (of
    all lists so far, by calling code), leak, unchecked_history, withdrawn_epoch, labels. joined and left are
    changes since the last sync, among contacts that it knew. labels is null, or {unopened, unknown}: of how
    many matches the label does not open, and is not known yet. With --mark also marked ({category, changed,
    already, left_alone: list of {place, reason}, undo: a file or null}).
    unchecked_history is null, or {since, until} (each {epoch, edition}): between these, too much was
    published to check that the server still shows the same history. withdrawn_epoch is null, or an announced
    epoch that this client had moved to and that did not come. A sync that ran out of its quota prints
    {error: {kind: "quota", retry_after (seconds), left, burst, per_day, ...}}.
    With several servers: people, contacts, identifiers, further_forms, unreadable, and servers, a list of
    {service, url} with result (the object above) or error. docs/json-schema.json describes all of it.

    If several servers fail, the exit code is the worst: the first of 5, 1, 6, 3, 7, 8, 4 that occurs.
    """
    if as_json and form != "table":
        raise click.UsageError("--json and --format cannot be combined")
    if label_template is not None and form != "vcf":
        raise click.UsageError("--label-template is for --format vcf")
    if quiet and verbose:
        raise click.UsageError("--quiet and --verbose cannot be combined")
    if watch is not None and "-" in sources:
        raise click.UsageError("--watch reads its FILE again and again, and - can be read once")
    # What is loaded from here on stays: to look through it for garbage again and again takes 30 ms.
    gc.set_threshold(50_000)
    from contactsync.commands._rounds import Rounds
    from contactsync.commands._services import Given, exit_code

    given = Given(context, load(config_file, context.command.params))
    services = given.services(urls)
    if transcript is not None and (len(services) > 1 or watch is not None):
        raise click.UsageError("--transcript is of one sync with one server: choose it with --server")
    state = open_state(state_folder)
    rounds = Rounds(given, services, state, access)
    if dry_run:
        book = rounds.read()
        _dry_run(state, services, book, as_json=as_json, fetched=bool(rounds.pulled))
        rounds.say_what_would_be_marked(book)
        return
    if watch is not None:
        _watching.watch(watch, rounds.watched)
        return
    outcomes, book = rounds.run()
    rounds.say(outcomes, book)
    rounds.finish()
    context.exit(exit_code(outcomes))


def _dry_run(
    state: State, services: Sequence[Service], book: AddressBook, *, as_json: bool, fetched: bool
) -> None:
    """Count what a sync would send. It reads only the cache. Without a trusted server everything is new."""
    counts = {
        "contacts": len(book.contacts),
        "identifiers": len(book.identifiers),
        "further_forms": len(book.sought) - len(book.identifiers),
        "unreadable": _output.unreadable(book),
    }
    each = [_would_send(state, one, book) for one in services]
    if as_json:
        servers = [{"service": one.name, **sent} for one, sent in zip(services, each, strict=True)]
        _json.emit(counts | (each[0] if len(each) == 1 else {"servers": servers}))
        return
    click.echo(f"files        {book.files:,}")
    click.echo(f"contacts     {len(book.contacts):,}")
    heading = "identifiers" if book.count("mailto") else "numbers"
    forms = len(book.sought) - len(book.identifiers)
    sought = len(book.identifiers) + forms
    known = sought - min(sent["new_identifiers"] for sent in each)
    among = f", {each[0]['new_identifiers']:,} of them new" if len(each) == 1 else ""
    further = f" and {_output.counted(forms, 'further form', 'further forms')}" if forms else ""
    click.echo(f"{heading:<13}{len(book.identifiers):,}{further}{among}")
    click.echo(f"unreadable   {len(book.unreadable):,}")
    for one, sent in zip(services, each, strict=True):
        new, points, size = (sent[name] for name in ("new_identifiers", "would_evaluate", "would_send_bytes"))
        to = "" if len(each) == 1 else f" for {_new(book, new)}, to {one.name}"
        click.echo(
            f"would send   {points:,} blinded points ({size:,} bytes), {points - new:,} of them padding{to}"
        )
    if known:
        numbers = _output.of_book(book, known if len(each) > 1 else sought)
        click.echo(f"if the server has changed its key since the last sync, {numbers} would be new")
    click.echo(f"nothing was sent{', except to read the address books' if fetched else ''}")


def _new(book: AddressBook, number: int) -> str:
    return _output.of_book(book, number).replace(" ", " new ", 1)


def _would_send(state: State, service: Service, book: AddressBook) -> dict[str, int]:
    from contactsync.library.client import Client

    of = service.settings
    would = Client(state.folder).would_send(
        book, server=service.url, audience=of["audience"], cover=of["cover"]
    )
    return {
        "new_identifiers": would.new_identifiers,
        "would_evaluate": would.points,
        "would_send_bytes": would.octets,
    }
