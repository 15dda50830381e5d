"""Changes of keys and publications that are signed elsewhere: what is asked, what counts, what is refused."""

import json
import shutil
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata

from contactsync.foundation import durable
from contactsync.foundation.errors import BadInput, BadSignature, OurError
from contactsync.foundation.roles import ROLES
from contactsync.publication.tuf.ceremony import (
    KeyChange,
    StaleRequest,
    apply,
    prepare_change,
    prepare_publication,
    remaining,
)
from contactsync.publication.tuf.request import SigningRequest
from contactsync.publication.tuf.signed import LIFETIMES, copy_of
from contactsync.publication.tuf.summary import about_signatures, describe

NOW = datetime.now(UTC)


def named(*signers):
    return {str(place): signer for place, signer in enumerate(signers)}


def new_keys(number):
    return [CryptoSigner.generate_ed25519() for _ in range(number)]


def keyid(signer):
    return signer.public_key.keyid


@pytest.fixture
def change(operator):
    """Prepare a change of a role's keys, have it signed by `signers` and bring it into force."""

    def change(role, signers, *, leave=(), join=(), threshold=None, now=NOW):
        joining = [signer.public_key for signer in join]
        wanted = KeyChange(role, [keyid(signer) for signer in leave], joining, threshold)
        request = prepare_change(operator.repository, wanted, now)
        request.sign(named(*signers))
        apply(operator.repository, request, named(*signers), now)
        return request

    return change


@pytest.fixture
def shared(operator, change, make_manifest):
    """Two of three may sign the root, two of two the targets; something is published."""
    operator.publish(make_manifest())
    root, targets = new_keys(3), new_keys(2)
    everybody = (*operator.signers.values(), *root, *targets)
    change("targets", everybody, leave=[operator.signers["targets"]], join=targets, threshold=2)
    change("root", everybody, leave=[operator.signers["root"]], join=root, threshold=2)
    operator.root_keys, operator.target_keys = root, targets
    operator.online = [operator.signers[role] for role in ("snapshot", "timestamp")]
    return operator


def through_file(request):
    """The request as it comes back from a file."""
    return SigningRequest.from_json(json.loads(json.dumps(request.to_json(describe(request)))))


# What is published stays valid


@pytest.mark.slow
@pytest.mark.parametrize("role", ROLES)
def test_clients_follow_a_rotation_at_every_moment_of_it(  # noqa: PLR0917
    operator, change, make_manifest, tmp_path, role, monkeypatch
):
    """After each file that is written, a new client and one that was here before see what is published."""
    operator.publish(make_manifest())
    operator.follow(tmp_path / "before")
    moments = []
    write = durable.write

    def write_and_look(path, data, **options):
        write(path, data, **options)
        if operator.public not in path.parents:
            return
        moments.append(path.name)
        for state in ("before", "new"):
            folder = tmp_path / f"{state} {len(moments)}"
            if state == "before":
                shutil.copytree(tmp_path / state, folder)
            assert operator.follow(folder) == make_manifest()

    with monkeypatch.context() as patch:
        patch.setattr(durable, "write", write_and_look)
        (new,) = new_keys(1)
        change(role, (*operator.signers.values(), new), leave=[operator.signers[role]], join=[new])
    assert len([name for name in moments if name.endswith(".root.json")]) == (1 if role == "root" else 2)
    root = operator.repository.root()
    assert root.roles[role].keyids == [keyid(new)]
    assert keyid(operator.signers[role]) not in root.keys
    operator.signers[role] = new
    operator.publish(make_manifest(2, previous=make_manifest()))
    for state in ("before", "new"):
        assert operator.follow(tmp_path / state).edition == 2


def test_a_lost_key_is_replaced_without_it(shared, change, make_manifest, tmp_path):
    shared.follow(tmp_path / "state")
    _lost, stays = shared.target_keys
    (new,) = new_keys(1)
    signers = (*shared.root_keys[1:], stays, new, *shared.online)
    change("targets", signers, leave=[_lost], join=[new])
    assert set(shared.repository.root().roles["targets"].keyids) == {keyid(stays), keyid(new)}
    assert shared.follow(tmp_path / "state") == make_manifest()
    (another,) = new_keys(1)
    change("root", (*shared.root_keys[1:], another), leave=[shared.root_keys[0]], join=[another])
    (timestamp,) = new_keys(1)
    change(
        "timestamp",
        (another, shared.root_keys[1], shared.online[0], timestamp),
        leave=[shared.online[1]],
        join=[timestamp],
    )
    assert shared.follow(tmp_path / "state") == make_manifest()
    assert shared.follow(tmp_path / "new") == make_manifest()


