"""The state folder: which URL is which server, what is pinned, what is wiped."""

import errno
import fcntl
import hashlib
import json
from datetime import UTC, datetime

import numpy as np
import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata

from contactsync.client.cache import Cache
from contactsync.client.cache_schema import CACHE_STEPS
from contactsync.client.core.mode import AskedList
from contactsync.client.core.round import PendingBatch
from contactsync.client.state import State, canonical_url, is_in_clear
from contactsync.client.trust import fetch_root, is_known, leads_to, read_fingerprint, seen_manifests
from contactsync.foundation import durable
from contactsync.foundation.errors import BadInput, BadSignature, NotTrusted, OurError
from contactsync.publication.tuf.follower import grouped, root_fingerprint
from contactsync.publication.tuf.signed import renewed_root
from contactsync.tokens import Tokens


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("https://Example.ORG/", "https://example.org"),
        ("https://example.org:443", "https://example.org"),
        ("http://example.org:80/a/b/", "http://example.org/a/b"),
        ("http://[::1]:8440", "http://[::1]:8440"),
    ],
)
def test_one_spelling_of_a_server(text, url):
    assert canonical_url(text) == url


@pytest.mark.parametrize(
    "text",
    ["", "example.org", "ftp://x", "https://", "https://u:p@x", "https://x?q", "https://x#f", "http://x:99999",
     "https://x y", "http://[::1", "https://x/\x1b[2J", "https://x/../../etc"[:9] + "\\"],
)  # fmt: skip
def test_what_is_no_server(text):
    with pytest.raises(BadInput):
        canonical_url(text)


def test_a_credential_in_the_clear():
    assert is_in_clear("http://example.org")
    assert is_in_clear("http://192.168.0.1:8440")
    for url in ("https://example.org", "http://127.0.0.1:1", "http://[::1]", "http://localhost:8440"):
        assert not is_in_clear(url)


def test_which_server_is_meant(tmp_path):
    state = State(tmp_path)
    assert state.servers() == []
    with pytest.raises(NotTrusted):
        state.server(None)
    with pytest.raises(NotTrusted):
        state.server("https://one.example")
    one = state.pin("https://one.example", b"root one")
    assert state.server(None) == state.server("https://one.example/") == one
    assert one.root == b"root one"
    state.pin("https://one.example:8440", b"root two")
    with pytest.raises(BadInput, match="several"):
        state.server(None)
    assert state.server("https://one.example") == one


def test_a_damaged_record_or_root_is_said(tmp_path):
    state = State(tmp_path)
    server = state.pin("https://one.example", b"root")
    (server.folder / "root.json").write_bytes(b"other")
    with pytest.raises(OurError, match="damaged"):
        _ = server.root
    for text in (
        "",
        "{}",
        '{"version": 2}',
        '{"version": 1, "url": "https://two.example", "fingerprint": ""}',
    ):
        (server.folder / "server.json").write_text(text)
        with pytest.raises(OurError):
            state.server("https://one.example")
    assert state.forget(server.folder).files == 3
    assert state.folders() == []


def test_forgetting_overwrites_before_it_removes(tmp_path):
    state = State(tmp_path)
    server = state.pin("https://one.example", b"root")
    durable.write(server.data / "x", b"tokens" * 1000)
    with (server.data / "x").open("rb") as file:
        assert state.forget(server.folder).remains == []
        assert file.read() == bytes(6000)
    assert not server.folder.exists()


def test_what_remains_of_a_server_is_not_trusted_and_not_pinned_over(tmp_path):
    state = State(tmp_path)
    server = state.pin("https://one.example", b"root")
    other = state.pin("https://two.example", b"root")
    (tmp_path / "elsewhere").hardlink_to(server.folder / "root.json")
    (remnant,) = state.forget(server.folder).remains
    assert remnant.path == server.folder / "root.json"
    assert (state.servers(), state.folders()) == ([other], [server.folder, other.folder])
    with pytest.raises(OurError, match=r"root\.json: it has another name"):
        state.pin("https://one.example", b"new")
    assert (tmp_path / "elsewhere").read_bytes() == b"root"
    (tmp_path / "elsewhere").unlink()
    assert state.forget(server.folder).remains == []
    assert state.folders() == [other.folder]


