"""Attacks of a server that wants to know whether a round of eight points is cover."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from logged_service import ServiceLog
from simulated_service import CREDENTIAL

from contactsync.client.core import round as rounds
from contactsync.client.core.states import Question
from contactsync.client.transport import Transport
from contactsync.foundation.errors import BadProof, OurError
from contactsync.voprf.few import group

ANNA, BODO = "+491512345671", "+491512345672"
ROOT = Path(__file__).parents[2]

SPY = """
import json, sys
events = []
PIECES = tuple("call " + name for name in ("Recording.record", "Recording._piece", "Recording._write",
    "Recording._keyed_hash", "_overlap"))
def heard(event, given):
    if event == "socket.connect":
        events.append("connect")
    elif event == "import" and given[0] not in sys.modules:
        events.append(given[0])
sys.addaudithook(heard)
from contactsync.client.transport import Transport
hang_up, opened = Transport.hang_up, Transport._open
def closed(self):
    events.append("closed")
    sys.setprofile(None)
    hang_up(self)
def traced(frame, event, _):
    file, call = frame.f_code.co_filename, "call " + frame.f_code.co_qualname
    network = file.endswith(("meter.py", "transport.py", "patience.py", "replies.py"))  # how replies arrive
    network = network or file.endswith("client/transcript.py") or call.startswith(PIECES)
    if event == "call" and "/contactsync/" in file and not network and events[-1] != call:
        events.append(call)
def first(self, *given, **named):
    Transport._open = opened
    sys.setprofile(traced)
    return opened(self, *given, **named)
Transport.hang_up, Transport._open = closed, first
from contactsync.commands import main
try:
    main(sys.argv[1:])
except SystemExit as end:
    assert not end.code, end.code