def test_a_root_that_would_make_the_published_invalid_is_not_written(shared):
    """The attack on oneself: a key is dropped that alone has signed what is served."""
    repository = shared.repository
    root = copy_of(repository.root())
    root.version += 1
    root.revoke_key(keyid(shared.online[1]), "timestamp")
    root.add_key(new_keys(1)[0].public_key, "timestamp")
    metadata = Metadata(root)
    for signer in shared.root_keys:
        metadata.sign(signer, append=True)
    with pytest.raises(BadInput, match="invalid"):
        repository.add_root(metadata)
    assert repository.root().version == root.version - 1


@pytest.mark.parametrize("case", ["old keys only", "new keys only", "one each"])
def test_a_root_wants_both_thresholds(shared, case):
    """TUF specification §5.3.4: of the root before, and of its own."""
    root, new = copy_of(shared.repository.root()), new_keys(2)
    root.version += 1
    for signer in shared.root_keys:
        root.revoke_key(keyid(signer), "root")
    for signer in new:
        root.add_key(signer.public_key, "root")
    signers = {
        "old keys only": shared.root_keys,
        "new keys only": new,
        "one each": (shared.root_keys[0], new[0]),
    }
    metadata = Metadata(root)
    for signer in signers[case]:
        metadata.sign(signer, append=True)
    with pytest.raises(BadInput, match="not signed by enough"):
        shared.repository.add_root(metadata)


# Thresholds


def test_a_publication_by_two_of_two(shared, make_manifest, tmp_path):
    shared.follow(tmp_path / "state")
    repository, new = shared.repository, make_manifest(2, previous=make_manifest())
    files = {path: path.read_bytes() for path in shared.public.rglob("*") if path.is_file()}
    request = prepare_publication(repository, [new], NOW)
    online = named(*shared.online)
    for number, signer in enumerate(shared.target_keys):
        with pytest.raises(BadInput, match=f"targets version 3 has {number} of 2 signatures"):
            apply(repository, request, online, NOW)
        request = through_file(request)
        assert request.sign(named(signer)) == [("targets", keyid(signer))]
        assert request.sign(named(signer)) == [], "nobody signs twice"
    assert {path: path.read_bytes() for path in shared.public.rglob("*") if path.is_file()} == files
    assert apply(repository, request, online, NOW) is False
    assert shared.follow(tmp_path / "state") == new
    assert repository.current("people") == new
    assert apply(repository, request, online, NOW) is False, "once more changes nothing"


def test_a_client_refuses_what_one_of_two_has_signed(shared, make_manifest, tmp_path):
    """The attack: somebody with one of the keys of the targets, and with those that are online."""
    request = prepare_publication(shared.repository, [make_manifest(2, previous=make_manifest())], NOW)
    request.sign(named(shared.target_keys[0]))
    shared.repository.switch_to(
        request.targets,
        {"people": make_manifest(2, previous=make_manifest()).to_bytes()},
        named(*shared.online),
        NOW,
    )
    with pytest.raises(BadSignature, match="not signed by the keys"):
        shared.follow(tmp_path / "state")


def test_the_same_key_twice_is_one_signature(shared, make_manifest):
    """The attack: a copy of one's own signature under the other's id."""
    request = prepare_publication(shared.repository, [make_manifest(2, previous=make_manifest())], NOW)
    one, other = shared.target_keys
    request.sign(named(one))
    body = request.to_json(describe(request))
    (signature,) = body["to_sign"][0]["metadata"]["signatures"]
    body["to_sign"][0]["metadata"]["signatures"].append({**signature, "keyid": keyid(other)})
    request.take_signatures(SigningRequest.from_json(body))
    with pytest.raises(BadInput, match="1 of 2"):
        apply(shared.repository, request, named(*shared.online), NOW)
    request.sign(named(other))
    apply(shared.repository, request, named(*shared.online), NOW)


def test_copies_that_were_signed_apart(shared, make_manifest):
    request = prepare_publication(shared.repository, [make_manifest(2, previous=make_manifest())], NOW)
    for signer in shared.target_keys:
        copy = through_file(request)
        copy.sign(named(signer))
        request.take_signatures(copy)
    apply(shared.repository, request, named(*shared.online), NOW)
    assert shared.repository.current("people").edition == 2


