"""Two clients hold side by side what they were shown: forks show, mistakes of a sender are not forks."""

import base64
import json
import random
import shutil
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.signer import CryptoSigner
from simulated_service import CREDENTIAL
from tuf.api.metadata import Metadata

from contactsync.audit.comparison import PublicationReader, compare, compare_files
from contactsync.audit.report import DISPROVEN, PROVEN, UNCHECKED
from contactsync.audit.snapshots import Snapshot, read_snapshot, view_of, write_snapshot
from contactsync.audit.sources import FolderSource
from contactsync.commands import main
from contactsync.foundation.errors import BadInput, BadReply, NetworkError
from contactsync.publication.log.checkpoint import Checkpoint
from contactsync.publication.log.merkle import EMPTY
from contactsync.publication.log.notes import ED25519, NoteSigner, sign_note
from contactsync.publication.log.policy import FIELD, LogPolicy
from contactsync.publication.log.tiles import appended

ANNA, BODO = "+491512345671", "+491512345672"


def edition(service):
    """One edition more, with the same members."""
    last = service.manifest
    service.manifest = replace(last, edition=last.edition + 1, previous=last.sha256())
    service.repository.publish([service.manifest], service.signers, datetime.now(UTC))


def shown(person):
    with person.server.lock():
        return Snapshot(1, (view_of(person.server),))


def outcome(report):
    report.close()
    return report.exit_code, {one.rule for one in report.findings if one.severity == "error"}


def is_no_evidence(report):
    """Whether a file was left out because its signatures do not fit: nothing is disproven by it."""
    said = [one.message for one in report.findings if one.rule == "snapshot"]
    return outcome(report) == (UNCHECKED, set()) and any("sign" in message for message in said)


def hidden(service, at):
    """Bring a service's repository back to an earlier state, to fork it."""
    shutil.rmtree(service.folder)
    shutil.copytree(at, service.folder)


@pytest.fixture
def fork(service, person, other_person, tmp_path):
    """Both saw edition 1; then one is shown an edition 2, and the other one another edition 2."""
    service.publish(ANNA)
    person.sync(ANNA)
    other_person.sync(ANNA)
    first = service.manifest
    shutil.copytree(service.folder, tmp_path / "first")
    service.publish(ANNA, BODO)
    person.sync(ANNA)
    shutil.copytree(service.folder, tmp_path / "second")
    hidden(service, tmp_path / "first")
    service.manifest = first
    service.publish(BODO)
    other_person.sync(ANNA)
    return person, other_person


def test_two_who_saw_the_same(service, person, other_person):
    service.publish(ANNA)
    person.sync(ANNA)
    other_person.sync(BODO)
    report = compare(shown(person), shown(other_person))
    assert outcome(report) == (PROVEN, set()), list(report.lines())


def test_a_victim_who_was_shown_an_edition_of_their_own(fork):
    report = compare(*map(shown, fork))
    assert outcome(report) == (DISPROVEN, {"manifests", "metadata"})
    text = "\n".join(report.lines())
    assert "A and B have two different epoch 1 edition 2; the one before it is the same" in text


def test_a_fork_some_editions_ago(fork, service, tmp_path):
    """The second of them has gone on: the manifests between are read from what the server serves."""
    person, other = fork
    edition(service)
    edition(service)
    other.sync(ANNA)
    without = compare(shown(person), shown(other))
    assert outcome(without)[0] == UNCHECKED  # nothing is disproven by what is not there
    source = PublicationReader(FolderSource(service.folder))
    report = compare(shown(person), shown(other), publication=source)
    assert outcome(report) == (DISPROVEN, {"manifests"})
    assert "does not continue epoch 1 edition 2 of A" in "\n".join(report.lines())


def test_one_who_is_ahead_on_the_same_history(service, person, other_person):
    service.publish(ANNA)
    person.sync(ANNA)
    edition(service)
    other_person.sync(ANNA)
    assert outcome(compare(shown(person), shown(other_person)))[0] == PROVEN
    edition(service)
    edition(service)
    other_person.sync(ANNA)
    report = compare(shown(other_person), shown(person))
    assert outcome(report)[0] == UNCHECKED
    assert any("--publication" in one.hint for one in report.findings)
    source = PublicationReader(FolderSource(service.folder))
    assert outcome(compare(shown(person), shown(other_person), publication=source))[0] == PROVEN


