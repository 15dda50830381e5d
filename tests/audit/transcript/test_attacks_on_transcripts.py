"""A client that leaks, and a server that cheats: the audit of the transcript says where."""

import base64
import hashlib
import secrets
from itertools import count

import numpy as np
import pytest
from recorded_syncs import ANNA, BODO, CARL, wrong
from simulated_service import CREDENTIAL

from contactsync.audit.report import DISPROVEN
from contactsync.client import byteranges, download
from contactsync.client.core import round as rounds
from contactsync.client.core.states import Prepared
from contactsync.client.privacy import screen
from contactsync.client.rounds import RoundRunner
from contactsync.client.transport import Transport
from contactsync.foundation.errors import BadDirectory, BadProof
from contactsync.voprf import few
from contactsync.voprf.client import blind_with_fixed_scalars_for_test_vectors as blind_fixed


def disproven(report, *rules):
    assert report.exit_code == DISPROVEN, "\n".join(report.lines())
    assert wrong(report) >= set(rules), "\n".join(report.lines())
    return "\n".join(report.lines())


@pytest.fixture
def leaking(recorded, monkeypatch):
    """A sync by a client that was changed, audited by one that was not."""

    def leaking(where, what, changed, *numbers, **options):
        with monkeypatch.context() as patch:
            patch.setattr(where, what, changed)
            recorded.sync(*(numbers or (ANNA, BODO)), **options)
        return recorded.audit()

    return leaking


# Heads. Each is the octets of a real request with one change, as a client would send it.

HEADS = {
    "a header more": (b"\r\n\r\n", b"\r\nX-Request-Id: 1\r\n\r\n"),
    "another value": (b"Accept-Encoding: identity", b"Accept-Encoding: identity, gzip"),
    "one bit in the case of a name": (b"Accept-Encoding:", b"Accept-encoding:"),
    "one bit in white space": (b"Accept-Encoding: identity", b"Accept-Encoding:  identity"),
    "white space at the end": (b"Accept-Encoding: identity", b"Accept-Encoding: identity "),
    "another version of the program": (b"contactsync/0.1.0", b"contactsync/0.1.1"),
    "the order of headers": (
        b"User-Agent: contactsync/0.1.0\r\nAccept-Encoding: identity",
        b"Accept-Encoding: identity\r\nUser-Agent: contactsync/0.1.0",
    ),
    "a query": (b" HTTP/1.1", b"?a=1 HTTP/1.1"),
    "the version of HTTP": (b" HTTP/1.1", b" HTTP/1.0"),
    "a path": (b"/v1/", b"/v1//"),
    "a host": (b"Host: 127", b"Host: 128"),
    "another method": (b"GET ", b"HEAD "),
    "the end of a line": (b"identity\r\n", b"identity\n"),
}


@pytest.mark.slow
@pytest.mark.parametrize("what", HEADS)
def test_a_bit_in_the_head_of_any_request(edited, what):
    old, new = HEADS[what]
    for line in edited.sent()[:3]:
        octets = base64.b64decode(line["sent"])
        assert old in octets
        line["sent"] = base64.b64encode(octets.replace(old, new, 1)).decode()
        disproven(edited.audit(explained=False), "requests")
        line["sent"] = base64.b64encode(octets).decode()


@pytest.mark.slow
@pytest.mark.parametrize("change", ["moved", "another word", "in the clear", "another credential", "shorter"])
def test_what_stands_in_the_place_of_the_credential(edited, change):
    lines = [one for one in edited.sent() if one.get("hidden")]
    line = lines[1]
    (at, length, what, keyed), octets = line["hidden"][0], base64.b64decode(line["sent"])
    if change == "moved":
        line["hidden"] = [[at - 1, length, what, keyed]]
    elif change == "another word":
        octets = octets.replace(b"Bearer ", b"bearer ")
    elif change == "in the clear":
        octets = octets[:at] + CREDENTIAL.upper().encode() + octets[at:]
        del line["hidden"]
    elif change == "another credential":
        line["hidden"] = [[at, length, what, "0" * 64]]
    else:
        octets = octets[:at] + b"x" + octets[at:]
        line["hidden"] = [[at + 1, length, what, keyed]]
    line["sent"] = base64.b64encode(octets).decode()
    disproven(edited.audit(), "requests")


@pytest.mark.slow
def test_a_header_that_says_whether_somebody_is_in_the_book(leaking, service):
    service.publish(ANNA)
    sent = Transport._open

    def tells(self, method, path, *, headers, body, authorised):
        return sent(self, method, path, headers={**headers, "DNT": "1"}, body=body, authorised=authorised)

    assert "has" in disproven(leaking(Transport, "_open", tells), "requests")