def test_a_bad_signature_does_not_push_out_a_good_one(shared, make_manifest):
    request = prepare_publication(shared.repository, [make_manifest(2, previous=make_manifest())], NOW)
    good, bad = through_file(request), through_file(request)
    good.sign(named(*shared.target_keys))
    bad.sign(named(*shared.target_keys))
    for signature in bad.items[0].metadata.signatures.values():
        signature.signature = "00" * 64
    for first, second in ((good, bad), (bad, good)):
        mixed = through_file(request)
        mixed.take_signatures(first)
        mixed.take_signatures(second)
        assert all(one for asked in mixed.signatures() for one in asked)


# Out of date, too late


def test_another_publish_in_between(shared, change, make_manifest):
    second = make_manifest(2, previous=make_manifest())
    signers = named(*shared.target_keys)
    old = prepare_publication(shared.repository, [second], NOW)
    old.sign(signers)
    newer = prepare_publication(shared.repository, [second], NOW + timedelta(hours=1))
    newer.sign(signers)
    apply(shared.repository, newer, named(*shared.online), NOW)
    stamp = shared.repository.stamp()
    with pytest.raises(StaleRequest, match="out of date") as raised:
        apply(shared.repository, old, named(*shared.online), NOW)
    assert "prepare and sign it again" in raised.value.hint
    assert shared.repository.stamp() == stamp


def test_other_keys_in_between(shared, change):
    everybody = (*shared.root_keys, *shared.target_keys, *shared.online)
    (new,) = new_keys(1)
    wanted = KeyChange("targets", [], [new.public_key], None)
    old = prepare_change(shared.repository, wanted, NOW)
    old.sign(named(*everybody))
    change("timestamp", everybody, join=new_keys(1))
    with pytest.raises(StaleRequest):
        apply(shared.repository, old, named(*everybody), NOW)


def test_a_request_that_came_back_too_late(shared, make_manifest):
    request = prepare_publication(shared.repository, [make_manifest(2, previous=make_manifest())], NOW)
    request.sign(named(*shared.target_keys))
    later = NOW + LIFETIMES["targets"] + timedelta(hours=1)
    with pytest.raises(BadInput, match="this request has expired"):
        apply(shared.repository, request, named(*shared.online), later)


def test_killed_in_the_middle_it_is_finished_later(shared, make_manifest, tmp_path, monkeypatch):
    shared.follow(tmp_path / "state")
    lost, stays = shared.target_keys
    (new,) = new_keys(1)
    signers = named(*shared.root_keys, stays, new, *shared.online)
    request = prepare_change(shared.repository, KeyChange("targets", [keyid(lost)], [new.public_key]), NOW)
    request.sign(signers)
    written = []

    class Killed(BaseException):
        pass

    write = durable.write

    def write_some(most, path, data, **options):
        if len(written) == most:
            raise Killed
        written.append(path)
        write(path, data, **options)

    # Written are a root, the manifest once more, the targets, the snapshot, the timestamp, a root.
    for most in range(5):
        written.clear()
        with monkeypatch.context() as patch:
            patch.setattr(durable, "write", partial(write_some, most))
            with pytest.raises(Killed):
                apply(shared.repository, request, signers, NOW)
        assert shared.follow(tmp_path / "state") == make_manifest()
    apply(shared.repository, request, signers, NOW)
    assert remaining(shared.repository, request) == []
    assert shared.follow(tmp_path / "state") == make_manifest()


# The root's own time


def test_the_root_is_renewed_with_a_publication_if_enough_sign_it(shared, make_manifest):
    later = NOW + timedelta(days=200)
    new = make_manifest(2, previous=make_manifest())
    version = shared.repository.root().version
    request = prepare_publication(shared.repository, [new], later)
    assert [(item.role, item.required) for item in request.items] == [("root", False), ("targets", True)]
    request.sign(named(*shared.target_keys))
    apply(shared.repository, request, named(*shared.online), later)
    assert shared.repository.root().version == version
    request = prepare_publication(shared.repository, [new], later)
    request.sign(named(*shared.target_keys, *shared.root_keys[:2]))
    assert apply(shared.repository, request, named(*shared.online), later) is True
    assert shared.repository.root().version == version + 1
    assert shared.repository.root().expires > later + timedelta(days=300)


