"""The log in the JavaScript client: nothing of a manifest is used before it was found there, cosigned."""

import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from javascript import Person, found, needs_node
from logged_service import ServiceLog
from server_tools import GERMAN, Operator, Process
from simulated_service import CREDENTIAL, service

from contactsync.publication.log.notes import COSIGNATURE, ED25519, NoteSigner

__all__ = ["service"]
pytestmark = [needs_node, pytest.mark.slow]
ANNA, BEN = "+4915100000001", "+4915100000002"
WITNESS = NoteSigner.of("w.example", COSIGNATURE, Ed25519PrivateKey.generate()).verifier.vkey()


@pytest.fixture
def logged(service):
    service.first_root = service.repository.root_bytes()
    ServiceLog(service)
    service.publish(ANNA)
    return service


@pytest.fixture
def person(tmp_path, logged):
    """Somebody who has pinned the root before the one that names the log."""
    return Person(tmp_path / "person", logged.url, logged.first_root, CREDENTIAL)


def asked(service):
    """The paths that were asked for of the log since the last call, and whether a point was sent."""
    paths = [one.path.removeprefix("/v1/log/") for one in service.requests if "/log/" in one.path]
    sent = any(one.method == "POST" for one in service.requests)
    service.requests.clear()
    return paths, sent


def spoiled(service, path, change):
    """Have the service answer another body for a path of the log; None: 404."""

    def tamper(request, reply):
        if request.path == f"/v1/log/{path}":
            reply.body = change(reply.body) if change else b""
            reply.status = 200 if change else 404

    service.tamper = tamper


def test_a_manifest_is_found_in_the_log_before_it_is_used(person, logged):
    assert found(person.sync(ANNA, BEN)) == [ANNA]
    paths, sent = asked(logged)
    assert sent
    assert [one for one in paths if not one.startswith(("tile/", "leaf/"))] == ["root/2", "checkpoint"]
    assert f"leaf/{logged.manifest.sha256()}" in paths
    person.sync(ANNA, BEN)
    assert asked(logged) == ([], True)  # nothing was published: nothing is asked
    logged.publish(ANNA, BEN)
    assert found(person.sync(ANNA, BEN)) == [ANNA, BEN]
    paths, _ = asked(logged)
    assert paths[0] == "checkpoint"
    assert f"leaf/{logged.manifest.sha256()}" in paths
    kept = json.loads(person.kept()["trust.json"])
    assert (kept["log"]["root"], kept["roots"]) == (2, [])


def test_a_manifest_that_is_not_in_the_log_is_not_used(person, logged):
    person.sync(ANNA)
    logged.publish(ANNA, BEN)
    asked(logged)
    spoiled(logged, f"leaf/{logged.manifest.sha256()}", None)
    error = person.sync(ANNA, BEN, code=5)
    assert (error["kind"], error["refusal"]) == ("bad-signature", "another-history")
    assert not asked(logged)[1]
    spoiled(logged, f"leaf/{logged.manifest.sha256()}", lambda _: b"0\n")  # an entry, but not this one
    assert person.sync(ANNA, BEN, code=5)["refusal"] == "another-history"
    logged.tamper = lambda *_: None
    assert found(person.sync(ANNA, BEN)) == [ANNA, BEN]


def test_a_checkpoint_that_too_few_have_cosigned_is_not_used(person, logged):
    spoiled(logged, "checkpoint", lambda body: b"".join(body.splitlines(keepends=True)[:-1]))
    error = person.sync(ANNA, code=5)
    assert (error["kind"], error["refusal"]) == ("bad-reply", "too-few-witnesses")
    assert "witness.example" in error["message"]
    assert not asked(logged)[1]


@pytest.mark.parametrize(
    ("path", "change", "refusal"),
    [
        ("checkpoint", lambda body: body.replace(b"\n3\n", b"\n2\n", 1), "bad-signature"),
        ("checkpoint", None, "another-history"),
        ("checkpoint", lambda body: body.replace(b"\n\n", b"\n"), "malformed"),
        ("root/2", None, "another-history"),
        ("tile/0/000.p/3", lambda body: bytes([body[0] ^ 1]) + body[1:], "malformed"),
        ("tile/0/000.p/3", lambda body: body[:-1], "malformed"),
    ],
)
def test_a_log_that_was_changed_is_refused_before_a_point_is_sent(person, logged, path, change, refusal):
    spoiled(logged, path, change)
    assert person.sync(ANNA, code=5)["refusal"] == refusal
    paths, sent = asked(logged)
    assert path in paths
    assert not sent


def test_a_log_that_does_not_continue_is_another_history(person, logged):
    person.sync(ANNA)
    # The simulated log has all roots before all manifests: a root that comes now rewrites what was there.
    root = logged.repository.root()
    root.version += 1
    logged.repository.write_root(root, logged.signers["root"])
    logged.publish(ANNA, BEN)
    asked(logged)
    error = person.sync(ANNA, BEN, code=5)
    assert error["refusal"] == "another-history"
    assert "does not continue" in error["message"]
    assert not asked(logged)[1]


