"""`contactsync demo`: a sync with real processes, and what each kind of upload reveals."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from contactsync.foundation.errors import BadInput, OurError

if TYPE_CHECKING:
    from contactsync.library.books import AddressBook

BOOK = Path(__file__).parent / "example" / "contacts.vcf"
REGION = "DE"
MEMBER_SHARE = 5
"""Every fifth number of the example book belongs to a member."""

START_SECONDS = 60
RATE_SECONDS = 0.3

# Mobile numbers of one country each: how they begin, how many digits follow, and whose they are.
RANGES = (("+447", 9, "British"), ("+4917", 9, "German"), ("+336", 8, "French"), ("+5511", 9, "São Paulo"))


@click.command()
@click.option("--members", default=10_000, show_default=True, type=click.IntRange(100, 10_000_000),
              help="How many members the server has.")  # fmt: skip
@click.option("--keep", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
              help="Work in DIR, which must not exist yet, and keep everything in it.")  # fmt: skip
def demo(*, members: int, keep: Path | None) -> None:
    """Run a server with members in many countries on this machine, and sync an example address book with it.

    Shows the commands as you would type them, the matches, and what the server would receive by a plain
    upload, by a hashed upload and by this protocol. Takes a few seconds; the first run takes a minute,
    because it compiles code for this processor. Nothing leaves the machine.
    """
    with contextlib.ExitStack() as stack:
        for number in (signal.SIGTERM, signal.SIGHUP):  # else server and folder would be left behind
            signal.signal(number, lambda number, _: sys.exit(128 + number))
        folder = _folder(keep, stack)
        desk = _Desk(folder)
        book = _prepare(folder, members)
        desk.run("server init --data server")
        desk.run(
            f"server members import members.csv --data server --region {REGION} --email-column email"
            " --label-column handle"
        )
        desk.run("server accounts add me --data server", into="credential")
        desk.run("server publish --data server")
        url = stack.enter_context(desk.serving("server serve --data server --port 0"))
        desk.run(f"trust {url} --yes --state state")
        desk.run(
            f"sync contacts.vcf --region {REGION} --credential-file credential --state state"
            " --transcript transcript"
        )
        _compare(book, folder / "transcript")
        if keep is not None:
            click.echo(f"\nEverything is in {folder}.")


class _Desk:
    """Runs commands in a folder, as a user at a terminal would, and shows them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # So that the processes also find a checkout that is not installed.
        root = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH", "")]))
        self._environment = {**os.environ, "PYTHONPATH": path}

    def run(self, line: str, *, into: str | None = None) -> None:
        """Run a command and show it. Show its output too, or write it to a file."""
        click.secho(f"$ contactsync {line}" + (f" > {into}" if into else ""), bold=True)
        done = subprocess.run(  # noqa: S603 - our own commands
            [sys.executable, "-m", "contactsync", *line.split()],
            cwd=self._folder, env=self._environment, stdout=subprocess.PIPE, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise OurError("a step of the demo failed; its error is above", hint="try again with --keep DIR")
        if into is None:
            click.echo(done.stdout, nl=False)
        else:
            handle = os.open(self._folder / into, os.O_WRONLY | os.O_CREAT, 0o600)
            with os.fdopen(handle, "wb") as file:
                file.write(done.stdout)

    @contextlib.contextmanager
    def serving(self, line: str) -> Iterator[str]:
        """Run a server, yield its URL, and stop it at the end."""
        click.secho(f"$ contactsync {line} &", bold=True)
        with subprocess.Popen(  # noqa: S603 - our own command
            [sys.executable, "-m", "contactsync", *line.split()],
            cwd=self._folder, env=self._environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        ) as process:  # fmt: skip
            try:
                assert process.stdout is not None
                ready, _, _ = select.select([process.stdout], [], [], START_SECONDS)
                said = process.stdout.readline() if ready else ""
                if not said.startswith("listening on "):
                    raise OurError("the demo's server did not start", hint="try again with --keep DIR")
                click.echo(said, nl=False)
                yield said.split()[-1]
            finally:
                process.send_signal(signal.SIGTERM)


def _folder(keep: Path | None, stack: contextlib.ExitStack) -> Path:
    if keep is None:
        return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="contactsync-demo-")))
    try:
        keep.mkdir(mode=0o700, parents=True)
    except OSError as error:
        raise BadInput(f"cannot create {keep}: {error.strerror}", hint="give a new folder") from error
    return keep.resolve()


