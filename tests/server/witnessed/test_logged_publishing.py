"""What is published is a leaf first, once, whoever is away or killed in between."""

import shutil
from dataclasses import replace

import pytest
from click.testing import CliRunner
from server_tools import GERMAN, Operator, run
from witnessed_tools import Client, changes, fork, opened

from contactsync.commands import main
from contactsync.foundation.errors import BadInput, NetworkError, OurError, PeerError
from contactsync.publication.log.entries import LoggedManifest, LoggedRoot, read_entry
from contactsync.publication.log.notes import open_note
from contactsync.publication.log.tiles import HashReader
from contactsync.publication.logged import begin_anew
from contactsync.publication.tuf.recording import Switch
from contactsync.server.publishing.publisher import Publisher
from contactsync.server.publishing.rotation import Aim, Order


def leaves(operator):
    log = operator.folder.public / "log"
    reader = HashReader(lambda path: (log / path).read_bytes(), operator.log.checkpoint())
    return [
        read_entry(one)
        for start in range(0, operator.log.checkpoint().size, 256)
        for one in reader.entries(start, min(start + 256, operator.log.checkpoint().size))
    ]


def editions(operator):
    return [(one.epoch, one.edition) for one in leaves(operator) if isinstance(one, LoggedManifest)]


def test_each_edition_and_each_root_is_a_leaf_once(logged):
    logged.publish()  # nothing new
    logged.add(GERMAN + 1)
    logged.publish()
    logged.publish(new_epoch=True)
    assert editions(logged) == [(1, 1), (1, 2), (2, 1)]
    assert [one.version for one in leaves(logged) if isinstance(one, LoggedRoot)] == [1]
    assert not (logged.folder.log / "pending.json").exists()


def test_too_few_witnesses_leave_all_as_it_is_and_the_next_publish_goes_on(logged, client, witnesses):
    first, second, _ = witnesses
    for one in (first, second):
        changes(logged).add_witness(one.verifier, one.url, None)
    changes(logged).set_quorum(2)
    before = client.follow()
    second.answer = (503, b"")
    logged.add(GERMAN + 1)
    with pytest.raises(NetworkError, match=r"too few witnesses.*witness1.example answered with status 503"):
        logged.publish()
    assert client.follow() == before
    pending = logged.log.pending
    logged.add(GERMAN + 2)
    with pytest.raises(NetworkError):
        logged.publish()
    assert logged.log.pending == pending, "not logged a second time with other contents"
    with pytest.raises(NetworkError):
        changes(logged).set_quorum(1)
    second.answer = None
    logged.publish()
    assert editions(logged) == [(1, 1), (1, 2), (1, 3)]
    manifest = client.follow()
    assert (manifest.edition, manifest.count) == (3, 3)


def test_what_was_logged_before_is_told_as_any_other_edition(logged, witnesses):
    """It has its changes, and one line: it was built by the run that could not finish."""
    changes(logged).add_witness(witnesses[0].verifier, witnesses[0].url, 1)

    def publish(order=None):
        publisher = Publisher(logged.folder, logged.registry, logged.keyring)
        done = publisher.publish(order=order)
        told = {key: [one.name for one in report.changes] for key, report in publisher.reports.items()}
        return [(one.epoch, one.edition, one.changed, bool(one.until)) for one in done], told

    def cut_off(order=None):
        witnesses[0].answer = (503, b"")
        with pytest.raises(NetworkError):
            publish(order)
        witnesses[0].answer = None

    logged.add(GERMAN + 1)
    cut_off()
    assert publish() == ([(1, 2, ("49",), False)], {("people", 1): ["49"]})
    logged.add(GERMAN + 2)
    cut_off()
    logged.add(GERMAN + 3)
    done, told = publish()
    assert done == [(1, 3, ("49",), False), (1, 4, ("49",), False)]
    assert told == {("people", 1): ["49"]}
    cut_off(Order(Aim.ROTATE, 999))
    done, told = publish()
    assert done == [(1, 5, (), False), (2, 1, ("49",), True)]
    assert told == {("people", 1): [], ("people", 2): ["49"]}


def test_a_first_edition_that_was_logged_before_is_told(operator, witnesses):
    changes(operator).enable()
    changes(operator).add_witness(witnesses[0].verifier, witnesses[0].url, 1)
    witnesses[0].answer = (503, b"")
    operator.add(GERMAN)
    with pytest.raises(NetworkError):
        operator.publish()
    witnesses[0].answer = None
    assert [(one.edition, one.changed) for one in operator.publish()] == [(1, ("49",))]