def test_a_mirror_that_lies_disproves_nothing(service, person, other_person, tmp_path):
    service.publish(ANNA)
    person.sync(ANNA)
    for _ in range(3):
        edition(service)
    other_person.sync(ANNA)
    shutil.copytree(service.folder, tmp_path / "mirror")
    for path in (tmp_path / "mirror" / "targets").iterdir():
        path.write_bytes(path.read_bytes().replace(b'"edition":', b'"edition": '))
    source = PublicationReader(FolderSource(tmp_path / "mirror"))
    report = compare(shown(person), shown(other_person), publication=source)
    assert outcome(report) == (UNCHECKED, set())


def test_roots_of_two_servers_of_one_address(service, person, other_person, tmp_path):
    """The operator has made a whole server for the victim: other keys from the beginning."""
    service.publish(ANNA)
    person.sync(ANNA)
    shutil.rmtree(service.folder)
    service.folder.mkdir()
    service.manifest = None
    service.__post_init__()
    service.publish(ANNA)
    other = type(person)(other_person.folder, service)
    other.sync(ANNA)
    code, rules = outcome(compare(shown(person), shown(other)))
    assert code == DISPROVEN
    assert "roots" in rules


def test_what_was_signed_by_nobody_is_no_evidence(fork):
    """Whoever edits a snapshot proves nothing against the operator."""
    one, other = map(shown, fork)
    (view,) = one.servers
    octets = view.manifests["people"].replace(b'"edition":2', b'"edition":3')
    edited = Snapshot(1, (replace(view, manifests={"people": octets}),))
    report = compare(edited, other)
    assert outcome(report) == (DISPROVEN, {"metadata"})  # what the two are shown to have been signed
    assert any("not the one that its signed metadata names" in one.message for one in report.findings)
    for role, metadata in view.metadata.items():
        signed = json.loads(metadata)
        signed["signed"]["version"] += 5
        changed = {**view.metadata, role: json.dumps(signed).encode()}
        report = compare(Snapshot(1, (replace(view, metadata=changed),)), other)
        assert is_no_evidence(report), role


def of_log(view, entries, signer, earlier=None):
    """The view of a client that has followed a log to these entries."""
    files = {} if earlier is None else dict(earlier[1])
    start = Checkpoint(signer.verifier.name, 0, EMPTY) if earlier is None else earlier[0]
    point, made = appended(files.__getitem__, start, entries)
    files |= made
    return replace(view, checkpoint=sign_note(point.text(), [signer]), tiles=files), (point, files)


@pytest.fixture
def logged(service, person):
    """What a client sees of a service whose newest root names a log, and the log's key."""
    service.publish(ANNA)
    person.sync(ANNA)
    signer = NoteSigner.of("example.org/log", ED25519, Ed25519PrivateKey.generate())
    root = Metadata(service.repository.root())
    root.signed.unrecognized_fields[FIELD] = LogPolicy(signer.verifier).to_value()
    root.signed.version += 1
    root.sign(service.signers["root"])
    (view,) = shown(person).servers  # as if it had followed: the simulated service serves no log
    return replace(view, roots={**view.roots, 2: root.to_bytes()}), signer


def test_two_who_followed_one_log(logged):
    view, signer = logged
    one, log = of_log(view, [b"a", b"b", b"c"], signer)
    other, _ = of_log(view, [b"d"] * 300, signer, log)
    report = compare(Snapshot(1, (one,)), Snapshot(1, (other,)))
    assert outcome(report) == (PROVEN, set()), list(report.lines())
    bare = Snapshot(1, (replace(other, tiles={}),))
    report = compare(Snapshot(1, (replace(one, tiles={}),)), bare)
    assert outcome(report) == (UNCHECKED, set())


def test_two_logs_under_one_key(logged):
    view, signer = logged
    one, _ = of_log(view, [b"a", b"b", b"c"], signer)
    same_length, _ = of_log(view, [b"a", b"b", b"x"], signer)
    longer, _ = of_log(view, [b"a", b"b", b"x", b"d"], signer)
    for other in (same_length, longer):
        report = compare(Snapshot(1, (one,)), Snapshot(1, (other,)))
        assert outcome(report) == (DISPROVEN, {"log"})
    foreign, _ = of_log(view, [b"a"], NoteSigner.of("example.org/log", ED25519, Ed25519PrivateKey.generate()))
    assert is_no_evidence(compare(Snapshot(1, (one,)), Snapshot(1, (foreign,))))


