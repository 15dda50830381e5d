"""The power is cut at every moment of a pull and of a marking; the next one ends as if nothing had been."""

import json

import pytest
from power_cut import needs_strace, python, record
from simulated_carddav import PASSWORD, card

from contactsync.carddav import store
from contactsync.carddav.address import parse_address
from contactsync.carddav.connection import DavAccount
from contactsync.carddav.pull import pull

pytestmark = [needs_strace, pytest.mark.slow]

PULL = """
import sys
from pathlib import Path
from contactsync.carddav import pull, store
from contactsync.carddav.address import parse_address
from contactsync.carddav.connection import DavAccount
pull.BATCH, store._PACK_CARDS = 2, 3
pull.pull(DavAccount(parse_address(sys.argv[1]), lambda: "s3cret"), Path(sys.argv[2]))
"""

MARK = """
import sys
from pathlib import Path
from contactsync.marking.marks import Marking
one = frozenset([b"x"])
plan = Marking([sys.argv[1]], [], identifiers=one, identifiers_of=lambda card: one, category="On")
print(plan.run(Path(sys.argv[2])).changed)
"""


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr("contactsync.carddav.pull.BATCH", 2)
    monkeypatch.setattr(store, "_PACK_CARDS", 3)


@pytest.mark.parametrize("reports", [True, False])
def test_pull(dav, tmp_path, small, reports):
    dav.reports = reports
    disk = tmp_path / "disk"
    disk.mkdir()
    account = DavAccount(parse_address(dav.address), lambda: PASSWORD)
    for number in range(6):
        dav.put(f"c{number}.vcf", card(f"Person {number}", f"+4915112345{number:03d}"))
    pull(account, disk / "books")
    dav.put("c1.vcf", card("Changed", "+4915112345999"))
    dav.put("c7.vcf", card("New", "+4915112345998"))
    dav.delete("c4.vcf")
    recording = record(disk, python(PULL, dav.address, disk / "books"))
    expected = {text.encode().replace(b"\r\n", b"\n") for text in dav.cards.values()}
    fetched = set()
    for cut in recording.cuts():
        with cut.at() as found:
            (book,) = pull(account, found / "books").books
            assert {one.data.replace(b"\r\n", b"\n") for one in book.cards} == expected
            kept = b"".join(path.read_bytes() for path in found.rglob("*") if path.is_file())
            assert b"Person 4" not in kept
            fetched.add(book.fetched)
    assert {0, 2} <= fetched
    assert max(fetched) == 2  # what was here before, or came, is not fetched again


def test_mark(tmp_path):
    disk = tmp_path / "disk"
    (disk / "book").mkdir(parents=True)
    before = {f"{name}.vcf": card(name, "+4915112345678").encode() for name in ("Ada", "Bob")}
    for name, data in before.items():
        (disk / "book" / name).write_bytes(data)
    after = {name: data.replace(b"END:", b"CATEGORIES:On\r\nEND:") for name, data in before.items()}
    recording = record(disk, python(MARK, disk / "book", disk / "marks"))
    assert recording.said == "2\n"
    seen = set()
    for cut in recording.cuts():
        with cut.at() as found:
            now = {name: (found / "book" / name).read_bytes() for name in before}
            marked = {name for name in before if now[name] != before[name]}
            assert all(now[name] == after[name] for name in marked)  # whole, or not at all
            lists = list((found / "marks").glob("*.json")) if marked else []
            if marked:
                (undo,) = lists
                listed = {one["file"].rpartition("/")[2] for one in json.loads(undo.read_text())["cards"]}
                assert marked <= listed
            seen.add((len(marked), "2\n" in cut.said))
    assert {(0, False), (1, False), (2, True)} <= seen
    assert (1, True) not in seen