def test_an_expired_root_has_to_be_renewed(shared, change, make_manifest):
    late = NOW + timedelta(days=400)
    request = prepare_publication(shared.repository, [make_manifest()], late)
    request.sign(named(*shared.target_keys))
    with pytest.raises(BadInput, match=r"root version \d+ has 0 of 2 signatures"):
        apply(shared.repository, request, named(*shared.online), late)
    request.sign(named(*shared.root_keys))
    apply(shared.repository, request, named(*shared.online), late)
    # Keys can be changed under a root that has expired: the new one lives.
    much_later = late + timedelta(days=400)
    (new,) = new_keys(1)
    change("root", (*shared.root_keys, new), leave=[shared.root_keys[0]], join=[new], now=much_later)
    assert shared.repository.root().expires > much_later


# Wrong changes


@pytest.mark.slow
@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("last key", "would have no keys left"),
        ("threshold", "the role targets would need 3 signatures but have keys for only 2"),
        ("too few left", "the role targets would need 2 signatures but have keys for only 1"),
        ("twice", "the same key is given twice"),
        ("again", "already belongs to the role targets"),
        ("of another role", "already belongs to the role root"),
        ("stranger", "is not a key of the role targets"),
        ("nothing", "would change nothing"),
    ],
)
def test_changes_that_cannot_be(shared, case, message):
    one, other = (keyid(signer) for signer in shared.target_keys)
    key = new_keys(1)[0].public_key
    changes = {
        "last key": KeyChange("targets", [one, other]),
        "threshold": KeyChange("targets", threshold=3),
        "too few left": KeyChange("targets", [one]),
        "twice": KeyChange("targets", join=[key, key]),
        "again": KeyChange("targets", join=[shared.target_keys[0].public_key]),
        "of another role": KeyChange("targets", join=[shared.root_keys[0].public_key]),
        "stranger": KeyChange("targets", [key.keyid], [key]),
        "nothing": KeyChange("targets", threshold=2),
    }
    with pytest.raises(BadInput, match=message):
        prepare_change(shared.repository, changes[case], NOW)


def test_without_the_online_keys_nothing_is_changed(shared, make_manifest):
    files = {path: path.read_bytes() for path in shared.public.rglob("*") if path.is_file()}
    request = prepare_publication(shared.repository, [make_manifest(2, previous=make_manifest())], NOW)
    request.sign(named(*shared.target_keys))
    with pytest.raises(OurError, match="timestamp is not here"):
        apply(shared.repository, request, named(shared.online[0]), NOW)
    assert {path: path.read_bytes() for path in shared.public.rglob("*") if path.is_file()} == files


# Forged requests


def of_targets(change):
    def forge(body):
        change(body["to_sign"][-1]["metadata"]["signed"])

    return forge