def test_a_log_that_was_restarted_is_not_held_against_who_still_has_the_one_before(logged, service):
    """The newest root names another log, which the client could not yet prove."""
    view, signer = logged
    one, _ = of_log(view, [b"a", b"b"], signer)
    root = Metadata.from_bytes(one.roots[2])
    successor = NoteSigner.of("example.org/log", ED25519, Ed25519PrivateKey.generate())
    root.signed.unrecognized_fields[FIELD] = LogPolicy(successor.verifier).to_value()
    root.signed.version = 3
    root.sign(service.signers["root"])
    ahead = replace(one, roots={**one.roots, 3: root.to_bytes()})
    report = compare(Snapshot(1, (ahead,)), Snapshot(1, (one,)))
    assert outcome(report) == (PROVEN, set()), list(report.lines())
    restarted, _ = of_log(ahead, [b"a"], successor)
    report = compare(Snapshot(1, (restarted,)), Snapshot(1, (one,)))
    assert outcome(report) == (UNCHECKED, set())


def test_a_checkpoint_of_another_origin_under_the_key_of_the_log_is_none(logged):
    view, signer = logged
    point = Checkpoint("example.org/another", 0, EMPTY)
    elsewhere = replace(view, checkpoint=sign_note(point.text(), [signer]))
    one, _ = of_log(view, [b"a"], signer)
    assert is_no_evidence(compare(Snapshot(1, (elsewhere,)), Snapshot(1, (one,))))


@pytest.mark.parametrize("victim_is_ahead", [False, True])
def test_a_log_of_ones_own_shows_beside_the_one_that_is_served(logged, service, victim_is_ahead):
    """Nobody has the tiles of the forked log but the victim, who keeps those that are full at most."""
    view, signer = logged
    entries = [b"entry %d" % number for number in range(300)]
    forked = [*entries[:30], *(b"for one alone" for _ in entries[30:])]
    public, (_, files) = of_log(view, entries, signer)
    folder = service.folder / "log"
    for path, octets in {**files, "checkpoint": public.checkpoint}.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(octets)
    ahead, _ = of_log(view, (forked if victim_is_ahead else entries)[:290], signer)
    behind, _ = of_log(view, (entries if victim_is_ahead else forked)[:40], signer)
    honest, _ = of_log(view, entries[:40], signer)
    pair = [Snapshot(1, (replace(one, tiles={}),)) for one in (ahead, behind)]
    reader = PublicationReader(FolderSource(service.folder))
    assert outcome(compare(*pair))[0] == UNCHECKED
    assert outcome(compare(*pair, publication=reader)) == (DISPROVEN, {"log"})
    pair = [Snapshot(1, (replace(one, tiles={}),)) for one in (public, honest)]
    assert outcome(compare(*pair, publication=reader)) == (PROVEN, set())
    (folder / "tile" / "0" / "000").write_bytes(bytes(8192))
    assert outcome(compare(*pair, publication=reader)) == (UNCHECKED, set()), "its copy is damaged"


def test_a_sync_that_was_cut_behind_new_keys_is_not_held_against_the_server(service, person, other_person):
    """The new root is kept, and the metadata is still that of the keys before."""
    service.publish(ANNA)
    person.sync(ANNA)
    other_person.sync(ANNA)
    root = Metadata(service.repository.root())
    for role in ("targets", "snapshot", "timestamp"):
        key = CryptoSigner.generate_ed25519().public_key
        root.signed.revoke_key(service.signers[role].public_key.keyid, role)
        root.signed.add_key(key, role)
    root.signed.version += 1
    root.sign(service.signers["root"])
    (service.folder / "metadata" / "2.root.json").write_bytes(root.to_bytes())

    def cut(request, reply):
        if request.path.endswith("timestamp.json"):
            reply.cut = 0

    service.tamper = cut
    with pytest.raises(NetworkError):
        person.sync(ANNA)
    assert sorted(shown(person).servers[0].roots) == [1, 2]
    report = compare(shown(person), shown(other_person))
    assert outcome(report) == (PROVEN, set()), list(report.lines())


def test_nothing_of_the_book_or_the_account_is_in_a_snapshot(service, person, tmp_path):
    service.publish(ANNA, BODO)
    person.sync(ANNA)
    write_snapshot(tmp_path / "out", shown(person).servers, 1)
    octets = (tmp_path / "out").read_bytes()
    plain = octets + b"".join(
        base64.b64decode(text)
        for view in json.loads(octets)["servers"]
        for part in ("roots", "metadata", "manifests")
        for text in view[part].values()
    )
    for secret in (ANNA, ANNA[1:], BODO[1:], CREDENTIAL, "Person", "book.csv"):
        assert secret.encode() not in plain
    with person.server.cache.open("rb") as file:
        assert file.read(16) == b"SQLite format 3\0"
    assert str(person.folder).encode() not in plain


def test_a_snapshot_is_read_as_it_was_written(fork, tmp_path):
    for name, person in zip(("a", "b"), fork, strict=True):
        write_snapshot(tmp_path / name, shown(person).servers, 1)
        assert read_snapshot(tmp_path / name) == shown(person)
    with pytest.raises(BadInput, match="already exists"):
        write_snapshot(tmp_path / "a", [], 1)


