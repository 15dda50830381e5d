"""A sync from a server that shows another history: what is refused, what is said, what is sent."""

import json
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from power_cut import needs_strace, record
from simulated_service import CREDENTIAL, Person, problem

from contactsync.client.transport import Transport
from contactsync.foundation.errors import BadSignature, NetworkError
from contactsync.publication.history import MANIFESTS_KEPT, Gap, Position

ANNA, BODO, CARL = "+491512345671", "+491512345672", "+447911123456"


def sign(service, manifest):
    """Publish a manifest as it is, signed by the keys of the real one."""
    service.manifest = manifest
    service.repository.publish([manifest], service.signers, datetime.now(UTC))


def editions(service, count):
    """Publish so many editions more, with the same members in them."""
    for _ in range(count):
        last = service.manifest
        sign(service, replace(last, edition=last.edition + 1, previous=last.sha256()))


def targets(service):
    names = [path.rpartition("/")[2].partition(".")[0] for path in service.asked("/v1/tuf/targets/")]
    service.requests.clear()
    return names


def refused(service, person):
    """Nothing is sent of the book, nothing of the state changes, and the hint is not to forget it all."""
    before = person.snapshot(), person.server.tuf.joinpath("manifests", "people.json").read_bytes()
    for _ in range(2):
        service.requests.clear()
        with pytest.raises(BadSignature, match="this server shows another history") as raised:
            person.sync(ANNA, BODO, CARL)
        assert raised.value.exit_code == 5
        assert "forget" not in raised.value.hint
        assert service.asked("/evaluate/") == service.asked("/data/") == []
    assert (person.snapshot(), person.server.tuf.joinpath("manifests", "people.json").read_bytes()) == before


@pytest.mark.slow
def test_a_fork_that_rejoins(service, person):
    """The attack: this client alone is shown an edition 2 without Anna, and from 3 on what all others see."""
    service.publish(ANNA, CARL)
    person.sync(ANNA)
    first = service.manifest
    service.publish(CARL)
    assert [match.identifier for match in person.sync(ANNA).left] == [f"tel:{ANNA}"]
    service.manifest = first
    service.publish(ANNA, BODO)
    for members in ((ANNA, CARL), (ANNA, BODO, CARL)):
        service.publish(*members)
        refused(service, person)


@pytest.mark.slow
def test_a_new_epoch_with_an_invented_past(service, person):
    """The attack: a key for this client alone, in an epoch after nothing that was ever published."""
    service.publish(ANNA)
    service.publish(ANNA, CARL)
    person.sync(ANNA)
    honest = service.manifest
    service.manifest = replace(honest, normalisation=7)
    service.rotate(ANNA)
    refused(service, person)
    sign(service, replace(service.manifest, previous="ab" * 32))
    refused(service, person)
    service.manifest, service.epoch = honest, 1
    service.rotate(ANNA)
    assert person.sync(ANNA).epoch == 2


@pytest.mark.slow
def test_what_a_walk_costs_and_tells(service, person):
    service.publish(ANNA, CARL)
    person.sync(ANNA, CARL)
    service.publish(ANNA)
    service.requests.clear()
    person.sync(ANNA, CARL)
    assert targets(service) == [service.manifest.sha256()]
    lengths = []
    for _ in range(20):
        lengths.append(len(service.manifest.to_bytes()))
        editions(service, 1)
    service.rotate(ANNA)
    lengths.append(len(service.manifest.to_bytes()))
    transport = person.transport()
    report = person.sync(ANNA, CARL, transport=transport)
    assert (report.epoch, report.unchecked) == (2, None)
    assert len(targets(service)) == len(lengths) == 21
    assert transport.received > sum(lengths)


@pytest.mark.slow
def test_requests_of_a_walk_carry_no_credential(service, person):
    service.publish(ANNA)
    person.sync(ANNA)
    editions(service, 5)
    service.requests.clear()
    person.sync(ANNA)
    walked = [request for request in service.requests if "/targets/" in request.path]
    assert len(walked) == 5
    assert not any("authorization" in request.headers for request in walked)