def test_an_order_that_was_logged_is_not_followed_twice(logged, client, witnesses):
    changes(logged).add_witness(witnesses[0].verifier, witnesses[0].url, 1)
    for order, wanted in ((Order(Aim.NEW_EPOCH), 2), (Order(Aim.ROTATE, 999), 2), (Order(Aim.TAKE_BACK), 2)):
        witnesses[0].answer = (503, b"")
        with pytest.raises(NetworkError):
            Publisher(logged.folder, logged.registry, logged.keyring).publish(order=order)
        witnesses[0].answer = None
        Publisher(logged.folder, logged.registry, logged.keyring).publish(order=order)
        assert client.follow().epoch == wanted


def test_a_witness_that_does_not_count_holds_nothing_up(logged, client, witnesses):
    changes(logged).add_witness(witnesses[0].verifier, witnesses[0].url, None)
    for answer in ((503, b""), (409, b"x\n"), (200, b""), (200, b"junk\n"), (404, b""), (422, b"")):
        witnesses[0].answer = answer
        logged.add(GERMAN + 10 + answer[0] + len(answer[1]))
        logged.publish()
        client.follow()
    witnesses[0].answer = None
    logged.publish()  # there is nothing new, and it is asked all the same
    assert witnesses[0].verifier in _verified(logged, witnesses[0])


def _verified(operator, witness):
    note = (operator.folder.public / "log" / "checkpoint").read_bytes()
    return open_note(note, [witness.verifier]).verified


def test_a_witness_says_which_size_it_knows(logged, witnesses):
    changes(logged).add_witness(witnesses[0].verifier, witnesses[0].url, 1)
    (logged.folder.log / "witnesses.json").unlink()
    changes(logged).add_witness(witnesses[0].verifier, witnesses[0].url, None)
    witnesses[0].asked.clear()
    logged.add(GERMAN + 1)
    logged.publish()
    assert witnesses[0].asked == [0, 3]


def test_a_log_that_is_older_than_what_a_witness_has_seen(logged, client, witnesses, tmp_path):
    """As after a restore. The longer log, from any copy of it, or a new epoch are ways out."""
    changes(logged).add_witness(witnesses[0].verifier, witnesses[0].url, 1)
    client.follow()
    old = fork(logged, tmp_path / "restored")
    for number in (1, 2):
        logged.add(GERMAN + number)
        logged.publish()
    old.add(GERMAN + 7)
    with pytest.raises(OurError, match=r"shorter than the one that witness0.example has seen \(5 entries\)"):
        old.publish()
    (old.folder.log / "pending.json").unlink()
    shutil.rmtree(old.folder.public / "log")
    shutil.copytree(logged.folder.public / "log", old.folder.public / "log")
    with pytest.raises(OurError, match="the log already has people, epoch 1 edition 3"):
        old.publish()
    old.publish(new_epoch=True)
    client.public = old.folder.public
    assert client.follow().epoch == 2
    old.close()


def test_an_older_folder_without_a_log_begins_one(operator, tmp_path):
    for number in range(3):
        operator.add(GERMAN + number)
        operator.publish()
    client = Client(tmp_path / "client", operator)
    assert client.follow().edition == 3
    assert client.of_log() == []
    changes(operator).enable()
    assert editions(operator) == [(1, 1), (1, 2), (1, 3)]
    assert [one.version for one in leaves(operator) if isinstance(one, LoggedRoot)] == [1, 2]
    assert client.follow().edition == 3
    assert client.of_log(), "it takes the policy, and what it had accepted is in the log"
    operator.add(GERMAN + 5)
    operator.publish()
    assert client.follow().edition == 4
    with pytest.raises(BadInput, match="has a log"):
        changes(operator).enable()


def test_a_client_that_was_long_away_follows_all_changes_of_the_policy(logged, client, witnesses):
    """Each was witnessed as the policy before it asked, by witnesses that may be gone since."""
    fresh = Client(client.state.with_name("fresh"), logged)
    client.follow()
    for number, one in enumerate(witnesses):
        changes(logged).add_witness(one.verifier, one.url, 1)
        logged.add(GERMAN + 1 + number)
        logged.publish()
        if number:
            changes(logged).remove_witness(witnesses[number - 1].name, None)
            witnesses[number - 1].answer = (503, b"")
    assert client.follow().edition == fresh.follow().edition == 4
    assert logged.log.policy.witnesses == (witnesses[2].verifier,)


