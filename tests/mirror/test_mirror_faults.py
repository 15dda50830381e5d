"""What goes wrong while a mirror follows: what it serves stays what was signed, and it says what is wrong."""

import shutil
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from logged_service import ServiceLog
from mirror_tools import FirstServer, RunningMirror, refused, trusting
from simulated_service import CREDENTIAL, listen

from contactsync.client.transport import Transport
from contactsync.mirror.app import MirrorApp
from contactsync.mirror.folder import MirrorFolder
from contactsync.mirror.keeping import MirrorKeeper
from contactsync.publication.tuf.repository import LIFETIMES, Repository

pytestmark = pytest.mark.slow  # processes

FIRST = ("+4915100000001", "+12125550100", "+447700900123")
SECOND = (*FIRST, "+4915100000002")
THIRD = (*SECOND, "+4915100000003")


def is_refused(because):
    """Health says that the publication is refused, and goes on."""
    return lambda status, body: status == 200 and because in (body["problem"] or "")


def test_the_server_may_be_gone_for_a_while(publisher, tmp_path):
    publisher.publish(*FIRST)
    first, data = FirstServer(publisher, tmp_path / "first"), tmp_path / "mirror"
    with RunningMirror(publisher, data) as mirror:
        publisher.tamper = lambda _, reply: setattr(reply, "cut", 0)
        mirror.until(lambda _, body: body["problem"])
        first.look_up(mirror, [1, 2])
        mirror.stop()
    with RunningMirror(publisher, data) as mirror:  # it verifies what it has, and needs nobody
        first.look_up(mirror, [1, 2])
        mirror.until(lambda _, body: body["problem"])
        publisher.tamper = lambda *_: None
        publisher.publish(*SECOND)
        mirror.reaches(2)
        mirror.until(lambda _, body: body["problem"] is None)  # once the look is over
        assert mirror.said().count("cannot be followed") == 2, "a fault is said once"
        mirror.stop()


def test_an_older_state_and_another_history_are_refused(publisher, tmp_path):
    publisher.publish(*FIRST)
    before, manifest = tmp_path / "before", publisher.manifest
    shutil.copytree(publisher.folder, before)
    with RunningMirror(publisher, tmp_path / "mirror") as mirror:
        publisher.publish(*SECOND)
        second = FirstServer(publisher, tmp_path / "second")
        mirror.reaches(2)
        for folder in ("metadata", "targets"):
            shutil.rmtree(publisher.folder / folder)
            shutil.copytree(before / folder, publisher.folder / folder)
        mirror.until(is_refused("rolled back"))
        publisher.manifest = manifest
        publisher.publish(*THIRD)
        publisher.publish(*FIRST)
        mirror.until(is_refused("another history"))
        assert mirror.health()[1]["edition"] == 2
        second.look_up(mirror, [1, 2])
        mirror.stop()
        assert "ERROR" in mirror.said()


def test_an_edition_that_no_witness_has_seen_is_refused(publisher, tmp_path):
    log = ServiceLog(publisher)
    publisher.publish(*FIRST)
    with RunningMirror(publisher, tmp_path / "mirror") as mirror:
        witness, log.witness = log.witness, log.signer
        publisher.publish(*SECOND)
        mirror.until(is_refused("witness"))
        assert mirror.health()[1]["edition"] == 1
        log.witness = witness
        mirror.reaches(2)
        mirror.stop()


def test_a_renewed_root_is_followed_and_served(publisher, tmp_path):
    publisher.publish(*FIRST)
    pinned = trusting(publisher)
    with RunningMirror(publisher, tmp_path / "mirror") as mirror:
        root = publisher.repository.root()
        root.version += 1
        publisher.repository.write_root(root, publisher.signers["root"])
        publisher.publish(*SECOND)
        mirror.reaches(2)
        mirror.until(lambda *_: mirror.ask("/v1/tuf/metadata/2.root.json")[0] == 200)
        assert mirror.ask("/v1/tuf/metadata/root.json")[1] == publisher.repository.root_bytes()
        mirror.stop()
    assert trusting(publisher) != pinned
    code, said = refused(publisher, tmp_path / "mirror", *trusting(publisher))
    assert (code, "begun with another root" in said) == (3, True)