def test_a_lock_that_is_a_link_is_not_opened(tmp_path):
    state = State(tmp_path / "state")
    server = state.pin("https://one.example", b"root")
    (server.folder / "lock").unlink()
    (server.folder / "lock").symlink_to(tmp_path / "made")
    with pytest.raises(OSError, match="symbolic"), server.lock():
        pass
    assert state.forget(server.folder).remains == []
    assert (state.folders(), (tmp_path / "made").exists()) == ([], False)


def test_who_waits_for_a_server_that_is_being_forgotten_learns_it(tmp_path, monkeypatch):
    state = State(tmp_path)
    server = state.pin("https://one.example", b"root")
    real = fcntl.flock

    def flock(file, how):
        monkeypatch.setattr("fcntl.flock", real)
        state.forget(server.folder)  # between the opening of the lock and the locking
        real(file, how)

    monkeypatch.setattr("fcntl.flock", flock)
    with pytest.raises(NotTrusted, match="no longer"), server.lock():
        pass
    with pytest.raises(NotTrusted, match="no longer"), server.lock():
        pass


def test_zeros_of_a_record_that_a_wipe_has_left_hide_nobody(tmp_path):
    """The first version wiped in any order, and may have been killed."""
    state = State(tmp_path)
    one, two = state.pin("https://one.example", b"root"), state.pin("https://two.example", b"root")
    record = two.folder / "server.json"
    record.write_bytes(bytes(record.stat().st_size))
    assert state.servers() == [one]
    assert state.server(None) == one
    with pytest.raises(NotTrusted):
        state.server("https://two.example")
    assert state.forget(two.folder).remains == []
    assert state.folders() == [one.folder]


@pytest.mark.slow
def test_a_damaged_root_is_had_from_those_that_were_followed(service, person):
    service.publish("+491512345671")
    person.sync("+491512345671")
    root = person.server.root
    for damage in (b"other", b""):
        (person.server.folder / "root.json").write_bytes(damage)
        assert person.server.root == root
    person.sync("+491512345671")
    for path in (person.server.tuf / "metadata" / "root_history").iterdir():
        path.write_bytes(b"other")
    with pytest.raises(OurError, match=r"root stored for .* is damaged") as raised:
        _ = person.server.root
    assert f"contactsync trust {service.url};" in raised.value.hint
    with pytest.raises(BadSignature):
        person.server.restore_root(b"another")
    person.server.restore_root(root)
    assert person.server.root == root


