"""`python -m bench books`: how long address books take to read, and how much memory.

Each case is a process of its own, which makes the book, reads it three times and reports the median in CPU
seconds and its peak memory. A contact has a name and two numbers, one of them without a country code. vobject
parses the same cards, without looking at the numbers.
"""

from __future__ import annotations

import argparse
import io
import json
import resource
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable

from bench import harness
from bench.harness import Row

PACKAGES = ("phonenumberslite", "vobject")
CARD = (
    "BEGIN:VCARD\r\nVERSION:3.0\r\nN:L{0};F{0};;;\r\nFN:F{0} L{0}\r\nTEL;TYPE=CELL:0176 {0:08d}\r\n"
    "TEL;TYPE=HOME:+49 30 {0:08d}\r\nEMAIL:a{0}@example.org\r\nEND:VCARD\r\n"
)
PHOTO = "PHOTO;ENCODING=b;TYPE=JPEG:" + "\r\n ".join(["A" * 74] * 2000) + "\r\nEND:VCARD"
#        case                    contacts
CASES = (
    ("vCard", 20_000),
    ("vCard", 100_000),
    ("Google CSV", 100_000),
    ("LDIF", 100_000),
    ("a list", 100_000),
    ("vCard, 50 MB of photos", 340),
)
QUICK = 20  # times fewer


def book(case: str, contacts: int) -> bytes:
    """A book of this many contacts."""
    people = range(contacts)
    if case.startswith("vCard"):
        template = CARD.replace("END:VCARD", PHOTO) if "photos" in case else CARD
        return "".join(template.format(i) for i in people).encode()
    if case == "Google CSV":
        rows = (f"F{i},L{i},Mobile,0176 {i:08d} ::: +49 30 {i:08d},a{i}@example.org\n" for i in people)
        header = "First Name,Last Name,Phone 1 - Label,Phone 1 - Value,E-mail 1 - Value\n"
        return (header + "".join(rows)).encode()
    if case == "LDIF":
        entry = "dn: cn=F{0}\ncn: F{0} L{0}\nmobile: 0176 {0:08d}\nhomePhone: +49 30 {0:08d}\n\n"
        return ("version: 1\n\n" + "".join(entry.format(i) for i in people)).encode()
    return "".join(f"0176 {i:08d}\n+49 30 {i:08d}\n" for i in people).encode()


def measured(case: str, contacts: int) -> Row:
    """One row, in this process."""
    from contactsync.sources import read_address_books

    data = book(case, contacts)

    def read() -> None:
        found = read_address_books(["-"], region="DE", stdin=io.BytesIO(data))
        assert found.identifiers
        assert not found.unreadable

    seconds = _median(read)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    row: Row = {"case": case, "contacts": contacts, "MB": len(data) / 1e6}
    row |= {"seconds": seconds, "memory_MiB": memory}
    peer = _vobject(data) if case == "vCard" and contacts <= QUICK * 1000 else None
    return row | {"vobject_seconds": peer, "ratio": None if peer is None else peer / seconds}


def _vobject(data: bytes) -> float:
    import vobject

    def parse() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for card in vobject.readComponents(data.decode()):
                assert card.fn.value

    begin = time.process_time()
    parse()
    return time.process_time() - begin


def _median(run: Callable[[], None]) -> float:
    taken = []
    for _ in range(3):
        begin = time.process_time()
        run()
        taken.append(time.process_time() - begin)
    return statistics.median(taken)


def run(quick: bool) -> list[Row]:
    """A row for each case, each from a process of its own, so that peak memory is the case's."""
    rows = []
    for case, contacts in CASES:
        count = max(contacts // QUICK, 1) if quick else contacts
        command = [sys.executable, "-m", "bench", "books", "--case", case, "--contacts", str(count)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        rows.append(json.loads(done.stdout))
    return rows


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench books", description=__doc__)
    parser.add_argument("--json", metavar="FILE", help="write the rows as one JSON list")
    parser.add_argument(
        "--markdown", metavar="FILE", help="put the table into the books section of a document"
    )
    parser.add_argument("--quick", action="store_true", help="smaller books")
    parser.add_argument("--case", help="measure one case in this process, and print its row")
    parser.add_argument("--contacts", type=int, default=1000)
    options = parser.parse_args(arguments)
    if options.case:
        print(json.dumps(measured(options.case, options.contacts)))
        return
    rows = run(options.quick)
    where = harness.environment(PACKAGES)
    print(harness.table(rows), where, sep="\n\n")
    if options.json:
        harness.write_json(options.json, rows)
    if options.markdown:
        harness.update_section(options.markdown, "books", f"{where}\n\n{harness.markdown(rows)}")