def test_what_has_expired_is_said_in_its_health(publisher, tmp_path):
    when = datetime.now(UTC) - LIFETIMES["timestamp"] + timedelta(seconds=12)
    publisher.publish(*FIRST, when=when)
    with RunningMirror(publisher, tmp_path / "mirror") as mirror:
        assert mirror.health()[0] == 200
        mirror.until(lambda status, body: status == 503 and body["type"].endswith(":expired"))
        assert mirror.health()[1]["role"] == "timestamp"
        publisher.publish(*SECOND)
        mirror.reaches(2)
        assert mirror.health()[0] == 200


def test_a_base_that_is_not_the_one_named_is_not_used(publisher, tmp_path):
    publisher.publish(*FIRST)
    base = publisher.manifest.partitions["49"].base.sha256

    def change(request, reply):
        if request.path.endswith(base):
            reply.body = reply.body[:-1] + bytes([reply.body[-1] ^ 1])

    publisher.tamper = change
    code, said = refused(publisher, tmp_path / "mirror", *trusting(publisher))
    assert (code, "does not match the signed manifest" in said) == (5, True)
    publisher.tamper = lambda *_: None
    (publisher.folder / "data" / base).unlink()
    code, said = refused(publisher, tmp_path / "mirror", *trusting(publisher))
    assert (code, "is for this --audience" in said) == (6, True)


def test_a_delta_that_leads_elsewhere_is_passed_over(publisher, tmp_path):
    publisher.publish(*FIRST)
    with RunningMirror(publisher, tmp_path / "mirror") as mirror:
        honest = publisher.partition

        def lying(code, edition, tokens, old):
            """The delta of another change, in a manifest that is signed all the same."""
            made = honest(code, edition, tokens, old)
            if code != "49" or old is None:
                return made
            wrong = honest(code, edition, tokens.take([1]), old)
            return replace(made, deltas=wrong.deltas)

        publisher.partition = lying
        publisher.publish(*SECOND)
        mirror.reaches(2)
        assert "fetched whole" in mirror.said()
        FirstServer(publisher, tmp_path / "second").look_up(mirror, [1, 2])


def test_rows_that_are_damaged_on_the_disk_are_made_again(publisher, tmp_path):
    publisher.publish(*FIRST)
    first, data = FirstServer(publisher, tmp_path / "first"), tmp_path / "mirror"
    with RunningMirror(publisher, data) as mirror:
        mirror.stop()
    rows = data / "rows" / "people" / f"{first.root}.rows"
    octets = bytearray(rows.read_bytes())
    octets[1000] ^= 1
    rows.write_bytes(octets)
    with RunningMirror(publisher, data) as mirror:
        first.look_up(mirror, [1, 2])
        mirror.stop()
    assert "cannot be served from the disk" in mirror.said()
    (data / "kept.json").write_bytes(b"\0" * 40)
    with RunningMirror(publisher, data) as mirror:
        first.look_up(mirror, [1, 2])
        mirror.stop()


def test_metadata_that_is_lost_is_written_again(publisher, tmp_path):
    publisher.publish(*FIRST)
    with RunningMirror(publisher, tmp_path / "mirror") as mirror:
        path = "/v1/tuf/metadata/root.json"
        for file in (tmp_path / "mirror" / "public" / "metadata").glob("*.json"):
            file.unlink()
        mirror.until(lambda *_: mirror.ask(path) == (200, publisher.repository.root_bytes()))
        publisher.tamper = lambda _, reply: setattr(reply, "cut", 0)
        mirror.until(lambda _, body: body["problem"])
        for file in (tmp_path / "mirror" / "public" / "metadata").glob("*.json"):
            file.unlink()
        status, health = mirror.health()
        assert (status, health["type"]) == (503, "urn:contactsync:problem:files-missing")
        mirror.stop()