FORGED = {
    "not JSON of ours": lambda body: body.clear(),
    "another format": lambda body: body.update(format="contactsync-manifest-1"),
    "no roots": lambda body: body.update(roots=[]),
    "a root is missing": lambda body: body["roots"].pop(1),
    "a root of somebody else": lambda body: body["roots"][-1]["signed"].update(version=9),
    "a changed root": lambda body: body["roots"][-1]["signed"].update(expires="2090-01-01T00:00:00Z"),
    "nothing to sign": lambda body: body.update(to_sign=[]),
    "a list": lambda body: body.update(to_sign=[[]]),
    "the timestamp": of_targets(lambda signed: signed.update(_type="timestamp")),
    "another version": of_targets(lambda signed: signed.update(version=9)),
    "another hash": of_targets(
        lambda signed: signed["targets"]["people.json"]["hashes"].update(sha256="00" * 32)
    ),
    "another length": of_targets(lambda signed: signed["targets"]["people.json"].update(length=7)),
    "another name": of_targets(
        lambda signed: signed["targets"].update(x=signed["targets"].pop("people.json"))
    ),
    "a changed manifest": lambda body: body.update(
        manifests={name: text.replace('"count":', '"count":1') for name, text in body["manifests"].items()}
    ),
    "no manifests": lambda body: body.update(manifests={}),
    "another published": lambda body: body["published"]["signed"].update(version=1),
    "nothing published": lambda body: body.update(published=None),
    "a delegation": of_targets(lambda signed: signed.update(delegations={"keys": {}, "roles": []})),
    "more than is shown": of_targets(lambda signed: signed.update(more=1)),
    "more of a target": of_targets(lambda signed: signed["targets"]["people.json"].update(custom={"x": 1})),
    "no time": lambda body: body.pop("created"),
    "numbers": lambda body: body.update(manifests={"x": 7}),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", FORGED)
def test_forged_requests(shared, make_manifest, case):
    request = prepare_publication(shared.repository, [make_manifest(2, previous=make_manifest())], NOW)
    body = json.loads(json.dumps(request.to_json(describe(request))))
    FORGED[case](body)
    with pytest.raises(BadInput) as raised:
        SigningRequest.from_json(body)
    assert raised.value.hint


def test_a_request_that_fits_together_but_is_another_one(shared, make_manifest):
    """Well made by somebody who has the server's files, and not what the server prepared."""
    prepared = prepare_publication(shared.repository, [make_manifest(2, previous=make_manifest())], NOW)
    forged = prepare_publication(shared.repository, [make_manifest(3, previous=make_manifest())], NOW)
    forged.sign(named(*shared.target_keys))
    with pytest.raises(BadInput, match="differs from the one that was last prepared here"):
        prepared.take_signatures(through_file(forged))


def swap_the_key(signed):
    """Ben's id, and a key of the attacker's."""
    keyid = signed["roles"]["root"]["keyids"][0]
    signed["keys"][keyid]["keyval"]["public"] = new_keys(1)[0].public_key.keyval["public"]


def count_a_key_twice(signed):
    first, second = signed["roles"]["root"]["keyids"][:2]
    signed["keys"][first]["keyval"] = signed["keys"][second]["keyval"]


def write_on_the_terminal(signed):
    keyids = signed["roles"]["root"]["keyids"]
    signed["keys"]["\x1b[2J"] = signed["keys"].pop(keyids[0])
    keyids[0] = "\x1b[2J"


@pytest.mark.slow
@pytest.mark.parametrize(
    "forge",
    [
        swap_the_key,
        count_a_key_twice,
        write_on_the_terminal,
        lambda signed: signed["roles"]["root"].update(threshold=9),
        lambda signed: signed.update(consistent_snapshot=False),
        lambda signed: signed.update(more="than is shown"),
        lambda signed: next(iter(signed["keys"].values())).update(scheme="rsassa-pss-sha256"),
        lambda signed: next(iter(signed["keys"].values()))["keyval"].update(public="00"),
    ],
)
def test_a_root_whose_ids_do_not_say_which_keys_they_are(shared, forge):
    """The attack: people compare the ids that they are shown, and the key behind one is another's."""
    request = prepare_change(shared.repository, KeyChange("root", join=[new_keys(1)[0].public_key]), NOW)
    body = json.loads(json.dumps(request.to_json(describe(request))))
    forge(body["to_sign"][0]["metadata"]["signed"])
    with pytest.raises(BadInput, match=r"it contains a root that is not from contactsync|malformed"):
        SigningRequest.from_json(body)


# What the signer is shown


def test_the_summary_says_what_changes(shared, make_manifest):
    new = make_manifest(2, previous=make_manifest())
    request = through_file(prepare_publication(shared.repository, [new], NOW))
    text = "\n".join(describe(request))
    assert "people: epoch 1, edition 2 (last signed: epoch 1, edition 1)" in text
    assert f"members: {new.count:,} (+0)" in text
    assert "partitions: 2, 1 changed\n      1: 1,000 (+0)" in text
    assert "CAUTION" not in text
    assert "targets version 3" in text
    assert any("0 of 2 signatures; 2 more of" in line for line in about_signatures(request))


def test_the_summary_warns_of_another_history(shared, make_manifest):
    """The attack: an edition that forgets what was signed before it."""
    request = prepare_publication(shared.repository, [make_manifest(2, epoch=2)], NOW)
    text = "\n".join(describe(through_file(request)))
    assert "CAUTION: it does not continue what was signed last" in text
    assert f"new VOPRF key: {'0202 ' * 15}0202" in text


def test_the_summary_of_other_keys(shared):
    (new,) = new_keys(1)
    lost = shared.target_keys[0]
    change = KeyChange("targets", [keyid(lost)], [new.public_key])
    lines = describe(through_file(prepare_change(shared.repository, change, NOW)))
    assert (
        f"  targets: 2 of 2: {keyid(shared.target_keys[1])[:16]}, {keyid(new)[:16]}, -{keyid(lost)[:16]}"
        in lines
    )
    assert any(line.startswith("  targets: 2 of 3: ") and f"+{keyid(new)[:16]}" in line for line in lines)
    assert (
        len([line for line in lines if line.startswith("  root: 2 of 3") and line.endswith("(as before)")])
        == 2
    )
