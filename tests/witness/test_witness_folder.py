"""What a witness keeps: nothing that it cosigned may be forgotten, and no second key be made."""

import sqlite3
import stat
import threading
from contextlib import closing

import pytest
from growing_log import GrowingLog
from power_cut import needs_strace, python, record

from contactsync.foundation.errors import BadInput, ContactSyncError, OurError
from contactsync.witness.cosigning import Witness
from contactsync.witness.folder import WitnessFolder

NAME = "witness.example.org/w1"


@pytest.fixture
def log():
    return GrowingLog(7)


@pytest.fixture
def folder(tmp_path, log):
    """The path of a witness that has cosigned five entries."""
    path = tmp_path / "witness"
    with closing(WitnessFolder.create(path, NAME)) as made:
        assert Witness(made, [log.signer.verifier]).add_checkpoint(log.request(0, 5)).status == 200
    return path


def ask(path, log, body):
    """The status of an answer."""
    with closing(WitnessFolder.open(path)) as opened:
        return Witness(opened, [log.signer.verifier]).add_checkpoint(body).status


def test_what_was_cosigned_outlives_the_process(folder, log):
    assert ask(folder, log, log.fork(3, 5).request(0)) == 409
    assert ask(folder, log, log.request(5, 7)) == 200
    assert ask(folder, log, log.request(5, 6)) == 409


def test_its_key_is_its_owners_alone(folder):
    assert stat.S_IMODE((folder / "witness.json").stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    (folder / "witness.json").chmod(0o640)
    with pytest.raises(BadInput, match="other users can read"):
        WitnessFolder.open(folder)


@pytest.mark.parametrize("name", ["two words", "a+b", "", "x" * 300, "line\n"])
def test_what_is_no_name_of_a_key_makes_none(tmp_path, name):
    with pytest.raises(BadInput, match="name of a key"):
        WitnessFolder.create(tmp_path / "w", name)
    assert not WitnessFolder.exists(tmp_path / "w")


def test_a_second_key_is_never_made(folder):
    with pytest.raises(BadInput, match="already"):
        WitnessFolder.create(folder, "other")
    (folder / "witness.json").unlink()
    for attempt in (lambda: WitnessFolder.create(folder, NAME), lambda: WitnessFolder.open(folder)):
        with pytest.raises(OurError, match="missing") as error:
            attempt()
        assert "begin anew" in error.value.hint


def test_of_many_that_make_a_witness_at_once_one_does(tmp_path):
    made, refused = [], []

    def make():
        try:
            with closing(WitnessFolder.create(tmp_path / "w", NAME)) as folder:
                made.append(folder.verifier)
        except BadInput:
            refused.append(1)

    threads = [threading.Thread(target=make) for _ in range(6)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert (len(made), len(refused)) == (1, 5)
    with closing(WitnessFolder.open(tmp_path / "w")) as folder:
        assert folder.verifier == made[0]


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "null", "KEY less", "KEY name"])
def test_a_damaged_key_is_an_error_that_quotes_nothing(folder, text):
    good = (folder / "witness.json").read_text()
    secret = good.rpartition('"key": "')[2].partition('"')[0]
    broken = {"KEY less": good.replace(secret, secret[:-2]), "KEY name": good.replace(NAME, "a b")}
    (folder / "witness.json").write_text(broken.get(text, text))
    with pytest.raises(OurError) as error:
        WitnessFolder.open(folder)
    assert secret[:-2] not in f"{error.value} {error.value.hint}"


def test_a_key_of_a_later_version_is_refused(folder):
    file = folder / "witness.json"
    file.write_text(file.read_text().replace('"version": 1', '"version": 2'))
    with pytest.raises(OurError, match="version 2") as error:
        WitnessFolder.open(folder)
    assert "update contactsync" in error.value.hint


def change(folder, statement, *values):
    with closing(sqlite3.connect(folder / "logs.sqlite")) as connection, connection:
        connection.execute(statement, values)


