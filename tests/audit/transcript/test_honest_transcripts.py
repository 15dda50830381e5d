"""Honest syncs of every kind are proven, octet by octet, and what they say of themselves is right."""

import json
import re
from base64 import b64encode

import pytest
from authority import Authority
from recorded_syncs import ANNA, BODO, CARL, SOME, forward_proxy, wrong
from simulated_service import CREDENTIAL, Person, Service, listen, problem

from contactsync.audit.report import PROVEN, UNCHECKED
from contactsync.client.transcript import Closed, Piece, Transcript, private_path
from contactsync.foundation.errors import NetworkError

MEMBERS = [f"+49151{i:07}" for i in range(5)]
OTHERS = [f"+49171{i:07}" for i in range(40)]


def proven(recorded, **options):
    report = recorded.audit(**options)
    assert report.exit_code == PROVEN, "\n".join(report.lines())
    assert report.facts["leak"] == Transcript.read(recorded.file).ending.said
    return report


def unchecked(report):
    assert report.exit_code == UNCHECKED, "\n".join(report.lines())
    return {one.rule for one in report.findings if one.severity == "warning"}


@pytest.mark.slow
def test_a_first_sync_and_a_cover_round_and_updates(service, recorded):
    service.publish(ANNA, CARL)
    assert recorded.sync(ANNA, BODO, CARL).evaluated == 8
    report = proven(recorded)
    assert report.proven["points"] == 8
    assert report.proven["requests"] == report.facts["requests"]
    assert report.facts["bytes_sent"] == sum(
        len(one.data) for one in Transcript.read(recorded.file).events if isinstance(one, Piece) and one.sent
    )
    assert recorded.sync(ANNA, BODO, CARL).new_identifiers == 0
    assert proven(recorded).proven["padding"] >= 8, "a cover round is all padding"
    service.publish(ANNA, BODO)
    assert len(recorded.sync(ANNA, BODO, CARL).matches) == 2
    proven(recorded)  # deltas
    assert recorded.sync(ANNA, cover=False).evaluated == 0
    proven(recorded)


@pytest.mark.slow
def test_several_batches_and_the_order_of_points(good):
    report = proven(good)
    assert report.proven["points"] == 32
    assert report.proven["proofs"] == 4, "a round of 22 new numbers in four batches of eight"


@pytest.mark.slow
def test_a_large_round_of_full_batches_passes_the_tests_of_chance(service, recorded, monkeypatch):
    monkeypatch.setattr("contactsync.client.core.round.MAX_BATCH", 64)
    service.publish(ANNA)
    assert recorded.sync(*[f"+49151{i:07}" for i in range(150)]).evaluated == 256
    report = proven(recorded)
    assert not [one for one in report.findings if "too few" in one.message]


@pytest.mark.slow
def test_without_the_private_file_the_rest_is_unchecked(good):
    report = good.audit(explained=False)
    assert unchecked(report) == {"choice", "points", "padding", "buckets", "labels", "learned"}
    for rule in ("requests", "order", "metadata", "files", "proofs", "rounds"):
        assert report.proven[rule], rule


@pytest.mark.slow
def test_a_round_that_was_cut_is_finished_by_the_next_sync(service, recorded, monkeypatch):
    monkeypatch.setattr("contactsync.client.core.round.MAX_BATCH", 8)
    service.publish(*MEMBERS[:3])
    posts = []

    def cut(request, reply):
        if request.method == "POST":
            posts.append(request)
            reply.cut = 10 if len(posts) > 2 else None

    service.tamper = cut
    assert recorded.sync(*SOME) is None
    assert isinstance(recorded.error, NetworkError)
    ending = Transcript.read(recorded.file).ending
    assert (ending.outcome, ending.error, ending.said) == ("failed", "NetworkError", None)
    report = recorded.audit()
    assert not wrong(report)
    assert "rounds" in unchecked(report)
    assert any("the sync failed" in one.message for one in report.findings)
    service.tamper = lambda *_: None
    assert recorded.sync(*SOME, BODO) is not None
    proven(recorded)
    batches = json.loads(private_path(recorded.file).read_bytes())["batches"]
    assert [one["unfinished"] for one in batches] == [True, True, False]


@pytest.mark.slow
def test_a_busy_server_a_cut_file_and_an_epoch_that_ends(service, recorded):
    service.crowd = {"49": 20_000}
    service.publish(ANNA)
    seen = []

    def trouble(request, reply):
        seen.append(request)
        count = sum(
            one.path == request.path and one.headers.get("range") == request.headers.get("range")
            for one in seen
        )
        if "/data/" in request.path and "range" not in request.headers and len(reply.body) > 70_000:
            reply.cut = 70_000
        elif request.path.endswith("snapshot.json") and count == 1:
            reply.status, reply.headers, reply.body = 429, {"Retry-After": "0"}, b""
        elif request.path.endswith("timestamp.json") and count == 1:
            reply.cut = 20
        elif request.path.endswith("/people/1") and count == 1:
            reply.status, reply.headers, reply.body = 503, {"Retry-After": "0"}, b""
        elif request.path.endswith("/people/1") and count == 2:
            service.rotate(ANNA)
            made = problem(409, "epoch-changed", "the epoch has changed", epoch=2)
            reply.status, reply.headers, reply.body = made.status, made.headers, made.body

    service.tamper = trouble
    report = recorded.sync(ANNA, BODO)
    assert report is not None, recorded.error
    assert report.epoch == 2
    assert any("range" in one.headers for one in seen)
    proven(recorded)