print(json.dumps([events, "numba" in sys.modules]))
"""


def watched_sync(person, *numbers, more=()):
    """What a sync of a fresh process does: from its first request to the end of its connection, and all."""
    person.book(*numbers)
    credential = person.folder / "credential"
    credential.write_text(CREDENTIAL)
    credential.chmod(0o600)
    state = ["--state", str(person.state.folder), "--credential-file", str(credential), "--quiet"]
    done = subprocess.run(
        [sys.executable, "-c", SPY, "sync", str(person.folder / "book.csv"), "--region", "DE", *state, *more],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    events, engine = json.loads(done.stdout.splitlines()[-1])
    return events[events.index("connect") : events.index("closed")], events, engine


@pytest.mark.slow
@pytest.mark.parametrize("recorded", [False, True], ids=["plain", "recorded"])
def test_the_same_code_runs_until_the_connection_is_closed(service, person, other_person, recorded):
    """The engine was loaded between two requests, and what was found was worked on before the end."""
    service.publish(ANNA)
    seen = {}
    for name, one, before in (("cover", person, [ANNA, BODO]), ("real", other_person, [ANNA])):
        one.sync(*before)
        service.requests.clear()
        more = ["--transcript", str(one.folder / "transcript")] if recorded else []
        seen[name] = watched_sync(one, ANNA, BODO, more=more)
        assert [len(r.body) for r in service.requests if r.method == "POST"] == [8 * 32]
    between = {name: events for name, (events, _, _) in seen.items()}
    assert len(between["cover"]) > 100, "it watches"
    assert between["cover"] == between["real"]
    assert {name: engine for name, (_, _, engine) in seen.items()} == {"cover": False, "real": True}
    # Before the first request too: how long a process needs to get there shows nothing either.
    start = {
        name: [one for one in events[: events.index("connect")] if not one.startswith("call")]
        for name, (_, events, _) in seen.items()
    }
    assert start["cover"] == start["real"]
    assert not [one for one in start["real"] if one.startswith(("numba", "contactsync.kernels"))]


@pytest.mark.slow
def test_the_log_is_asked_for_the_same_and_at_the_same_time(service, person, other_person):
    """Of a new edition a client fetches the checkpoint, a place and tiles: before it sends any point."""
    log = ServiceLog(service)
    service.publish(ANNA)
    people = {"cover": (person, [ANNA, BODO]), "real": (other_person, [ANNA])}
    for one, before in people.values():
        one.sync(*before)
    service.publish(ANNA, "+491512345673")
    seen, asked = {}, {}
    for name, (one, _) in people.items():
        service.requests.clear()
        events, _, engine = watched_sync(one, ANNA, BODO)
        seen[name] = events, engine
        asked[name] = [(request.method, request.path, len(request.body)) for request in service.requests]
    assert asked["cover"] == asked["real"]
    paths = [path for _, path, _ in asked["real"]]
    of_log = [path for path in paths if path.startswith("/v1/log/")]
    assert [path.split("/")[3] for path in of_log] == ["checkpoint", "tile", "leaf"]
    assert of_log[2] in {f"/v1/log/{path}" for path in log.files()}
    posted = next(place for place, (method, _, _) in enumerate(asked["real"]) if method == "POST")
    assert max(map(paths.index, of_log)) < posted
    assert seen["cover"][0] == seen["real"][0]


def test_a_book_is_sorted_by_partition_before_the_first_request_and_never_in_between(
    service, person, monkeypatch
):
    """How long that takes depends on how large the book is."""
    order, about, request = [], Question.about, Transport._open
    monkeypatch.setattr(Question, "about", lambda identifiers: order.append("sorted") or about(identifiers))
    monkeypatch.setattr(
        Transport, "_open", lambda self, *a, **k: order.append("request") or request(self, *a, **k)
    )
    service.publish(ANNA)
    for book in ([ANNA], [ANNA, BODO]):
        order.clear()
        person.sync(*book)
        assert order[:2] == ["sorted", "request"]
        assert order.count("sorted") == 1


@pytest.mark.slow
@pytest.mark.parametrize("numbers", [[ANNA], [ANNA, BODO]], ids=["cover", "real"])
def test_all_is_blinded_before_the_first_request(service, person, monkeypatch, numbers):
    order = []
    blind, request = rounds.PendingBatch.blind, Transport._open
    monkeypatch.setattr(
        rounds.PendingBatch, "blind", lambda self, like: order.append("blinded") or blind(self, like)
    )
    monkeypatch.setattr(
        Transport, "_open", lambda self, *a, **k: order.append("request") or request(self, *a, **k)
    )
    finish = rounds.BlindedBatch.finish
    monkeypatch.setattr(
        rounds.BlindedBatch, "finish", lambda self, *given: order.append("finished") or finish(self, *given)
    )
    hang_up = Transport.hang_up
    monkeypatch.setattr(Transport, "hang_up", lambda self: order.append("closed") or hang_up(self))
    service.publish(ANNA)
    person.sync(ANNA)
    order.clear()
    person.sync(*numbers)
    assert order[0] == "blinded"
    assert order.count("blinded") == 1
    assert order[-2:] == ["closed", "finished"]


@pytest.mark.slow
@pytest.mark.parametrize("numbers", [[ANNA], [ANNA, BODO]], ids=["cover", "real"])
def test_a_false_proof_is_answered_alike(service, person, monkeypatch, numbers):
    """A cover round whose proof is not checked would show itself to a server that sends a false one."""
    service.publish(ANNA)
    person.sync(ANNA)
    paced = []
    pace = Transport.pace
    monkeypatch.setattr(
        Transport, "pace", lambda self, beats=1: paced.append((beats, len(service.requests))) or pace(self)
    )
    service.requests.clear()

    def lie(request, reply):
        if request.method == "POST":
            reply.body = reply.body[:-64] + bytes([reply.body[-64] ^ 1]) + reply.body[-63:]

    service.tamper = lie
    with pytest.raises(BadProof):
        person.sync(*numbers)
    sent = [request.path.rpartition("/")[2] for request in service.requests]
    posted = next(i for i, request in enumerate(service.requests) if request.method == "POST")
    assert paced == [(8, posted + 1)], "it waits for the slow beat before it asks what was published"
    assert sent[posted + 1 :], "it asks again"
    service.tamper = lambda *_: None
    assert len(person.sync(*numbers).matches) == 1


@pytest.mark.slow
def test_a_wrong_point_gives_no_token(service, person, monkeypatch):
    """What was blinded without the engine is computed again before its result is stored."""
    service.publish(ANNA)
    right = group.multiply
    monkeypatch.setattr(group, "multiply", lambda points, blinds: right(points, blinds[::-1].copy()))
    with pytest.raises(OurError, match="computed correctly"):
        person.sync(ANNA)
    monkeypatch.undo()
    assert len(person.sync(ANNA).matches) == 1


@pytest.mark.slow
def test_a_sync_without_news_loads_neither_the_engine_nor_what_it_does_not_use(service, person):
    """The figure of 0.5 seconds: what is loaded for nothing is the larger part of it."""
    service.publish("+491512345671")
    person.sync("+491512345671")
    _, events, engine = watched_sync(person, "+491512345671")
    unused = (
        "numba",
        "rich",
        "asyncio",
        "contactsync.marking",
        "contactsync.server",
        "contactsync.carddav.pull",
    )
    assert not engine
    assert not [one for one in events if one.startswith((*unused, "contactsync.carddav.pull"))]