@pytest.mark.slow
def test_scratch_of_killed_processes_goes_with_the_next_sync_and_that_of_living_ones_stays(service, person):
    service.publish("+491512345671")
    person.sync("+491512345671")
    folder, tuf = person.server.folder, person.server.tuf
    before = set(person.state.folder.rglob("*"))
    person.server.ledger.parent.mkdir()
    for path in (
        *(at / ".a.json.0123456789abcdef.part" for at in (folder, tuf, tuf / "manifests", tuf / "metadata")),
        person.server.ledger.with_name(f".{person.server.ledger.name}.0123456789abcdef.part"),
        tuf / "tmpab_d1234",
        tuf / "metadata" / "tmp12345678",
        tuf / "metadata" / "root_history" / "tmp12345678",
        person.server.data / f"{'0' * 64}.part",
        person.server.data / ("1" * 64),
        tuf / "scratch" / "root_history" / "tmp12345678",
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half")
    other = person.server.ledger.with_name(".other.json.0123456789abcdef.part")
    other.write_bytes(b"of another server")
    with durable.replacing(tuf / "alive") as alive:
        alive.write(b"x")
        person.sync("+491512345671")
    after = set(person.state.folder.rglob("*"))
    assert after - before == {tuf / "alive", other.parent, other}
    assert before <= after


def test_a_root_is_fetched_and_must_sign_itself(service, person):
    root = fetch_root(person.transport())
    assert is_known(person.server, root)
    service.tamper = lambda _, reply: setattr(reply, "body", reply.body.replace(b"ed25519", b"ed25518"))
    with pytest.raises(BadSignature):
        fetch_root(person.transport())
    service.tamper = lambda _, reply: setattr(reply, "body", b"<html>hello</html>")
    with pytest.raises(BadSignature):
        fetch_root(person.transport())


def test_a_root_that_the_pinned_one_signed_is_known_another_is_not(service, person, tmp_path):
    root = service.repository.root()
    root.version += 1
    service.repository.write_root(root, service.signers["root"])
    assert is_known(person.server, fetch_root(person.transport()))
    (tmp_path / "b").mkdir()
    stranger = type(service)(tmp_path / "b")
    assert not is_known(person.server, stranger.repository.root_bytes())


def test_a_root_is_known_by_the_roots_between(service, person):
    """Two changes of the root's key, and no sync between: the pinned root has not signed the newest."""
    roots = [service.repository.root()]
    signers = [service.signers["root"]]
    for _ in range(2):
        root, signer = renewed_root(roots[-1], datetime.now(UTC)), CryptoSigner.generate_ed25519()
        root.revoke_key(signers[-1].public_key.keyid, "root")
        root.add_key(signer.public_key, "root")
        metadata = Metadata(root)
        for one in (signers[-1], signer):
            metadata.sign(one, append=True)
        service.repository.add_root(metadata)
        roots.append(root)
        signers.append(signer)
    transport = person.transport()
    newest = fetch_root(transport)
    assert not is_known(person.server, newest)
    assert leads_to(transport, person.server, newest)
    service.tamper = lambda request, reply: (
        setattr(reply, "status", 404) if request.path.endswith("2.root.json") else None
    )
    assert not leads_to(transport, person.server, newest)


def test_fingerprints_as_people_write_them():
    digits = "0123456789abcdef" * 4
    assert read_fingerprint(grouped(digits)) == digits
    assert read_fingerprint(digits.upper()) == digits
    assert read_fingerprint(":".join(digits[i : i + 2] for i in range(0, 64, 2))) == digits
    for text in ("", digits[:-1], digits + "0", "g" * 64):
        with pytest.raises(BadInput):
            read_fingerprint(text)


def test_a_pin_that_fails_leaves_nothing_half_done(tmp_path, monkeypatch):
    state = State(tmp_path)

    def full(_path, _data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("contactsync.foundation.durable.write", full)
    with pytest.raises(OSError, match="No space"):
        state.pin("https://one.example", b"root")
    assert state.folders() == []


def test_a_cache_asks_for_what_survives_a_power_cut(tmp_path):
    """Why each of them is needed: test_client_power_cut.py."""
    with Cache(tmp_path / "cache.sqlite", "http://server.test") as cache:
        asked = ("synchronous", "journal_mode", "secure_delete", "temp_store", "locking_mode", "auto_vacuum")
        found = [cache._db.execute(f"PRAGMA {name}").fetchone()[0] for name in asked]
        assert found == [3, "persist", 1, 2, "normal", 0]
    assert (tmp_path / "cache.sqlite").stat().st_mode & 0o777 == 0o600


def test_a_cache_that_cannot_be_written_is_not_called_damaged(tmp_path):
    with Cache(tmp_path / "cache", "https://one.example") as cache:
        (pages,) = cache._db.execute("PRAGMA page_count").fetchone()
        cache._db.execute(f"PRAGMA max_page_count = {pages}")  # what a full disk looks like
        tokens = Tokens.from_bytes(np.zeros((1000, 10), np.uint8))
        with pytest.raises(OurError, match="cannot write"):
            cache.add_tokens(
                "people", 1, (b"tel:+%d" % i for i in range(1000)), tokens, np.zeros((1000, 32), np.uint8)
            )
        assert cache.counts()["tokens"] == 0
        (tmp_path / "other").mkdir()
    with pytest.raises(OurError, match="cannot write"):
        Cache(tmp_path / "other", "https://one.example")


def test_somebody_in_two_audiences_is_counted_once(tmp_path):
    with Cache(tmp_path / "cache", "https://one.example") as cache:
        for audience in ("people", "business"):
            found = {"member": np.array([True]), "edition": np.array([1])}
            cache.finish(audience, 1, [b"tel:+4930123456"], holdings={}, **found)
        assert cache.counts() == {"identifiers": 1, "matches": 1, "tokens": 0}


def test_a_pin_that_was_cut_short_hides_no_other_server(tmp_path):
    state = State(tmp_path)
    one = state.pin("https://one.example", b"root")
    durable.private_folder(state._folder("https://two.example") / "tuf")
    assert state.servers() == [one]
    assert state.server(None) == one
    with pytest.raises(NotTrusted):
        state.server("https://two.example")
    assert state.pin("https://two.example", b"root two").root == b"root two"
    assert len(state.servers()) == 2


def test_a_newer_state_or_cache_is_refused_with_a_way_out(tmp_path):
    state = State(tmp_path)
    server = state.pin("https://one.example", b"root")
    with Cache(server.cache, server.url) as cache:
        cache._db.execute("PRAGMA user_version = 6")
    with pytest.raises(OurError, match=r"cache kept for https://one\.example has version 6") as raised:
        Cache(server.cache, server.url)
    assert "update contactsync" in raised.value.hint
    record = json.loads((server.folder / "server.json").read_bytes())
    (server.folder / "server.json").write_text(json.dumps({**record, "version": 2}))
    with pytest.raises(OurError, match="has version 2") as raised:
        state.server(server.url)
    assert "update contactsync" in raised.value.hint


def test_a_state_and_a_cache_of_an_earlier_version_are_brought_up(tmp_path, monkeypatch):
    state = State(tmp_path)
    server = state.pin("https://one.example", b"root")
    with Cache(server.cache, server.url) as cache:
        cache.begin_round("people", 1, [PendingBatch("one", 8, (b"tel:+1",))])

    def move(folder, record):
        assert (folder / "lock").exists()
        (folder / "root.json").rename(folder / "moved.json")
        (folder / "moved.json").rename(folder / "root.json")
        return {**record, "note": "brought up"}

    monkeypatch.setattr("contactsync.client.state.STATE_STEPS", [move])
    monkeypatch.setattr(
        "contactsync.client.cache.CACHE_STEPS",
        [*CACHE_STEPS, lambda db: db.execute("ALTER TABLE asked ADD COLUMN more")],
    )
    assert state.servers() == [server] == state.servers()
    record = json.loads((server.folder / "server.json").read_bytes())
    assert (record["version"], record["note"]) == (2, "brought up")
    for _ in range(2):
        with Cache(server.cache, server.url) as cache:
            assert [batch.name for batch in cache.unfinished_round("people", 1)] == ["one"]
            assert cache._db.execute("PRAGMA user_version").fetchone() == (6,)
    assert state.pin("https://two.example", b"root").folder.joinpath("server.json").read_bytes().count(b"2,")


def test_a_migration_waits_for_who_holds_the_state_but_not_for_ever(tmp_path, monkeypatch):
    state = State(tmp_path)
    server = state.pin("https://one.example", b"root")
    monkeypatch.setattr("contactsync.client.state.STATE_STEPS", [lambda _, record: record])
    monkeypatch.setattr("contactsync.client.state.MIGRATION_WAIT", 0.1)
    with server.lock(), pytest.raises(OurError, match="another contactsync"):
        state.server(server.url)
    assert state.server(server.url) == server


def test_what_version_1_wrote(version_1):
    """See tests/fixtures/README.md."""
    state = State(version_1 / "state")
    server = state.server("http://127.45.67.89:8440")
    assert state.servers() == [server]
    assert root_fingerprint(server.root) == server.fingerprint
    assert is_known(server, server.root)
    (seen,) = seen_manifests(server)
    assert (seen.audience, seen.epoch, seen.edition) == ("people", 1, 2)
    with Cache(server.cache, server.url) as cache:
        assert cache.newest_epoch("people") == 1
        assert cache.counts() == {"identifiers": 4, "matches": 3, "tokens": 4}
        rows = cache._db.execute("SELECT identifier FROM tokens ORDER BY identifier").fetchall()
        identifiers = [identifier for (identifier,) in rows]
        assert all(identifier.startswith(b"tel:+") for identifier in identifiers)
        known = cache.tokens("people", 1, identifiers)
        assert known.known.all()
        assert known.member.sum() == 3
        assert sorted(cache.findings("people", identifiers).tolist()) == [0, 1, 1, 1]
        assert cache.take_asked() == {("people", "49"): AskedList(1, 12, 0, b"", (0,))}
        assert cache.unfinished_round("people", 1) == []
        held = cache.holdings("people", 1)
        assert held
        for holding in held.values():
            for file in holding.files():
                assert hashlib.sha256((server.data / file.sha256).read_bytes()).hexdigest() == file.sha256
        assert cache.held_files() <= {path.name for path in server.data.iterdir()}
    with server.lock():
        pass
    assert state.forget(server.folder).files > 8