@pytest.mark.slow
def test_a_redirect_is_a_sync_that_failed(service, recorded):
    service.publish(ANNA)

    def elsewhere(request, reply):
        if request.path == "/v1/account":
            reply.status, reply.headers, reply.body = 302, {"Location": "http://127.0.0.1:1/"}, b""

    service.tamper = elsewhere
    assert recorded.sync(ANNA) is None
    report = recorded.audit()
    assert not wrong(report)
    assert report.exit_code == UNCHECKED


@pytest.mark.slow
def test_through_a_proxy_with_a_password_and_through_a_tunnel(service, recorded, tmp_path):
    service.publish(ANNA)
    proxy = forward_proxy()
    address = f"http://me:hunter2@127.0.0.1:{proxy.server_address[1]}"
    assert recorded.sync(ANNA, proxy=address) is not None, recorded.error
    proven(recorded)
    octets = recorded.file.read_bytes() + private_path(recorded.file).read_bytes()
    assert b"hunter2" not in octets
    assert b64encode(b"me:hunter2") not in octets
    events = Transcript.read(recorded.file).events
    assert {mark.what for one in events if isinstance(one, Piece) for mark in one.hidden} == {
        "credential",
        "proxy password",
    }
    authority = Authority()
    folder = tmp_path / "tls"
    (folder / "service").mkdir(parents=True)
    secure = Service(folder / "service")
    server = listen(secure, authority.context(folder, ("127.0.0.1",)))
    secure.publish(ANNA)
    recorded.person = Person(folder, secure)
    assert recorded.sync(ANNA, proxy=address, ca_file=authority.write(folder / "ca.pem")) is not None, (
        recorded.error
    )
    report = proven(recorded)
    assert report.facts["server"].startswith("https://")
    for one in (server, proxy):
        one.shutdown()
        one.server_close()


@pytest.mark.slow
def test_bucket_lists_are_recomputed(service, recorded):
    service.crowd = {"49": 400_000}
    service.publish(*MEMBERS, CARL)
    report = recorded.sync(*MEMBERS, *OTHERS, CARL, privacy="screen")
    assert report is not None, recorded.error
    assert "64 of 128 buckets" in report.leak
    found = proven(recorded, contacts=True)
    assert found.proven["buckets"] == 64
    told = {one["identifier"]: one for one in found.facts["by_contact"]}
    (bucket,) = told["tel:" + MEMBERS[0]]["buckets"]
    assert (bucket["partition"], bucket["among"], bucket["of"]) == ("49", 64, 128)
    assert told["tel:" + CARL]["buckets"] == []
    # The next list is for tokens of which the first sync has the proof.
    service.publish(*MEMBERS, CARL, ANNA)
    assert recorded.sync(*MEMBERS, *OTHERS, CARL, BODO, privacy="screen") is not None, recorded.error
    report = recorded.audit()
    assert not wrong(report), "\n".join(report.lines())
    assert unchecked(report) == {"buckets"}


@pytest.mark.slow
def test_partitions_of_the_book_alone(service, recorded):
    service.publish(ANNA, CARL)
    assert recorded.sync(ANNA, partitions="mine") is not None
    report = proven(recorded)
    assert "has contacts in +49" in report.facts["leak"]
    assert wrong(recorded.audit(CARL)) >= {"choice", "points"}


@pytest.mark.slow
def test_what_left_contact_by_contact(good):
    report = proven(good, contacts=True)
    told = report.facts["by_contact"]
    assert len(told) == 22
    assert all(len(one["points"]) == 1 and one["points"][0]["of"] == 8 for one in told)
    places = {(one["points"][0]["request"], one["points"][0]["point"]) for one in told}
    assert len(places) == 22


@pytest.mark.slow
def test_the_fingerprint_of_the_pinned_root(good):
    shown = good.audit().facts["fingerprint"]
    assert good.audit(fingerprint=shown).exit_code == PROVEN
    assert wrong(good.audit(fingerprint="0" * 64)) == {"metadata"}


@pytest.mark.slow
def test_recording_changes_nothing_on_the_wire(service, person, other_person, recorded):
    """The same requests, octet by octet but for the points."""
    service.publish(ANNA, CARL)
    person.sync(ANNA, BODO)
    without = [(one.method, one.path, one.headers, len(one.body)) for one in service.requests]
    service.requests.clear()
    recorded.person = other_person
    recorded.sync(ANNA, BODO)
    assert [(one.method, one.path, one.headers, len(one.body)) for one in service.requests] == without


@pytest.mark.slow
def test_neither_file_holds_the_credential_or_a_number(good):
    file, private = good.file.read_bytes(), private_path(good.file).read_bytes()
    assert {path.stat().st_mode & 0o777 for path in (good.file, private_path(good.file))} == {0o600}
    for trace in (CREDENTIAL.encode(), ANNA[1:].encode(), ANNA[1:].encode().hex().encode()):
        assert trace not in file
        assert trace not in private
    events = Transcript.read(good.file).events
    everything = b"".join(one.data for one in events if isinstance(one, Piece))
    assert CREDENTIAL.encode() not in everything
    assert re.search(rb"Authorization: Bearer \0+\r\n", everything)
    assert isinstance(events[-2], Closed) or any(isinstance(one, Closed) for one in events)