@pytest.mark.slow
def test_an_octet_after_a_request(edited):
    line = edited.sent()[-1]
    line["sent"] = base64.b64encode(base64.b64decode(line["sent"]) + b"A").decode()
    disproven(edited.audit(), "requests")


# Requests


@pytest.mark.slow
@pytest.mark.parametrize(
    "path", ["/v1/tuf/metadata/timestamp.json", "/v1/account", "/v1/health", "/v1/data/" + "0" * 64]
)
def test_a_request_too_many(leaking, service, path):
    service.publish(ANNA)
    check = Transport.check_account

    def asks_more(self):
        check(self)
        try:
            with self.get(path, authorised=not path.startswith("/v1/tuf")) as reply:
                b"".join(self.chunks(reply, 1 << 20))
        except Exception:  # noqa: BLE001 - whatever the server says to it
            pass

    report = leaking(Transport, "check_account", asks_more)
    assert report.exit_code == DISPROVEN


@pytest.mark.slow
def test_the_files_of_the_book_alone_although_all_were_chosen(leaking, service):
    service.publish(ANNA, CARL)
    files = Prepared.files.fget
    only = property(lambda self: [one for one in files(self) if one == self.manifest.partitions["49"].base])
    disproven(leaking(Prepared, "files", only), "choice")


@pytest.mark.slow
def test_files_in_an_order_that_tells(leaking, service):
    service.publish(ANNA, CARL)
    files = Prepared.files.fget
    disproven(leaking(Prepared, "files", property(lambda self: files(self)[::-1])), "choice")


@pytest.mark.slow
def test_a_range_that_tells(leaking, service):
    service.publish(ANNA, CARL)

    def ranged(transport, file, ranges=""):
        return byteranges.get_data(transport, file, ranges or "0-")

    disproven(leaking(download, "get_file", ranged), "choice")


@pytest.mark.slow
def test_a_file_that_is_fetched_again_between_the_points(leaking, service):
    """Which files a client fetches once it knows its matches would tell them."""
    service.publish(ANNA, CARL)
    send, download_ = RoundRunner._send, {}

    def twice(self, blinded, manifest):
        reply = send(self, blinded, manifest)
        for partition in list(manifest.partitions.values())[:1]:
            with self._transport.get(f"/v1/data/{partition.base.sha256}", authorised=True) as again:
                download_[0] = b"".join(self._transport.chunks(again, partition.base.length))
        return reply

    disproven(leaking(RoundRunner, "_send", twice))


@pytest.mark.slow
def test_work_before_the_connection_is_closed(leaking, service):
    service.publish(ANNA)
    disproven(leaking(Transport, "hang_up", lambda _self: None), "order")


# Points


@pytest.mark.slow
def test_padding_that_is_made_of_contacts(leaking, service):
    service.publish(ANNA)
    number = count()

    def hashed(like):
        text = like[0].removeprefix(b"tel:") + b""
        return next(number).to_bytes(1, "big") + hashlib.sha256(text).digest()[: len(like[0]) - 1]

    assert "comes from a contact" in disproven(leaking(rounds, "_nobody", hashed), "padding")


@pytest.mark.slow
@pytest.mark.parametrize(
    "made",
    [
        lambda like: b"tel:+4917" + b"%08d" % secrets.randbelow(10**8),
        lambda like: secrets.token_bytes(len(like[0]) + 3),
        lambda like: bytes(len(like[0])),
    ],
    ids=["the number of somebody else", "of another length", "always the same"],
)
def test_padding_that_is_not_random(leaking, service, made):
    service.publish(ANNA)
    disproven(leaking(rounds, "_nobody", made), "padding")


@pytest.mark.slow
def test_a_point_of_somebody_who_is_not_in_the_book(leaking, service, recorded):
    """It is recorded as a point of a contact, and no contact hashes to it."""
    service.publish(ANNA)
    blind = rounds.PendingBatch.blind

    def another(self, like):
        batch = rounds.PendingBatch(self.name, self.size, (*self.identifiers, b"tel:" + CARL.encode()))
        return blind(batch, like)

    disproven(leaking(rounds.PendingBatch, "blind", another), "points")


@pytest.mark.slow
def test_a_point_that_is_not_the_one_that_was_recorded(leaking, service):
    service.publish(ANNA)
    body = rounds.BlindedBatch.body.fget
    swapped = property(lambda self: body(self)[32:64] + body(self)[:32] + body(self)[64:])
    disproven(leaking(rounds.BlindedBatch, "body", swapped), "points")