def _prepare(folder: Path, members: int) -> AddressBook:
    """Write the example book and a list of members: some from the book, others from many countries."""
    from phonenumbers import COUNTRY_CODE_TO_REGION_CODE, PhoneNumberType, example_number_for_type

    from contactsync.library.books import address_book

    shutil.copyfile(BOOK, folder / "contacts.vcf")
    book = address_book(BOOK, region=REGION)
    written = [i.decode().removeprefix("tel:") for i in book.identifiers if i.startswith(b"tel:")]
    numbers = set(written[::MEMBER_SHARE])
    handles = {
        identifier.decode().removeprefix("tel:"): _handle(contact.name)
        for contact in book.contacts
        for identifier in contact.identifiers
    }
    # Not for secrets. It gives every demo the same members.
    chance = random.Random(0)  # noqa: S311
    examples = [
        example_number_for_type(regions[0], PhoneNumberType.MOBILE)
        for code, regions in sorted(COUNTRY_CODE_TO_REGION_CODE.items())
        if code < 100 and regions[0] != "001"
    ]
    plans = [f"+{one.country_code}{one.national_number}" for one in examples if one is not None]
    while len(numbers) < members:
        plan = chance.choice(plans)
        numbers.add(plan[:-6] + f"{chance.randrange(10**6):06}")
    lines = [
        f"{number},,{handles.get(number) or f'@u{number[1:]}:example.org'}" for number in sorted(numbers)
    ]
    by_address = next(c for c in book.contacts if any(i.startswith(b"mailto:") for i in c.identifiers))
    lines += [
        f",{one.decode().removeprefix('mailto:')},{_handle(by_address.name)}"
        for one in by_address.identifiers
        if one.startswith(b"mailto:")
    ]
    text = "\n".join(["phone,email,handle", *lines]) + "\n"
    (folder / "members.csv").write_text(text, encoding="utf-8")
    return book


def _handle(name: str) -> str:
    """A handle that somebody of this name might have chosen; "" if there is nothing to make it of."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    words = re.findall("[a-z]+", plain)
    return f"@{'.'.join(words)}:example.org" if words else ""


def _compare(book: AddressBook, transcript: Path) -> None:
    """Show what the server receives in three ways of asking, the third from the bytes that were sent."""
    from contactsync.library.client import read_transcript

    sent = b"".join(piece.data for piece in read_transcript(transcript) if piece.sent)
    _, _, rest = sent.partition(b"POST /v1/evaluate/")
    length = int(rest.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    points = rest.partition(b"\r\n\r\n")[2][:length]
    telephones = [identifier for identifier in book.identifiers if identifier.startswith(b"tel:")]
    numbers = [identifier.decode().removeprefix("tel:") for identifier in telephones]
    prefix, digits, whose = next(
        (one for one in RANGES if any(number.startswith(one[0]) for number in numbers)), RANGES[0]
    )
    example = next((number for number in numbers if number.startswith(prefix)), numbers[0])
    rate = _hashes_a_second(prefix, digits)
    hashed = hashlib.sha256(example.encode()).hexdigest()
    traces = [number[1:].encode() for number in numbers]
    traces += [hashlib.sha256(number.encode()).digest() for number in numbers]
    found = sum(trace in sent for trace in traces)
    others, nobody = len(points) // 32 - 1, len(points) // 32 - len(book.sought)

    def row(name: str, *lines: str) -> None:
        click.echo()
        for at, line in enumerate(lines):
            click.echo(f"{name if at == 0 else '':<17}{line}")

    click.echo()
    click.secho(f"What the server receives for this address book of {len(numbers)} numbers", bold=True)
    row("a plain upload", f"{example} and {len(numbers) - 1} more: everyone's number, member or not")
    row(
        "a hashed upload",
        f"{hashed} and {len(numbers) - 1} more",
        f"There are at most {10**digits:,} {whose} mobile numbers ({prefix} and {digits} digits).",
        f"Hashing them all takes {_duration(10**digits / rate)} on one core of this machine, in plain Python",
        f"({rate:,.0f} a second, measured). After that, every such hash can be turned back into its number.",
    )
    row(
        "this protocol",
        f"{points[:32].hex()} and {others} more, {nobody} of them padding:",
        "numbers, further forms of them, and e-mail addresses look alike.",
        "Each point is uniformly random, whatever number is behind it. The next sync sends other points.",
        f"Of these {len(traces)} numbers and hashes, {found} occur in the {len(sent):,} bytes sent.",
    )


def _hashes_a_second(prefix: str, digits: int) -> float:
    """How many candidates plain Python hashes in a second on one core of this machine."""
    sha256 = hashlib.sha256
    begun = time.perf_counter()
    count = 0
    while (spent := time.perf_counter() - begun) < RATE_SECONDS:
        for number in range(count, count + 10_000):
            sha256(b"%s%0*d" % (prefix.encode(), digits, number)).digest()
        count += 10_000
    return count / spent


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"
