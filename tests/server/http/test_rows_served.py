"""Following publications: what was published is taken up, whatever fails in between."""

import asyncio
import threading
from contextlib import closing

import numpy as np
import pytest

from contactsync.foundation.errors import BadDirectory, OurError
from contactsync.lookup.answer import RowLayout
from contactsync.server.http import rows_served
from contactsync.server.http.rows_served import RowsServed
from contactsync.server.lookups import LookupRoom
from contactsync.server.row_sets import RowSet

ROOTS = [bytes([i]) * 32 for i in range(4)]


class Publication:
    """What is published, and how it is read."""

    def __init__(self):
        self.now, self.roots = 0, []
        self.reads = self.opened = 0
        self.fault = None
        self.gate = threading.Event()
        self.gate.set()

    def publish(self, *roots):
        self.now, self.roots = self.now + 1, roots

    def stamp(self):
        return self.now

    def wanted(self):
        self.reads += 1
        if self.fault is not None:
            raise self.fault
        return [RowSet("people", root, RowLayout(6, 0, 8, 0), self.open) for root in self.roots]

    def open(self):
        assert self.gate.wait(30)
        self.opened += 1
        return np.zeros((64, 8), np.uint8)


@pytest.fixture
def publication(monkeypatch):
    monkeypatch.setattr(rows_served, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(rows_served, "RETRY_SECONDS", 0.05)
    return Publication()


def follow(publication, story):
    """Run a story beside a server that follows the publication."""

    async def run():
        rows = RowsServed(room, publication.wanted, publication.stamp)
        await rows.begin()
        try:
            await story(rows)
        finally:
            rows.close()

    with closing(LookupRoom(1 << 20)) as room:
        asyncio.run(run())


async def until(condition):
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - whatever it is that is waited for
            await asyncio.sleep(0.01)


def served(rows):
    return [rows.find("people", root) is not None for root in ROOTS]


def test_the_start_waits_for_rows_and_each_publish_is_taken_up(publication):
    publication.publish(ROOTS[0])

    async def story(rows):
        assert served(rows) == [True, False, False, False]
        publication.publish(ROOTS[1], ROOTS[0])
        await until(lambda: rows.tables() == 2)
        publication.publish(ROOTS[2], ROOTS[1])
        await until(lambda: served(rows) == [False, True, True, False])
        assert publication.opened == 3
        reads = publication.reads
        await asyncio.sleep(0.2)
        assert publication.reads == reads, "nothing is read unless something was published"

    follow(publication, story)


def test_a_server_without_rows_says_so_once(publication, caplog):
    async def story(rows):
        publication.publish(ROOTS[0])
        await until(lambda: rows.tables() == 1)

    follow(publication, story)
    assert caplog.text.count("no edition has rows") == 1


def test_rows_that_cannot_be_opened_at_the_start_are_not_called_missing(publication, caplog):
    publication.publish(ROOTS[0])
    publication.fault = BadDirectory("not those")

    async def story(rows):
        assert "cannot be read: not those" in caplog.text
        assert "rows could not be opened: another attempt follows in 0.05 s" in caplog.text
        publication.fault = None
        await until(lambda: rows.tables() == 1)

    follow(publication, story)
    assert "no edition has rows" not in caplog.text


def test_the_start_does_not_wait_for_ever(publication, monkeypatch, caplog):
    monkeypatch.setattr(rows_served, "START_SECONDS", 0.05)
    publication.publish(ROOTS[0])
    publication.gate.clear()

    async def story(rows):
        assert rows.tables() == 0
        assert "still being verified" in caplog.text
        publication.gate.set()
        await until(lambda: rows.tables() == 1)

    follow(publication, story)


@pytest.mark.parametrize(
    "fault", [OurError("damaged"), OSError(5, "a disk"), MemoryError(), BadDirectory("not those")]
)
def test_what_fails_is_tried_again_and_what_was_served_goes_on(publication, fault, caplog):
    publication.publish(ROOTS[0])

    async def story(rows):
        publication.fault = fault
        publication.publish(ROOTS[1], ROOTS[0])
        reads = publication.reads
        await until(lambda: publication.reads > reads + 2)
        assert served(rows) == [True, False, False, False]
        publication.fault = None
        await until(lambda: rows.tables() == 2)
        assert "ERROR" in {record.levelname for record in caplog.records}

    follow(publication, story)


def test_a_stamp_that_cannot_be_read_ends_nothing(publication):
    publication.publish(ROOTS[0])

    async def story(rows):
        good = publication.stamp
        looks = []

        def fails():
            looks.append(1)
            raise PermissionError(13, "no")

        rows._look = fails
        await until(lambda: len(looks) > 2)
        rows._look = good
        publication.publish(ROOTS[1], ROOTS[0])
        await until(lambda: rows.tables() == 2)

    follow(publication, story)