@pytest.mark.slow
def test_a_blind_that_is_used_twice(leaking, service):
    service.publish(ANNA)
    scalar = secrets.token_bytes(31) + b"\0"
    rows = np.frombuffer(scalar * 8, np.uint8).reshape(8, 32)
    disproven(leaking(few, "blind", lambda inputs: blind_fixed(inputs, rows)), "points")


@pytest.mark.slow
def test_contacts_that_are_sent_in_the_order_of_the_book(recorded, service, monkeypatch):
    service.publish(ANNA)
    with monkeypatch.context() as patch:
        patch.setattr("secrets.SystemRandom.shuffle", lambda _self, _places: None)
        recorded.sync(*[f"+49151{i:07}" for i in range(70)])
    said = disproven(recorded.audit(), "padding")
    assert "the order of contacts" in said
    assert "the places of contacts among padding" in said


@pytest.mark.slow
def test_a_round_that_is_larger_than_it_must_be(leaking, service):
    """The size of a round says a bit more than how many are new."""
    service.publish(ANNA)
    padded = rounds.padded
    disproven(leaking(rounds, "padded", lambda count: 2 * padded(count)), "rounds")


@pytest.mark.slow
def test_a_batch_that_is_sent_twice_without_need(leaking, service):
    service.publish(ANNA)
    post = Transport.post

    def twice(self, path, body, *, reply_length):
        post(self, path, body, reply_length=reply_length)
        return post(self, path, body, reply_length=reply_length)

    disproven(leaking(Transport, "post", twice), "rounds")


@pytest.mark.slow
def test_what_the_sync_said_is_not_what_left(edited):
    edited.lines[-1]["said"] = edited.lines[-1]["said"].replace("32", "16")
    disproven(edited.audit(), "learned")


# Buckets


@pytest.mark.slow
@pytest.mark.parametrize("lie", ["decoys", "a range more", "a question"])
def test_a_bucket_list_that_tells_more(recorded, service, monkeypatch, lie):
    service.crowd = {"49": 400_000}
    service.publish(ANNA, "+491512345673")
    numbers = [ANNA, BODO, *[f"+49171{i:07}" for i in range(20)]]
    chosen, settle = screen.chosen, screen.choose_buckets
    with monkeypatch.context() as patch:
        if lie == "decoys":
            patch.setattr(
                screen, "chosen", lambda wanted, of, seed, **more: chosen(wanted, of, bytes(32), **more)
            )
        elif lie == "a question":
            patch.setattr(
                screen, "choose_buckets",
                lambda plan, some, tested, *more: settle(plan, some, tested.take(np.arange(3)), *more),
            )  # fmt: skip
        else:
            real = byteranges.joined
            patch.setattr(byteranges, "joined", lambda spans: [*real(spans), range(8)][-64:])
        recorded.sync(*numbers, privacy="screen")
    disproven(recorded.audit(), "buckets")


# A server that cheats


@pytest.mark.slow
def test_a_false_proof(recorded, service):
    service.publish(ANNA)

    def lie(request, reply):
        if request.method == "POST":
            reply.body = reply.body[:-64] + bytes([reply.body[-64] ^ 1]) + reply.body[-63:]

    service.tamper = lie
    assert recorded.sync(ANNA) is None
    assert isinstance(recorded.error, BadProof)
    report = recorded.audit()
    assert wrong(report) == {"proofs"}, "\n".join(report.lines())
    assert wrong(recorded.audit(explained=False)) == {"proofs"}


@pytest.mark.slow
def test_a_file_that_is_not_the_one_that_was_signed(recorded, service):
    service.publish(ANNA)

    def lie(request, reply):
        if "/data/" in request.path:
            reply.body = reply.body[:-1] + bytes([reply.body[-1] ^ 1])

    service.tamper = lie
    assert recorded.sync(ANNA) is None
    assert isinstance(recorded.error, BadDirectory)
    assert wrong(recorded.audit(explained=False)) == {"files"}


@pytest.mark.slow
def test_metadata_that_is_not_signed(recorded, service):
    service.publish(ANNA)

    def lie(request, reply):
        if request.path.endswith("targets.json"):
            reply.body = reply.body.replace(b"people.json", b"peeple.json")

    service.tamper = lie
    assert recorded.sync(ANNA) is None
    assert wrong(recorded.audit(explained=False)) == {"metadata"}


@pytest.mark.slow
def test_a_client_that_goes_on_although_the_metadata_is_forged(edited):
    """What was received says something else than what the client acted on."""
    for line in edited.lines[:-1]:
        octets = base64.b64decode(line.get("received", ""))
        if b'"people.json"' in octets:
            line["received"] = base64.b64encode(octets.replace(b'"people.json"', b'"peeple.json"')).decode()
    assert wrong(edited.audit(explained=False)) >= {"metadata", "order"}
