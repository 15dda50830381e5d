"""Only what has changed is fetched, and what came before a break is kept. Requests are counted."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from simulated_carddav import BOOK, DavReply, card, multistatus, response

from contactsync.carddav.pull import BATCH
from contactsync.client.patience import Patience
from contactsync.foundation.errors import BadInput, NetworkError, OurError


def fill(dav, count):
    for number in range(count):
        dav.put(f"c{number}.vcf", card(f"Person {number}", f"+49151123{number:05d}"))


def names(pulled):
    return {c.data.partition(b"FN:")[2].splitlines()[0].decode() for book in pulled.books for c in book.cards}


@pytest.fixture(params=["changes", "listing"])
def both(request, dav):
    """A server that reports changes, and one that lists everything."""
    dav.reports = request.param == "changes"
    return dav


def test_the_second_time_only_what_changed_is_fetched(both, fetch, tmp_path):
    fill(both, 3)
    first = fetch()
    assert names(first) == {"Person 0", "Person 1", "Person 2"}
    assert [(b.name, b.url, b.fetched) for b in first.books] == [("Book", both.origin + BOOK, 3)]
    assert fetch().books[0].fetched == 0
    assert len(both.asked("multiget")) == 1
    both.put("c1.vcf", card("Changed", "+4915112300009"))
    both.put("c9.vcf", card("New", "+4915112300010"))
    both.delete("c0.vcf")
    third = fetch()
    assert names(third) == {"Changed", "New", "Person 2"}
    assert third.books[0].fetched == 2
    (asked,) = both.asked("multiget")[1:]
    assert "c1.vcf" in asked.body
    assert "c2.vcf" not in asked.body
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"Person 2" in kept
    assert b"Person 0" not in kept  # it was removed there
    assert b"Person 1" not in kept


def test_what_is_removed_is_overwritten_not_only_unlinked(dav, fetch, tmp_path, monkeypatch):
    fill(dav, 2)
    fetch()
    (pack,) = tmp_path.rglob("*.cards")
    descriptor = os.open(pack, os.O_RDONLY)
    dav.delete("c0.vcf")
    fetch()
    assert b"Person 0" not in pack.read_bytes()
    assert os.fstat(descriptor).st_nlink == 0
    assert os.read(descriptor, 1 << 20).strip(b"\0") == b""
    os.close(descriptor)


def test_everything_kept_is_private(dav, fetch, tmp_path):
    fill(dav, 1)
    fetch()
    for path in (tmp_path / "state").rglob("*"):
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path


def test_photos_are_not_kept(dav, fetch, tmp_path):
    photo = "PHOTO;ENCODING=b;TYPE=JPEG:" + "QUJD" * 10 + "\r\n " + "WFla" * 10 + "\r\nitem1.KEY:aGVsbG8=\r\n"
    dav.put("a.vcf", card("Ada", "+4915112345678", photo + "NOTE:PHOTO:x\r\n"))
    (book,) = fetch().books
    assert b"QUJD" not in book.cards[0].data
    assert b"WFla" not in book.cards[0].data
    assert b"aGVsbG8" not in book.cards[0].data
    assert b"NOTE:PHOTO:x" in book.cards[0].data
    assert book.cards[0].data.rstrip().endswith(b"END:VCARD")


def test_a_listing_in_pages(dav, fetch):
    dav.page = 2
    fill(dav, 5)
    assert len(names(fetch())) == 5
    assert len(dav.asked("sync-collection")) == 3
    dav.delete("c0.vcf")
    fill(dav, 3)
    assert len(names(fetch())) == 5


def test_a_token_that_is_no_longer_valid(dav, fetch):
    fill(dav, 3)
    fetch()
    dav.delete("c0.vcf")
    dav.put("c1.vcf", card("Changed", "+4915112300009"))
    dav.valid_from = 99
    again = fetch()
    assert names(again) == {"Changed", "Person 2"}
    assert again.books[0].fetched == 1  # the other one has the same ETag


def test_a_server_that_says_it_reports_changes_and_does_not(dav, fetch):
    fill(dav, 2)
    dav.before = lambda request: DavReply(501) if "sync-collection" in request.body else None
    assert len(names(fetch())) == 2
    assert fetch().books[0].fetched == 0


@pytest.mark.slow
@pytest.mark.parametrize("cut", [0.05, 0.5, 0.9])
def test_a_reply_that_breaks_off_is_kept_as_far_as_it_came(dav, fetch, cut):
    fill(dav, 2 * BATCH)
    broken = []

    def before(request):
        if "multiget" in request.body and len(dav.asked("multiget")) > 1:
            broken.append(request)
            reply = dav.multiget(request)
            reply.cut = int(len(reply.body) * cut)
            return reply
        return None

    dav.before = before
    with pytest.raises(NetworkError):
        fetch()
    came = BATCH + int(BATCH * cut)
    dav.before = lambda request: None
    before = len(dav.asked("multiget"))
    again = fetch()
    assert len(names(again)) == 2 * BATCH
    assert again.books[0].fetched <= 2 * BATCH - came + 2
    assert len(dav.asked("multiget")) == before + 1


@pytest.mark.slow
def test_a_sync_that_is_killed_goes_on_where_it_was(dav, tmp_path):
    """The process is really killed, in the middle of a batch; the next one asks for the rest alone."""
    fill(dav, 4 * BATCH)
    program = (
        "import sys; from contactsync.carddav.address import parse_address;"
        "from contactsync.carddav.connection import DavAccount; from contactsync.carddav.pull import pull;"
        "from pathlib import Path;"
        f"print(pull(DavAccount(parse_address({dav.address!r}), lambda: 's3cret'), Path({str(tmp_path)!r}))"
        ".books[0].fetched)"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)

    def before(request):
        if "multiget" in request.body and len(dav.asked("multiget")) == 3:
            process.send_signal(signal.SIGKILL)
            time.sleep(0.05)

    dav.before = before
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    dav.before = lambda request: None
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, timeout=60)
    assert int(done.stdout) == 2 * BATCH
    asked = [href for one in dav.asked("multiget") for href in one.body.split("<href>")[1:]]
    assert len(asked) == 5 * BATCH  # the batch that was under way is asked for twice, nothing else


@pytest.mark.slow
def test_a_server_that_fails_is_asked_again(dav, fetch):
    fill(dav, 1)
    failing = iter([503, 500])
    dav.before = lambda request: (
        DavReply(next(failing, 0), b"", {"Retry-After": "0"})
        if "multiget" in request.body and len(dav.asked("multiget")) < 3
        else None
    )
    assert len(names(fetch())) == 1


def test_the_time_of_the_run_ends_it(dav, fetch):
    fill(dav, 1)
    with pytest.raises(NetworkError, match="--timeout"):
        fetch(patience=Patience(timeout=1e-9))


def test_the_address_of_one_book_and_of_all(dav, fetch):
    fill(dav, 1)
    for path in ("", "/dav/", "/dav/ada/", BOOK):
        assert [b.url for b in fetch(dav.address + path).books] == [dav.origin + BOOK]
    assert len(dav.asked("multiget")) == 1  # all of these are one account


def test_a_book_that_is_gone_is_erased(dav, fetch, tmp_path):
    fill(dav, 1)
    fetch()
    dav.before = lambda request: (
        multistatus(response("/dav/ada/", "<resourcetype><collection/></resourcetype>"))
        if request.path == "/dav/ada/" and request.headers.get("depth") == "1"
        else None
    )
    with pytest.raises(BadInput, match="no address book"):
        fetch()
    assert not list(tmp_path.rglob("*.cards"))


def test_what_cannot_be_fetched_is_reported(dav, fetch):
    fill(dav, 3)
    dav.before = lambda request: (
        multistatus(response(BOOK + "c1.vcf", status=404), response(BOOK + "c2.vcf", status=403))
        if "multiget" in request.body
        else None
    )
    (book,) = fetch().books
    assert book.cards == []
    assert [(f.place, f.reason) for f in book.faults] == [
        ("2 cards", "the server lists it, but does not send it")
    ]
    dav.before = lambda request: None
    assert fetch().books[0].fetched == 2  # c1 was said to be gone, and is not asked for again


@pytest.mark.parametrize("harm", ["record", "pack", "lost pack", "no record", "no url", "no count"])
def test_a_damaged_copy_is_fetched_again(dav, fetch, tmp_path, harm):
    fill(dav, 2)
    fetch()
    (record,) = tmp_path.rglob("book.json")
    (pack,) = tmp_path.rglob("*.cards")
    if harm == "record":
        record.write_bytes(b"{")
    elif harm == "pack":
        pack.write_bytes(pack.read_bytes()[:-5])
    elif harm == "lost pack":
        pack.unlink()
    elif harm == "no record":
        record.unlink()
    else:
        member = b'"url"' if harm == "no url" else b'"cards"'
        record.write_bytes(record.read_bytes().replace(member, b'"else"'))
    assert len(names(fetch())) == 2


def test_a_copy_of_a_newer_version_is_refused(dav, fetch, tmp_path):
    fill(dav, 1)
    fetch()
    (record,) = tmp_path.rglob("book.json")
    record.write_text(json.dumps(json.loads(record.read_text()) | {"version": 99}))
    with pytest.raises(OurError, match="version 99"):
        fetch()


def test_names_that_servers_escape_in_different_ways_are_one_card(dav, fetch):
    dav.put("ada%40home.vcf", card("Ada", "+4915112345678"))
    fetch()
    before = len(dav.asked("multiget"))

    def other_spelling(request):
        if "sync-collection" in request.body:
            reply = dav.changes(request)
            reply.body = reply.body.replace(b"%40", b"@")
            return reply
        return None

    dav.history.append("ada%40home.vcf")
    dav.before = other_spelling
    (book,) = fetch().books
    assert len(book.cards) == 1
    assert len(dav.asked("multiget")) == before


def test_two_syncs_at_once(dav, fetch):
    fill(dav, 1)
    errors = []

    def before(request):
        if "multiget" in request.body:
            with pytest.raises(OurError, match="another contactsync process") as caught:
                fetch()
            errors.append(caught.value)

    dav.before = before
    fetch()
    assert len(errors) == 1