@pytest.mark.slow
def test_a_link_that_must_be_there(service, person):
    service.publish(ANNA)
    person.sync(ANNA)
    editions(service, 2)
    middle = service.manifest.sha256()
    editions(service, 2)

    def withhold(request, reply):
        if middle in request.path:
            reply.__dict__.update(problem(404, "not-found", "no such file").__dict__)

    def change(request, reply):
        if middle in request.path:
            reply.body = reply.body.replace(b'"count":', b'"count":1')

    def swell(request, reply):
        if middle in request.path:
            reply.body += bytes(9 << 20)

    for tamper in (withhold, change, swell):
        service.tamper = tamper
        refused(service, person)
    service.tamper = lambda *_: None
    assert person.sync(ANNA).edition == 5


@pytest.mark.slow
def test_trouble_on_the_way_can_be_tried_again(service, person):
    service.publish(ANNA)
    person.sync(ANNA)
    editions(service, 4)

    def fail(request, reply):
        if "/targets/" in request.path and len(service.asked("/targets/")) > 2:
            reply.status, reply.body = 502, b""

    def cut(request, reply):
        if "/targets/" in request.path and len(service.asked("/targets/")) > 2:
            reply.cut = 100

    def stall(request, _):
        if "/targets/" in request.path and len(service.asked("/targets/")) > 2:
            time.sleep(0.3)

    for tamper in (fail, cut, stall):
        service.requests.clear()
        service.tamper = tamper
        transport = Transport(service.url, credential=CREDENTIAL, read_seconds=0.1)
        with pytest.raises(NetworkError) as raised:
            person.sync(ANNA, transport=transport)
        assert raised.value.exit_code == 4
        assert service.asked("/evaluate/") == []
    service.tamper = lambda *_: None
    assert person.sync(ANNA).edition == 5


@pytest.mark.slow
def test_a_server_that_cuts_the_sync_off_does_not_hide_the_gap(service, person):
    service.publish(ANNA)
    person.sync(ANNA)
    editions(service, MANIFESTS_KEPT + 1)
    service.publish(ANNA, CARL)

    def cut(request, reply):
        if "/v1/data/" in request.path:
            reply.cut = 10

    service.tamper = cut
    with pytest.raises(NetworkError):
        person.sync(ANNA)
    seen = json.loads((person.server.tuf / "manifests" / "people.json").read_bytes())
    assert seen["edition"] == service.manifest.edition
    service.tamper = lambda *_: None
    editions(service, 1)
    gap = Gap(Position(1, 1), Position(1, MANIFESTS_KEPT + 3))
    assert person.sync(ANNA).unchecked == gap
    assert person.sync(ANNA).unchecked is None


@needs_strace
@pytest.mark.slow
def test_no_power_cut_loses_a_gap_that_nobody_was_told_of(service, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    person = Person(disk, service)
    service.publish(ANNA)
    person.sync(ANNA)
    editions(service, MANIFESTS_KEPT + 1)
    (tmp_path / "credential").write_text(CREDENTIAL)
    command = ["-m", "contactsync", "sync", disk / "book.csv", "--credential-file", tmp_path / "credential"]
    recording = record(disk, [sys.executable, *map(str, command), "--state", str(disk / "state")])
    states = []
    for cut in recording.cuts(most=1 << 20):  # all of them, so that they are in the order of the calls
        kept = {name.partition("/tuf/")[2]: content for name, _, content in cut.tree}
        edition = json.loads(kept["manifests/people.json"])["edition"]
        states.append((edition, "gaps/people.json" in kept))
    new = service.manifest.edition
    assert set(states) == {(1, False), (1, True), (new, True), (new, False)}
    assert states.index((1, True)) < states.index((new, True)) < states.index((new, False))