DAMAGES = {
    "size": "UPDATE log SET size = 4",
    "root": "UPDATE log SET root = zeroblob(32)",
    "origin": "UPDATE log SET origin = 'other'",
    "signature": "UPDATE log SET note = CAST(replace(note, '— witness', '— witless') AS BLOB)",
    "unsigned": "UPDATE log SET note = x'610a310a0a'",
    "empty": "UPDATE log SET note = x''",
    "another key": "UPDATE witness SET vkey = 'other'",
    "no table": "DROP TABLE log",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_changed_record_is_an_error_and_no_new_beginning(folder, log, damage):
    change(folder, DAMAGES[damage])
    with pytest.raises(OurError), closing(WitnessFolder.open(folder)) as opened:
        opened.logs()


@pytest.mark.parametrize("damage", ["missing", "empty", "zeros", "torn", "text"])
def test_a_damaged_file_is_an_error_and_no_new_beginning(folder, log, damage):
    file = folder / "logs.sqlite"
    good = file.read_bytes()
    file.unlink()
    octets = {"empty": b"", "zeros": bytes(len(good)), "torn": good[: len(good) // 2], "text": b"x" * 5000}
    if damage != "missing":
        file.write_bytes(octets[damage])
    with pytest.raises(OurError):
        ask(folder, log, log.fork(3, 7).request(0))
    with pytest.raises(ContactSyncError):
        WitnessFolder.create(folder, NAME)


def test_a_record_of_a_later_version_is_refused(folder):
    change(folder, "PRAGMA user_version = 2")
    with pytest.raises(OurError, match="version 2"):
        WitnessFolder.open(folder)


def test_a_record_that_is_taken_away_from_a_running_witness_stops_it(folder, log):
    """SQLite would go on writing into a file that has no name, and the next process begin without it."""
    file = folder / "logs.sqlite"
    with closing(WitnessFolder.open(folder)) as opened:
        witness = Witness(opened, [log.signer.verifier])
        file.rename(folder / "away")
        with pytest.raises(OurError, match="removed or replaced"):
            witness.add_checkpoint(log.request(5, 6))
        file.write_bytes((folder / "away").read_bytes())
        with pytest.raises(OurError, match="removed or replaced"):
            witness.add_checkpoint(log.request(5, 6))
        (folder / "away").rename(file)
        assert witness.add_checkpoint(log.request(5, 6)).status == 200
    assert ask(folder, log, log.request(6, 7)) == 200


def test_two_processes_at_one_folder_cosign_one_tree(folder, log):
    """Each looks at what the other has cosigned, not at what it remembers."""
    with closing(WitnessFolder.open(folder)) as one, closing(WitnessFolder.open(folder)) as two:
        first, second = (Witness(each, [log.signer.verifier]) for each in (one, two))
        assert first.add_checkpoint(log.request(5, 6)).status == 200
        assert second.add_checkpoint(log.fork(5, 6).request(5)).status == 409
        assert second.add_checkpoint(log.request(6, 7)).status == 200
        assert first.add_checkpoint(log.fork(6, 7).request(6)).status == 409


def test_nothing_is_cosigned_that_cannot_be_kept(folder, log):
    with closing(WitnessFolder.open(folder)) as opened:
        witness = Witness(opened, [log.signer.verifier])
        pages = opened._connection.execute("PRAGMA page_count").fetchone()[0]
        opened._connection.execute(f"PRAGMA max_page_count = {pages}")  # then the disk is full to SQLite
        long = log.request(5, 6, "x" * 20_000 + "\n")
        with pytest.raises(OurError, match="cannot be used"):
            witness.add_checkpoint(long)
        assert opened.last(log.name).checkpoint == log.checkpoint(5)
        opened._connection.execute("PRAGMA max_page_count = 100000")
        assert witness.add_checkpoint(log.request(5, 7)).status == 200


COSIGN = """
import sys
from contextlib import closing
from pathlib import Path
from contactsync.publication.log.notes import Verifier
from contactsync.witness.cosigning import Witness
from contactsync.witness.folder import WitnessFolder

with closing(WitnessFolder.create(Path(sys.argv[1]), sys.argv[3])) as folder:
    print(folder.verifier.vkey(), flush=True)
    witness = Witness(folder, [Verifier.parse(sys.argv[2])])
    for path in sys.argv[4:]:
        answer = witness.add_checkpoint(Path(path).read_bytes())
        assert answer.status == 200, answer
        print(answer.body.decode(), flush=True)
"""


@needs_strace
@pytest.mark.slow
def test_a_power_cut_takes_no_cosigned_tree_back(tmp_path, log):
    disk = tmp_path / "disk"
    disk.mkdir()
    steps = [(0, 2), (2, 5), (5, 7)]
    bodies = []
    for old, size in steps:
        bodies.append(tmp_path / f"{size}")
        bodies[-1].write_bytes(log.request(old, size))
    recording = record(disk, python(COSIGN, disk / "witness", log.vkey, NAME, *bodies))
    whole = made = 0
    for cut in recording.cuts(most=150):
        with cut.at() as found:
            said = cut.said.splitlines()
            cosigned = [
                size
                for (_, size), _ in zip(steps, [one for one in said if one[:1] == "\u2014"], strict=False)
            ]
            path = found / "witness"
            if not (path / "witness.json").exists():
                assert not said, "its key was told"
                with closing(WitnessFolder.create(path, NAME)):
                    made += 1
                continue
            with closing(WitnessFolder.open(path)) as folder:
                assert not said or said[0] == folder.verifier.vkey()
                last = folder.last(log.name)
                known = 0 if last is None else last.checkpoint.size
                assert known >= max(cosigned, default=0)
                assert last is None or last.checkpoint == log.checkpoint(known)
                if known:
                    fork = log.fork(known - 1, known)
                    witness = Witness(folder, [log.signer.verifier])
                    assert witness.add_checkpoint(fork.request(0)).status == 409
            whole += 1
    assert whole > 20
    assert made > 5