def test_a_log_that_begins_anew_is_refused_until_it_is_accepted(logged, client):
    client.follow()
    old = logged.log.policy.log
    changes(logged).restart()
    assert logged.log.policy.log != old
    assert editions(logged) == [(1, 1)]
    logged.add(GERMAN + 1)
    logged.publish()
    with pytest.raises(PeerError):
        client.follow()
    begin_anew(client.state / "log", logged.repository.root_bytes())
    assert client.follow().edition == 2
    assert Client(client.state.with_name("new"), logged, version=2).follow().edition == 2
    assert [path.name for path in logged.folder.log.glob("ended-*")]


def test_a_log_of_more_than_a_tile(logged, client):
    """Proofs over two levels, and the tiles that a client has kept are not fetched again."""
    client.follow()
    manifest = replace(logged.manifest(), audience="business")
    more = [replace(manifest, edition=2 + number, previous="0" * 64).to_bytes() for number in range(260)]
    logged.log.record(Switch(earlier=tuple(more)))
    logged.log.settle()
    logged.add(GERMAN + 1)
    logged.publish()
    assert client.follow().edition == 2
    assert "tile/1/000.p/1" in client.of_log()
    assert (client.state / "log" / "tile" / "0" / "000").exists()
    assert not list((logged.folder.public / "log" / "tile" / "0").glob("000.p"))


def test_init_and_the_commands(tmp_path, witnesses):
    data = tmp_path / "server"
    run("init", data=data)
    assert "0 of 0 witnesses must cosign" in run("log", "show", data=data)
    run("members", "add", "+4915100000001", data=data)
    run("publish", data=data)
    said = run("log", "add-witness", witnesses[0].vkey, "--url", witnesses[0].url, "--quorum", "1", data=data)
    assert "1 of 1 witness must cosign" in said
    assert "cosigned" in said
    witnesses[0].answer = (503, b"")
    done = CliRunner().invoke(main, ["server", "members", "add", "+4915100000002", "--data", str(data)])
    done = CliRunner().invoke(main, ["server", "publish", "--data", str(data)])
    assert done.exit_code == 4
    assert "publish again when they answer" in done.stderr
    done = CliRunner().invoke(main, ["server", "status", "--check", "--data", str(data)])
    assert done.exit_code == 12
    assert "is not published yet" in done.stdout
    assert "witness0.example" in done.stdout or "cosigned" in run("log", "show", data=data)
    witnesses[0].answer = None
    assert "has cosigned" in run("log", "ask", data=data)
    run("publish", data=data)
    run("log", "quorum", "0", data=data)
    run("log", "remove-witness", witnesses[0].name, data=data)
    done = CliRunner().invoke(main, ["server", "status", "--check", "--data", str(data)])
    assert done.exit_code == 0, done.output
    run("log", "restart", "--yes", data=data)
    one = opened(data)
    assert editions(one) == [(1, 1), (1, 2)]
    one.close()


def test_offline_root_and_targets(tmp_path, witnesses):
    """What is signed elsewhere is logged when it is finished."""
    data, key = tmp_path / "server", tmp_path / "root.key"
    run("init", data=data)
    run("members", "add", "+4915100000001", data=data)
    run("publish", data=data)
    for role in ("root", "targets"):
        run("keys", "export", role, str(tmp_path / f"{role}.key"), "--remove", "--no-passphrase", data=data)
    request = tmp_path / "request.json"
    url = ["--url", witnesses[0].url, "--quorum", "1"]
    run("log", "add-witness", witnesses[0].vkey, *url, "--request", str(request), data=data)
    text = request.read_text()
    assert witnesses[0].vkey.replace("/", "\\/") in text or witnesses[0].vkey in text
    _sign(request, key)
    run("finish", str(request), data=data)
    assert "1 of 1 witness must cosign" in run("log", "show", data=data)
    run("members", "add", "+4915100000002", data=data)
    run("publish", "--offline-targets", str(request), data=data)
    _sign(request, tmp_path / "targets.key")
    witnesses[0].answer = (503, b"")
    done = CliRunner().invoke(main, ["server", "finish", str(request), "--data", str(data)])
    assert done.exit_code == 4, done.output
    witnesses[0].answer = None
    run("finish", str(request), data=data)
    one = opened(data)
    assert one.manifest().edition == 2
    assert editions(one) == [(1, 1), (1, 2)]
    client = Client(tmp_path / "client", one)
    assert client.follow().edition == 2
    one.close()


def _sign(request, key):
    done = CliRunner().invoke(main, ["server", "sign", str(request), "--keys", str(key), "--yes"])
    assert done.exit_code == 0, done.output


def test_two_operators_have_two_logs(logged, tmp_path):
    other = Operator(tmp_path / "other", log=True)
    assert other.log.policy.log.name != logged.log.policy.log.name
    other.close()
