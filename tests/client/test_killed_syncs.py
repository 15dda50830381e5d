"""Syncs that are killed at a system call: the next one leaves nothing of them, in files or on the disk.

Each is a process forked from one that has loaded everything; zygote.py says why it is as good as a new one.
"""

import contextlib
import re
import shutil
import signal
from collections import Counter

import pytest
from power_cut import needs_strace, recorded
from raw_disk import ghosts, readable
from simulated_service import CREDENTIAL
from zygote import Zygote, code, command

from contactsync.client.core.planner import Options
from contactsync.client.session import sync
from contactsync.client.state import State
from contactsync.client.transport import Transport
from contactsync.foundation import erasure
from contactsync.sources import read_address_books

pytestmark = [needs_strace, pytest.mark.slow]

BEFORE = [f"+49151{i:07}" for i in range(40)] + ["+447700900123", "+12125550100"]
AFTER = [*BEFORE[20:], "+447700900124"]
CALLS = "mkdir,rename,unlink,unlinkat,rmdir,fsync,fdatasync,pwrite64,ftruncate"
MOST = 48
"""Kills."""


def sync_words(files, state):
    return ("sync", files / "book.csv", "--credential-file", files / "credential", "--state", state)


HURRIED = """
import sys
from contactsync.client import transport
from contactsync.commands import main
transport.PACE_SECONDS = 0.001  # as for tests in this process: the beat between requests moves no file
main(sys.argv[1:])
"""


def sync_here(service, files, state):
    transport = Transport(service.url, credential=CREDENTIAL, read_seconds=5)
    book = read_address_books([files / "book.csv"], region="DE")
    report = sync(State(state).server(service.url), book, transport, Options())
    transport.close()
    return {match.identifier for match in report.matches}


def write_book(files, numbers):
    rows = "".join(f"Somebody,{number}\n" for number in numbers)
    (files / "book.csv").write_text("name,phone\n" + rows)


def kill(call, when):
    """Options of strace: at the `when`-th call of this name the process is killed."""
    return ("-o", "/dev/null", "-e", f"trace={CALLS}", "-e", f"inject={call}:signal=SIGKILL:when={when}")


def names(state):
    return {str(path.relative_to(state)) for path in state.rglob("*")}


@pytest.fixture
def files(tmp_path):
    (tmp_path / "credential").write_text(CREDENTIAL)
    (tmp_path / "credential").chmod(0o600)
    return tmp_path


@pytest.fixture
def stack():
    with contextlib.ExitStack() as stack:
        yield stack


def moments(trace, most):
    """(Call, the how many-th) of about so many moments, spread over the calls of the main thread."""
    counts, found = Counter(), []
    lines = trace.read_text().splitlines()
    thread = lines[0].split()[0]
    for line in lines:
        call = re.match(rf"{thread} +(\w+)\(", line)
        if call:
            counts[call[1]] += 1
            found.append((call[1], counts[call[1]]))
    return found[:: max(1, len(found) // most)]


def test_the_next_sync_leaves_nothing_of_a_killed_one(service, files, stack):
    """From one epoch to the next: metadata, data files, tokens and a journal, all of them replaced."""
    service.publish(*BEFORE[::2])
    base = files / "base"
    State(base).pin(service.url, service.repository.root_bytes())
    write_book(files, BEFORE)
    sync_here(service, files, base)
    service.rotate(*AFTER[::2])
    write_book(files, AFTER)
    for name in ("warm", "clean"):
        shutil.copytree(base, files / name)
    zygote = stack.enter_context(Zygote(code(HURRIED, *sync_words(files, files / "warm"))))
    traced = ("-o", files / "trace", "-e", f"trace={CALLS}")
    assert zygote.run(command(*sync_words(files, files / "clean")), *traced) == 0
    wanted = sync_here(service, files, files / "clean")
    clean = names(files / "clean")
    killed, left_behind = 0, set()
    for number, (call, when) in enumerate(moments(files / "trace", MOST)):
        state = files / f"state-{number}"
        shutil.copytree(base, state)
        ended = zygote.run(command(*sync_words(files, state)), *kill(call, when))
        assert ended in {0, -signal.SIGKILL}, "0: how many pages SQLite writes depends on the shuffled points"
        killed += ended != 0
        left_behind |= names(state) - clean - names(base)
        assert sync_here(service, files, state) == wanted
        assert names(state) == clean, (call, when)
        (journal,) = state.rglob("cache.sqlite-journal")
        assert erasure.is_blank(journal), (call, when)
        live = b"".join(path.read_bytes() for path in state.rglob("*") if path.is_file())
        assert readable([n.encode() for n in BEFORE[:20]], live) == set(), (call, when)
        shutil.rmtree(state)
    assert killed > 0.8 * MOST
    kinds = {re.sub(r"[0-9a-f]{16,}", "HEX", name.rpartition("/")[2]) for name in left_behind}
    assert {"scratch", "HEX.part"} <= kinds, "the kills hit what they are for"
    assert any(re.fullmatch(r"\..+\.HEX\.part", kind) for kind in kinds)


NEXT_EPOCH = """
import pathlib, sys
import numpy as np
from contactsync.client.cache import Cache
from contactsync.tokens import Tokens
with Cache(pathlib.Path(sys.argv[1]), "http://server.test") as cache:
    for epoch, start in ((1, 0), (2, 300))[int(sys.argv[2]) :]:
        identifiers = [b"tel:+49151%07d" % i for i in range(start, 600)]
        tokens = Tokens.from_bytes(np.full((len(identifiers), 10), epoch, np.uint8))
        cache.add_tokens("people", epoch, identifiers, tokens, np.zeros((len(identifiers), 32), np.uint8))
        found = {"member": np.ones(len(identifiers), bool), "edition": np.ones(len(identifiers), np.int64)}
        cache.finish("people", epoch, identifiers, holdings={}, **found)
        if sys.argv[2] == "0":
            break
"""


def test_the_journal_of_a_killed_process_is_overwritten_not_unlinked(tmp_path, stack):
    """It holds what the transaction was about to remove, and is needed once: to take the transaction back."""
    disk, base = tmp_path / "disk", tmp_path / "base"
    base.mkdir()
    zygote = stack.enter_context(Zygote(code(NEXT_EPOCH, base / "cache.sqlite", 0)))
    shutil.copytree(base, tmp_path / "clean")
    traced = ("-o", tmp_path / "trace", "-e", "trace=fdatasync,pwrite64")
    assert zygote.run(code(NEXT_EPOCH, tmp_path / "clean" / "cache.sqlite", 1), *traced) == 0
    again = code(NEXT_EPOCH, disk / "cache.sqlite", 1)

    def go_on(*options):
        assert zygote.run(again, *options) == 0

    gone = {b"tel:+49151%07d" % i for i in range(300)}
    held = 0
    for call, when in moments(tmp_path / "trace", 25):
        shutil.copytree(base, disk)
        assert zygote.run(again, *kill(call, when)) == -signal.SIGKILL
        held += bool(readable(gone, (disk / "cache.sqlite-journal").read_bytes()))
        recording = recorded(disk, go_on)
        live = b"".join(path.read_bytes() for path in disk.iterdir())
        freed = b"\n".join(octets for _, octets in ghosts(recording))
        assert (readable(gone, live), readable(gone, freed)) == (set(), set()), (call, when)
        shutil.rmtree(disk)
    assert held > 5, "the kills left journals to look for"