@pytest.mark.slow
def test_three_hundred_single_changes(service, person, other_person, tmp_path):
    """None of them passes as proven."""
    service.publish(ANNA)
    person.sync(ANNA)
    other_person.sync(ANNA)
    for name, one in (("a", person), ("b", other_person)):
        write_snapshot(tmp_path / name, shown(one).servers, 1)
    assert compare_files(tmp_path / "a", tmp_path / "b").exit_code == PROVEN
    good = (tmp_path / "a").read_bytes()
    draw = random.Random(14)
    for _ in range(300):
        place, kind = draw.randrange(len(good)), draw.randrange(3)
        changed = {
            0: good[:place] + bytes([good[place] ^ 1 << draw.randrange(7)]) + good[place + 1 :],
            1: good[:place],
            2: good[:place] + good[place + 1 :],
        }[kind]
        (tmp_path / "a").write_bytes(changed)
        report = compare_files(tmp_path / "a", tmp_path / "b")
        try:
            means_the_same = json.loads(changed) == json.loads(good)  # white space
        except ValueError:
            means_the_same = False
        assert (report.exit_code == PROVEN) == means_the_same, (place, kind)


@pytest.mark.slow
def test_a_change_that_states_the_right_hash(service, person, other_person, tmp_path):
    """Somebody who edits on purpose computes the hash as well: signatures find it."""
    service.publish(ANNA)
    person.sync(ANNA)
    other_person.sync(ANNA)
    one, other = shown(person), shown(other_person)
    (view,) = one.servers
    draw = random.Random(7)
    for part in ("roots", "metadata", "manifests"):
        for name, octets in getattr(view, part).items():
            for _ in range(12):
                place = draw.randrange(len(octets))
                changed = octets[:place] + bytes([octets[place] ^ 1]) + octets[place + 1 :]
                edited = replace(view, **{part: {**getattr(view, part), name: changed}})
                write = Snapshot(1, (edited,)).to_bytes()
                (tmp_path / "edited").write_bytes(write)
                report = compare(read_snapshot(tmp_path / "edited"), other)
                assert outcome(report)[0] != DISPROVEN, "who edits a file must not accuse the operator"
                if report.exit_code == PROVEN:  # a signature's key ID, a hash written otherwise
                    assert json.loads(changed)["signed"] == json.loads(octets)["signed"]


@pytest.mark.parametrize(
    ("octets", "message"),
    [
        (b"", "is not JSON"),
        (b"[]", "no snapshot that this program reads"),
        (b'{"format": "contactsync-snapshot-9"}', "contactsync-snapshot-9"),
        (b'{"format": "contactsync-snapshot-1", "format": "contactsync-snapshot-1"}', "stands twice"),
        (b"\xff\xfe", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
    ],
)
def test_what_is_no_snapshot(tmp_path, octets, message):
    (tmp_path / "a").write_bytes(octets)
    with pytest.raises(BadReply, match=message):
        read_snapshot(tmp_path / "a")
    with pytest.raises(BadInput, match="cannot read"):
        read_snapshot(tmp_path / "none")


def test_the_commands(fork, tmp_path):
    runner = CliRunner()
    for name, person in zip(("anna", "bodo"), fork, strict=True):
        done = runner.invoke(
            main, ["audit", "snapshot", "--state", str(person.state.folder), str(tmp_path / name)]
        )
        assert done.exit_code == 0, done.output
        assert "1 server, " in done.stdout
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o644
    done = runner.invoke(main, ["audit", "compare", str(tmp_path / "anna"), str(tmp_path / "bodo"), "--json"])
    assert done.exit_code == DISPROVEN, done.output
    assert json.loads(done.stdout)["outcome"] == "disproven"
    same = runner.invoke(main, ["audit", "compare", str(tmp_path / "anna"), str(tmp_path / "anna")])
    assert same.exit_code == PROVEN, same.output
    (tmp_path / "anna").write_bytes((tmp_path / "anna").read_bytes()[:-40])
    cut = runner.invoke(main, ["audit", "compare", str(tmp_path / "anna"), str(tmp_path / "bodo")])
    assert cut.exit_code == UNCHECKED
    assert "not JSON" in cut.stdout
    gone = runner.invoke(main, ["audit", "compare", str(tmp_path / "none"), str(tmp_path / "bodo")])
    assert gone.exit_code == 3
    alone = runner.invoke(
        main, ["audit", "snapshot", "--state", str(tmp_path / "empty"), str(tmp_path / "out")]
    )
    assert alone.exit_code == 3
    assert "no server is trusted yet" in alone.stderr