def test_another_log_is_another_history(person, logged):
    person.sync(ANNA)
    logged.publish(ANNA, BEN)
    spoiled(logged, "checkpoint", lambda body: b"another.example/log" + body[body.index(b"\n") :])
    error = person.sync(ANNA, BEN, code=5)
    assert error["refusal"] == "another-history"
    assert "is another.example/log now" in error["message"]


def test_a_state_that_knew_no_log_finds_what_it_has_in_it(person, logged):
    person.sync(ANNA)
    asked(logged)
    (folder,) = person.state.iterdir()
    state = json.loads((folder / "trust.json").read_text())
    del state["log"], state["roots"]
    (folder / "trust.json").write_text(json.dumps(state))
    spoiled(logged, f"leaf/{logged.manifest.sha256()}", None)
    assert person.sync(ANNA, code=5)["refusal"] == "another-history"
    logged.tamper = lambda *_: None
    assert found(person.sync(ANNA)) == [ANNA]
    assert "root/2" in asked(logged)[0]
    person.sync(ANNA)
    assert asked(logged)[0] == []


def test_witnesses_of_ones_own_take_the_place_of_those_of_the_root(person, logged):
    mine = NoteSigner.of("mine.example", COSIGNATURE, Ed25519PrivateKey.generate())
    other = NoteSigner.of("other.example", COSIGNATURE, Ed25519PrivateKey.generate())
    asked_for = ("--witness", mine.verifier.vkey(), "--witness", other.verifier.vkey())
    error = person.sync(ANNA, more=asked_for, code=5)
    assert error["refusal"] == "too-few-witnesses"
    assert "0 of the 2 witnesses" in error["message"]
    assert not asked(logged)[1]
    logged.log.witness = mine  # the one that the root names is gone, also under the root
    error = person.sync(ANNA, more=asked_for, code=5)
    assert "1 of the 2 witnesses" in error["message"]
    assert "without a cosignature: other.example" in error["message"]
    assert found(person.sync(ANNA, more=(*asked_for, "--quorum", "1"))) == [ANNA]
    logged.publish(ANNA, BEN)
    assert person.sync(ANNA, BEN, code=5)["refusal"] == "too-few-witnesses"  # as the root says
    assert found(person.sync(ANNA, BEN, more=(*asked_for, "--quorum", "1"))) == [ANNA, BEN]


@pytest.mark.parametrize(
    "given",
    [
        ("--witness", "mine.example"),
        ("--quorum", "1"),
        ("--witness", WITNESS, "--quorum", "2"),
        ("--witness", WITNESS, "--quorum", "0"),
        ("--witness", WITNESS, "--quorum", "x"),
        ("--witness", WITNESS, "--witness", WITNESS),
        ("--witness", NoteSigner.of("a.example", ED25519, Ed25519PrivateKey.generate()).verifier.vkey()),
    ],
)
def test_witnesses_that_cannot_be_required_are_bad_input(person, logged, given):
    logged.requests.clear()
    error = person.sync(ANNA, more=given, code=3)
    assert (error["kind"], bool(error["hint"])) == ("bad-input", True)
    assert logged.requests == []


def test_who_requires_witnesses_of_a_server_without_a_log_is_refused(tmp_path, service):
    service.publish(ANNA)
    person = Person(tmp_path / "person", service.url, service.repository.root_bytes(), CREDENTIAL)
    error = person.sync(ANNA, more=("--witness", WITNESS), code=5)
    assert (error["kind"], error["refusal"]) == ("bad-signature", "bad-signature")
    assert "names no log" in error["message"]
    assert not asked(service)[1]


def test_a_log_that_began_anew_is_followed_when_the_user_says_so(person, logged):
    assert found(person.sync(ANNA)) == [ANNA]
    ServiceLog(logged)  # another key, named by a new root that the old log never had
    logged.publish(ANNA, BEN)
    asked(logged)
    assert person.sync(ANNA, BEN, code=5)["refusal"] in {"another-history", "bad-signature"}
    assert not asked(logged)[1]
    spoiled(logged, f"leaf/{logged.manifest.sha256()}", None)
    assert person.sync(ANNA, BEN, more=("--new-log",), code=5)["refusal"] == "another-history"
    logged.tamper = lambda *_: None
    assert found(person.sync(ANNA, BEN, more=("--new-log",))) == [ANNA, BEN]
    assert logged.log.signer.verifier.vkey() in person.kept()["trust.json"].decode()
    assert found(person.sync(ANNA, BEN)) == [ANNA, BEN]


def test_a_server_with_a_log(tmp_path):
    operator = Operator(tmp_path / "server", log=True)
    operator.accounts.add("javascript", "people", "cs_javascript")
    root = (operator.folder.public / "metadata" / "1.root.json").read_bytes()
    with Process(operator.folder.path) as process:
        person = Person(tmp_path / "person", process.url, root, "cs_javascript")
        for place, number in enumerate((ANNA, BEN), 1):
            operator.add(GERMAN + place)
            operator.publish()
            assert number in found(person.sync(ANNA, BEN))
            kept = json.loads(person.kept()["trust.json"])["log"]
            assert kept["checkpoint"].splitlines()[1] == str(1 + place)  # the root, and each edition
    operator.close()