def test_health_reads_the_metadata_again_only_when_it_changed(publisher, tmp_path, monkeypatch):
    publisher.publish(*FIRST)
    folder = MirrorFolder.open(tmp_path / "mirror", publisher.url, "people")
    server = folder.state.pin(folder.url, publisher.repository.root_bytes())
    keeper = MirrorKeeper(folder, server, lambda _: Transport(folder.url, credential=CREDENTIAL))
    reads, read = [], Repository.expiries
    monkeypatch.setattr(Repository, "expiries", lambda self: reads.append(1) or read(self))
    with server.lock():
        keeper.look()
        app = MirrorApp(folder, keeper, 1000)
        first = [app._expiries() for _ in range(5)]
        assert len(reads) == 1
        publisher.publish(*SECOND, when=datetime.now(UTC) + timedelta(seconds=5))
        keeper.look()
        assert app._expiries()["timestamp"] > first[0]["timestamp"]
        monkeypatch.setattr("contactsync.mirror.app.EXPIRIES_SECONDS", 0)
        app._expiries()
        assert len(reads) == 3, "and after some time in any case"
        shutil.rmtree(folder.public / "metadata")
        with pytest.raises(OSError, match="metadata"):
            app._expiries()


def test_another_credential_is_read_without_a_restart(publisher, tmp_path):
    publisher.publish(*FIRST)
    with RunningMirror(publisher, tmp_path / "mirror") as mirror:
        file = tmp_path / "credential"
        right = file.read_text()
        file.write_text("cs_revoked\n")
        publisher.publish(*SECOND)
        mirror.until(is_refused("credential"))
        file.write_text("two words\n")
        mirror.until(is_refused("own machine"))
        assert str(file) in mirror.said()
        assert str(tmp_path) not in mirror.ask("/v1/health")[1].decode(), "strangers read it"
        file.write_text(right)
        mirror.reaches(2)


def test_a_look_that_nobody_foresaw_is_not_the_last_one(publisher, tmp_path, caplog):
    publisher.publish(*FIRST)
    folder = MirrorFolder.open(tmp_path / "mirror", publisher.url, "people")
    server = folder.state.pin(folder.url, publisher.repository.root_bytes())
    looks = []

    def connect(patience):
        looks.append(patience)
        if len(looks) < 3:
            raise ZeroDivisionError("of somebody")
        return Transport(folder.url, credential=CREDENTIAL, patience=patience)

    keeper = MirrorKeeper(folder, server, connect)
    with server.lock():
        thread = threading.Thread(target=keeper.run, args=(0.01,))
        thread.start()
        end = time.monotonic() + 60
        while not keeper.editions:
            assert time.monotonic() < end
            time.sleep(0.01)
        keeper.stop()
        thread.join()
    assert [one.manifest for one in keeper.editions] == [publisher.manifest]
    assert caplog.text.count("ZeroDivisionError in ") == 1
    assert "of somebody" not in caplog.text


@pytest.mark.parametrize("words", [("--every", "0"), ("--tls-cert", "nothing.pem")])
def test_wrong_words_are_refused(publisher, tmp_path, words):
    code, _ = refused(publisher, tmp_path / "mirror", *words)
    assert code == 2
    assert not (tmp_path / "mirror").exists()


def test_the_publication_may_be_at_another_port_for_a_new_mirror_alone(publisher, tmp_path):
    """A folder belongs to one URL: another one is no move, and has to be confirmed anew."""
    publisher.publish(*FIRST)
    with RunningMirror(publisher, tmp_path / "mirror") as mirror:
        mirror.stop()
    server = listen(publisher)
    code, said = refused(publisher, tmp_path / "mirror", *trusting(publisher))
    server.shutdown()
    server.server_close()
    assert (code, "is a mirror of" in said) == (3, True)
